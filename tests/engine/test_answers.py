"""Answers are lazy: parts created on access compare, print and pickle as if created at once."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from sona_pg import InvalidValue, SonaEngine
from sona_pg.domain.answer import FoundPatterns
from sona_pg.learning.ranking.ranker import score

DIM = 16


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url) as opened:
        teach(opened, 0)
        yield opened


def rows(seed: int, n: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def teach(engine: SonaEngine, seed: int) -> None:
    """A version with a few patterns, some with a route, and a trained ranker."""
    documents = rows(100, 40)
    engine.remember([f"document {place}" for place in range(40)], documents)
    for turn, query in enumerate(rows(seed, 120)):
        ranking = engine.rank(query + 0.3 * documents[turn % 40], ids=[f"document {place}" for place in range(40)])
        t = engine.begin_trajectory(query, query=f"query {turn}", ranking=ranking)
        engine.set_trajectory_route(t, ranking.ids[0])
        engine.end_trajectory(t, quality=float(turn % 3 > 0))
    engine.force_learn()


def test_found_patterns_are_a_sequence_that_compares_and_prints_as_a_list(engine: SonaEngine) -> None:
    found = engine.find_patterns(rows(1, 1)[0], k=4)
    made = list(found)
    assert found == made
    assert found != made[:3]
    assert found != []
    assert repr(found) == repr(made)
    assert found[0] is made[0]
    assert found[1:3] == made[1:3]
    assert len(found) == 4
    assert made[2] in found
    assert found.index(made[3]) == 3
    assert list(reversed(found)) == made[::-1]
    similarities = [pattern.similarity for pattern in found]
    assert similarities == sorted(similarities, reverse=True)
    assert engine.find_patterns(rows(1, 1)[0], min_quality=1.0, kind="code") == []
    assert not engine.find_patterns(rows(1, 1)[0], min_quality=1.0, kind="code")


def test_answers_survive_a_pickle_before_and_after_access(engine: SonaEngine) -> None:
    x = rows(2, 1)[0]
    found = engine.find_patterns(x, k=3)
    again = pickle.loads(pickle.dumps(found))
    looked_at = list(found)
    for other in (again, pickle.loads(pickle.dumps(found))):
        assert isinstance(other, FoundPatterns)
        assert [(p.id, p.similarity, p.quality, p.routes) for p in other] == [
            (p.id, p.similarity, p.quality, p.routes) for p in looked_at
        ]
    assert len(pickle.dumps(found)) < 20_000  # and no other pattern was created
    ranking, decision = engine.rank(x, ids=["document 1", "document 2"]), engine.route(x, ["a", "b"])
    for answer in (ranking, decision):
        assert repr(pickle.loads(pickle.dumps(answer))) == repr(answer)
    t = engine.begin_trajectory(x, ranking=pickle.loads(pickle.dumps(ranking)))
    engine.set_trajectory_route(t, ranking.ids[0])
    engine.end_trajectory(t, 1.0)
    engine.end_trajectory(engine.begin_trajectory(x, decision=pickle.loads(pickle.dumps(decision))), 1.0)


def test_filters_leave_the_patterns_that_pass_them_nearest_first(engine: SonaEngine) -> None:
    x = rows(3, 1)[0]
    everything = engine.find_patterns(x, k=1000)
    route = next(iter(everything[2].routes))
    for _ in range(2):  # the second time the rows are cached
        assert [p.id for p in engine.find_patterns(x, k=1000, route=route)] == [
            p.id for p in everything if route in p.routes
        ]
        good = engine.find_patterns(x, k=1000, min_quality=0.6, verdict="success")
        assert [p.id for p in good] == [p.id for p in everything if p.quality >= 0.6 and p.verdict == "success"]
    assert engine.find_patterns(x, min_quality=1.0, kind="code") == []


def test_a_query_of_any_type_and_length_finds_the_same(engine: SonaEngine) -> None:
    x = rows(4, 1)[0]
    expected = engine.find_patterns(x, k=3)
    for same in (x.tolist(), x.astype(np.float64), np.repeat(x, 2)[::2], x * np.float32(1e18), x * np.float32(1e-18)):
        found = engine.find_patterns(same, k=3)
        assert [p.id for p in found] == [p.id for p in expected]
        assert [p.similarity for p in found] == pytest.approx([p.similarity for p in expected], abs=1e-6)
        ids = ["document 3", "document 7", "document 9"]
        assert engine.rank(same, ids=ids).ids == engine.rank(x, ids=ids).ids
        assert engine.route(same, ["a"]).route == "a"
    for wrong in (np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM + 1), "text", None):
        for ask in (
            engine.find_patterns,
            lambda x: engine.rank(x, ids=["document 1"]),
            lambda x: engine.route(x, "ab"),
        ):
            with pytest.raises(InvalidValue):
                ask(wrong)
    for k in (-1, True, 1.5, "5"):
        with pytest.raises(InvalidValue, match="k="):
            engine.find_patterns(x, k=k)


def test_a_set_that_comes_again_is_ranked_as_the_model_scores_it(engine: SonaEngine) -> None:
    serving = engine._session.serving
    sets = [[f"document {place}" for place in np.random.default_rng(seed).permutation(40)[:12]] for seed in range(5)]
    for turn in range(3):
        for ids in sets:
            query = rows(50 + turn, 1)[0]
            slots = serving.catalog.slots(ids)
            exact = score(serving.ranker, query[None, :], serving.catalog.embeddings[slots], slots)[0]
            ranking = engine.rank(query, ids=ids if turn else tuple(ids), k=5)
            assert ranking.scores == pytest.approx(np.sort(exact)[::-1][:5], abs=1e-4)
            assert [exact[ids.index(name)] for name in ranking.ids] == pytest.approx(ranking.scores, abs=1e-4)
            assert ranking.version == serving.version
            many = engine.rank_many(query[None, :], ids=ids, k=5)[0]
            assert many.ids == ranking.ids
            assert many.candidate_set == ranking.candidate_set


def test_a_new_version_and_new_candidates_are_ranked_by_at_once(engine: SonaEngine) -> None:
    ids, x = [f"document {place}" for place in range(10)], rows(6, 1)[0]
    before = engine.rank(x, ids=ids)
    engine.remember(["document 3"], -rows(100, 40)[3:4])
    engine.remember(["new"], x[None, :])
    edited = engine.rank(x, ids=ids)
    old, new = (dict(zip(found.ids, found.scores, strict=True)) for found in (before, edited))
    assert new.pop("document 3") != pytest.approx(old.pop("document 3"))
    assert new == pytest.approx(old)
    assert set(engine.rank(x, ids=[*ids, "new"], k=11).ids) == {*ids, "new"}
    teach(engine, 7)
    after = engine.rank(x, ids=ids)
    assert after.version == before.version + 1
    serving = engine._session.serving
    slots = serving.catalog.slots(ids)
    exact = score(serving.ranker, x[None, :], serving.catalog.embeddings[slots], slots)[0]
    assert after.scores == pytest.approx(np.sort(exact)[::-1], abs=1e-4)


def test_threads_ask_while_versions_change(engine: SonaEngine) -> None:
    stop, wrong = threading.Event(), []
    ids = [f"document {place}" for place in range(20)]

    def ask(seed: int) -> None:
        queries = rows(seed, 64)
        while not stop.is_set():
            for x in queries:
                found, ranking = engine.find_patterns(x, 3), engine.rank(x, ids=ids)
                decision = engine.route(
                    x, ["document 1", "document 2"], costs={"document 1": 1, "document 2": 2}, budget=2
                )
                if len(found) != 3 or len(ranking.ids) != 10 or not 0 < decision.propensity <= 1:
                    wrong.append((found, ranking, decision))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    teach(engine, 10)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert engine.version == 2
