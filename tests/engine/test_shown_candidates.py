"""Candidates ranked by the application: `begin_trajectory(..., candidates=)` records the alternatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from sona_pg import SonaEngine
from sona_pg.domain.catalog import Catalog
from sona_pg.errors import DimensionMismatch, InvalidValue, UnknownCandidate
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.limits import LARGEST_TABLE
from sona_pg.serving import candidate_ranker, recaller
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.candidate_sets import KEPT_SETS, NamedSets
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.recently_used import RecentlyUsed

DIM = 8
IDS = ["red", "green", "blue"]
ROWS = np.eye(3, DIM, dtype=np.float32)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url) as engine:
        yield engine


def stored_sets(engine: SonaEngine) -> list[list[str]]:
    engine.flush()
    server = create_engine(engine.url.replace("postgresql://", "postgresql+psycopg://"))
    with server.connect() as connection:
        found = connection.execute(
            text(
                "SELECT s.candidate_ids FROM sona.trajectories t JOIN sona.candidate_sets s"
                " ON s.space_id = t.space_id AND s.set_id = t.candidate_set ORDER BY t.id"
            )
        )
        rows = [sorted(row[0]) for row in found]
    server.dispose()
    return rows


def test_candidates_shown_without_a_ranking_are_learned_from(engine: SonaEngine) -> None:
    query = np.full(DIM, 1.0, np.float32)
    query[0] = 2.0  # nearest to red, but green is right
    assert engine.rank(query, ROWS, ids=IDS).ids[0] == "red"
    for shown, quality in [("red", 0.0), ("green", 1.0)] * 20:
        t = engine.begin_trajectory(query, candidates=dict(zip(IDS, ROWS, strict=True)))
        engine.set_trajectory_route(t, shown)
        engine.end_trajectory(t, quality)
    engine.force_learn()
    assert engine.rank(query, ids=IDS).ids[0] == "green"
    adapted = engine.apply_base_lora(0, query)
    assert adapted[1] - adapted[0] > query[1] - query[0]


def test_ids_alone_are_enough_for_candidates_the_store_knows(engine: SonaEngine) -> None:
    engine.remember(IDS, ROWS)
    for some in (IDS, IDS[::-1], IDS[:2]):
        engine.end_trajectory(engine.begin_trajectory(ROWS[0], candidates=some), 1.0)
    assert stored_sets(engine) == [sorted(IDS), sorted(IDS), sorted(IDS[:2])]


def test_candidates_ranked_by_id_are_stored_too(engine: SonaEngine) -> None:
    engine.remember(IDS, ROWS)
    engine.end_trajectory(engine.begin_trajectory(ROWS[0], ranking=engine.rank(ROWS[0], ids=IDS[:2])), 1.0)
    assert stored_sets(engine) == [sorted(IDS[:2])]


def test_remembered_candidates_are_known_at_once_and_elsewhere_after_a_cycle(
    database_url: str, engine: SonaEngine
) -> None:
    with pytest.raises(InvalidValue, match="does not know any candidate"):
        engine.rank(ROWS[1])
    engine.remember(IDS[:1], ROWS[:1])
    engine.remember(IDS[1:], ROWS[1:])
    ranking = engine.rank(ROWS[1])
    assert ranking.ids[0] == "green"
    assert sorted(ranking.ids) == sorted(IDS)
    t = engine.begin_trajectory(ROWS[1], ranking=ranking)
    engine.set_trajectory_route(t, "green")
    engine.end_trajectory(t, 1.0)
    with SonaEngine(DIM, database_url) as other:
        engine.force_learn()
        other.refresh()
        assert other.rank(ROWS[1], ids=IDS).ids[0] == "green"


def test_candidates_ranked_with_their_embeddings_are_known_here_by_id_at_once(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._session, "hear", lambda heard: True)  # nothing is heard of the store
    engine.rank(ROWS[1], ROWS, ids=IDS)
    assert engine.rank(ROWS[1], ids=IDS[:2]).ids[0] == "green"
    assert sorted(engine.rank(ROWS[1]).ids) == sorted(IDS)
    with pytest.raises(UnknownCandidate, match=r"'lost'.* embeddings or texts .* a second after their commit"):
        engine.rank(ROWS[1], ids=[*IDS, "lost"])
    monkeypatch.undo()
    engine.flush()
    engine.refresh()
    assert not engine._session.ranker.overlay.remembered()  # the store has them
    assert engine.rank(ROWS[1], ids=IDS).ids[0] == "green"


def test_all_candidates_are_those_ranked_with_their_embeddings_where_there_are_no_others(engine: SonaEngine) -> None:
    engine.rank(ROWS[1], ROWS, ids=IDS)
    assert sorted(engine.rank(ROWS[1]).ids) == sorted(IDS)
    assert engine.recall(ROWS[1], ids=IDS, k=1).ids == ("green",)


def test_bad_candidates_are_refused_by_name(engine: SonaEngine) -> None:
    x = ROWS[0]
    ranking = engine.rank(x, ROWS, ids=IDS)
    for candidates, what in [
        ([], "expected one or more"),
        ({}, "expected one or more"),
        ("red", "is one text"),
        (["red", "red"], "each once"),
        (["red", ""], "cannot be used"),
        ([["red"]], "cannot be used"),
    ]:
        with pytest.raises(InvalidValue, match=what):
            engine.begin_trajectory(x, candidates=candidates)
    with pytest.raises(DimensionMismatch, match="'red'"):
        engine.begin_trajectory(x, candidates={"red": np.ones(DIM + 1)})
    with pytest.raises(InvalidValue, match="neither ranking= nor decision="):
        engine.begin_trajectory(x, ranking=ranking, candidates=IDS)


def test_remembering_one_by_one_copies_nothing_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = CandidateRanker(DIM, lambda ids, rows, wait, order: True, lambda number, ids: True, RecentEvidence(0))
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "of", lambda *_: pytest.fail("all were copied"))
        patch.setattr(Catalog, "followed_by", lambda *_: pytest.fail("all were copied"))
        for name, row in zip(IDS, ROWS, strict=True):
            ranker.remember([name], row[None])
        ranker.remember([IDS[0]], ROWS[1][None])
    known = ranker.overlay.catalog(Catalog.of(["served", IDS[2]], ROWS[:2]))
    assert list(known.ids) == ["served", "blue", "red", "green"]
    np.testing.assert_array_equal(known.embeddings, ROWS[[0, 2, 1, 1]])


def test_a_set_is_prepared_once_however_many_others_are_ranked_between(engine: SonaEngine, monkeypatch) -> None:
    names = [f"answer {number:02}" for number in range(40)]
    rows = np.random.default_rng(0).standard_normal((len(names), DIM)).astype(np.float32)
    engine.remember(names, rows)
    engine.flush()
    engine.refresh()
    counted: Counter[int] = Counter()

    def prepared(state, embeddings, slots):
        counted[len(embeddings)] += 1
        return prepare(state, embeddings, slots)

    monkeypatch.setattr(candidate_ranker, "prepare", prepared)
    graphs = []
    graph_of = recaller._graph_of
    monkeypatch.setattr(recaller, "_graph_of", lambda *given: graphs.append(given) or graph_of(*given))
    for pair in islice(combinations(names, 2), 3 * KEPT_SETS):
        engine.rank(rows[0])
        engine.recall(rows[0])
        engine.rank(rows[0], ids=pair)
        engine.rank(rows[0], ids=names[:3])
    assert counted == {40: 1, 3: 1, 2: 3 * KEPT_SETS}
    assert len(graphs) == 1


def test_one_set_that_is_as_large_as_the_bound_is_kept_beside_others() -> None:
    kept: RecentlyUsed[str, int] = RecentlyUsed(3, largest=10)
    for name, numbers in (("a", 4), ("large", 50), ("b", 4), ("c", 2)):
        kept.put(name, numbers, numbers)
    assert kept.get("a") == 4  # used last
    kept.put("d", 3, 3)
    assert [kept.get(name) for name in ("a", "b", "c", "d", "large")] == [4, None, 2, 3, 50]
    kept.put("larger", 60, 60)
    assert [kept.get(name) for name in ("large", "larger")] == [None, 60]


def test_the_ids_of_a_set_too_large_to_learn_from_are_not_stored() -> None:
    kept: dict[int, tuple[str, ...]] = {}
    sets = NamedSets("candidate id", lambda number, ids: kept.setdefault(number, ids) == ids)
    largest = [str(number) for number in range(LARGEST_TABLE)]
    for names in (largest, [*largest, "one more"], [*largest, "another"]):
        assert sets.number(names).number in kept
    assert [len(ids) for ids in kept.values()] == [LARGEST_TABLE, 0, 0]


def test_a_decision_among_more_candidates_than_can_be_learned_from_is_one_among_all(engine: SonaEngine) -> None:
    names = [f"answer {number:04}" for number in range(LARGEST_TABLE + 1)]
    rows = np.random.default_rng(0).standard_normal((len(names), DIM)).astype(np.float32)
    engine.remember(names, rows)
    for _ in range(5):
        ranking = engine.rank(rows[0])
        t = engine.begin_trajectory(rows[0], ranking=ranking)
        engine.set_trajectory_route(t, names[7])
        engine.end_trajectory(t, 1.0)
    assert stored_sets(engine) == [[]] * 5
    engine.force_learn()
    assert engine.rank(rows[0]).ids[0] == names[7]
