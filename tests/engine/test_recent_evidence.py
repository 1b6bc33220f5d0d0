"""Recent evidence: a thumb or a correction counts with the next ranking, everywhere, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseUnavailable
from sona_pg.serving import uptake
from sona_pg.store.database import Database

DIM = 16
IDS = ["red", "green", "blue", "grey"]
ROWS = np.eye(4, DIM, dtype=np.float32)
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
DEAF = SonaConfig(loops=LoopConfig(automatic=False, recent=0))
Open = Callable[..., SonaEngine]


@pytest.fixture
def opened(database_url: str) -> Iterator[Open]:
    engines: list[SonaEngine] = []

    def open_one(config: SonaConfig = QUIET, url: str = database_url) -> SonaEngine:
        engines.append(SonaEngine(DIM, url, config=config))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def asked(first: int, second: int, seed: int = 0) -> NDArray[np.float32]:
    """A query a little nearer to the first candidate than to the second."""
    noise = 0.15 * np.random.default_rng(seed).standard_normal(DIM)
    return (ROWS[first] + 0.9 * ROWS[second] + noise).astype(np.float32)


def judge(engine: SonaEngine, query: NDArray[np.float32], quality: float | None = None) -> UUID:
    """Show the best answer, and say how good it was if ``quality`` says so."""
    ranking = engine.rank(query, ROWS, ids=IDS)
    t = engine.begin_trajectory(query, ranking=ranking)
    engine.set_trajectory_route(t, ranking.ids[0])
    engine.end_trajectory(t, quality)
    return t.id


def scores(engine: SonaEngine, query: NDArray[np.float32]) -> dict[str, float]:
    ranking = engine.rank(query, ROWS, ids=IDS)
    return dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))


def lead(engine: SonaEngine, query: NDArray[np.float32], first: str = "red", second: str = "green") -> float:
    found = scores(engine, query)
    return found[first] - found[second]


def test_the_same_thumb_up_never_lowers_the_confidence_that_is_shown(opened: Open) -> None:
    engine = opened()
    query, told = asked(0, 1), []
    for _ in range(20):
        told.append(engine.rank(query, ROWS, ids=IDS).confidence)
        judge(engine, query, 1.0)
    assert min(np.diff(told)) > -1e-6  # rounding


def test_a_thumb_down_counts_with_the_next_ranking_of_the_query_and_of_those_like_it(opened: Open) -> None:
    engine = opened()
    query, alike, other = asked(0, 1), asked(0, 1, seed=1), asked(2, 3)
    before = lead(engine, alike)
    judge(engine, query, 0.0)
    assert engine.rank(query, ROWS, ids=IDS).ids[0] == "green"
    assert engine.version == 0
    assert lead(engine, alike) < before
    assert engine.rank(other, ROWS, ids=IDS).ids[0] == "blue"
    [many] = engine.rank_many(query[None, :], ROWS, ids=IDS)
    assert many.ids[0] == "green"


def test_a_correction_counts_with_the_next_ranking(opened: Open) -> None:
    engine = opened()
    query = asked(0, 1)
    told = judge(engine, query)
    engine.feedback(told, correction="green")
    assert engine.rank(query, ROWS, ids=IDS).ids[0] == "green"


def test_it_needs_no_database(opened: Open) -> None:
    engine = opened(url="postgresql://nobody@127.0.0.1:9/nowhere?connect_timeout=1")
    told = judge(engine, asked(0, 1))
    engine.feedback(told, quality=0.0)
    assert engine.rank(asked(0, 1), ROWS, ids=IDS).ids[0] == "green"
    engine.feedback(told, retract=True)
    assert engine.rank(asked(0, 1), ROWS, ids=IDS).ids[0] == "red"
    with pytest.raises(DatabaseUnavailable, match="3 records are kept"):
        engine.close()


def test_thumbs_up_bring_back_what_many_thumbs_down_have_put_last(opened: Open) -> None:
    engine = opened()
    query = asked(0, 1)
    for _ in range(10):
        handle = engine.begin_trajectory(query, ranking=engine.rank(query, ROWS, ids=IDS))
        engine.set_trajectory_route(handle, "red")
        engine.end_trajectory(handle, 0.0)
    scores_after = [lead(engine, query)]
    for _ in range(4):
        for _ in range(10):
            handle = engine.begin_trajectory(query, ranking=engine.rank(query, ROWS, ids=IDS))
            engine.set_trajectory_route(handle, "red")
            engine.end_trajectory(handle, 1.0)
        scores_after.append(lead(engine, query))
    assert min(scores_after[1:]) > scores_after[0]
    assert scores_after[-1] > scores_after[1]
    assert engine.rank(query, ROWS, ids=IDS).ids[0] == "red"


def test_a_cost_told_later_judges_nothing(opened: Open) -> None:
    engine, other = opened(), opened()
    query = asked(0, 1)
    told = judge(engine, query)
    engine.feedback(told, quality=0.0)
    engine.flush()
    down = lead(engine, query)
    engine.feedback(told, cost=0.02, source="user")
    assert lead(engine, query) == pytest.approx(down, rel=1e-3)
    engine.flush()
    other.refresh()
    assert lead(other, query) == pytest.approx(down, rel=0.02)  # candidates are stored in half precision


def test_the_newest_fact_of_each_source_counts_and_a_retraction_takes_it_away(opened: Open) -> None:
    engine = opened()
    query = asked(0, 1)
    before = scores(engine, query)
    told = judge(engine, query)
    engine.feedback(told, quality=0.0)
    down = lead(engine, query)
    engine.feedback(told, quality=1.0)
    up = lead(engine, query)
    assert down < min(up, before["red"] - before["green"])
    engine.feedback(told, quality=0.0, source="judge")  # one for, one against
    assert lead(engine, query) < up
    engine.feedback(told, retract=True, source="judge")
    engine.feedback(told, retract=True)
    assert scores(engine, query) == before


def test_a_fact_told_again_with_its_sequence_has_no_effect_as_the_store_refuses_it(opened: Open) -> None:
    first, second = opened(), opened()
    told = judge(first, asked(0, 1))
    first.feedback(told, 1.0, sequence=7)
    first.flush()
    for engine in (first, second):
        engine.refresh()
        engine.feedback(told, 0.0, sequence=7)
        engine.flush()
    known = [scores(engine, asked(0, 1)) for engine in (first, second, opened())]
    assert known[0] == known[1] == known[2]


def test_another_server_weighs_it_once_it_is_committed(opened: Open) -> None:
    first, second = opened(), opened()
    query = asked(0, 1)
    assert second.rank(query, ROWS, ids=IDS).ids[0] == "red"
    told = judge(first, query)
    first.feedback(told, correction="green")
    first.flush()
    deadline = time.monotonic() + 10
    while second.rank(query, ROWS, ids=IDS).ids[0] != "green" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert second.rank(query, ROWS, ids=IDS).ids[0] == "green"
    second.feedback(told, retract=True, source="user")  # it was the other server that recorded what is judged here
    assert second.rank(query, ROWS, ids=IDS).ids[0] == "red"


def test_a_server_that_is_opened_later_weighs_what_waits_at_once(opened: Open) -> None:
    first = opened()
    judge(first, asked(0, 1), 0.0)
    first.flush()
    second = opened()
    assert second.rank(asked(0, 1), ROWS, ids=IDS).ids[0] == "green"


def weighed(engine: SonaEngine) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Candidates, and what evidence adds to their weights and offsets."""
    session = engine._session
    found = session.ranker.evidence.of(session.serving)
    assert found is not None
    return list(found.rows), found.weights, found.offset


def test_servers_that_know_the_same_facts_weigh_them_alike_to_the_bit(opened: Open) -> None:
    """Whatever order they came in, and however often, also where one was opened later."""
    first, second = opened(), opened()
    told = [judge(first, asked(0, 1, seed), float(seed % 2)) for seed in range(12)]
    told += [judge(second, asked(2, 3, seed), float(seed % 3 == 0)) for seed in range(12)]
    second.flush()
    first.flush()
    first.feedback(told[3], correction="grey", sequence=7, source="judge")
    second.feedback(told[3], correction="grey", sequence=7, source="judge")
    second.feedback(told[0], quality=0.1)
    first.feedback(told[-1], retract=True)
    first.feedback(told[-1], quality=0.7, source="late")
    for engine in (second, first, second):
        engine.flush()
        engine.refresh()
    third = opened()
    expected = weighed(first)
    for engine in (second, third):
        names, weights, offset = weighed(engine)
        assert names == expected[0]
        np.testing.assert_array_equal(weights, expected[1])
        np.testing.assert_array_equal(offset, expected[2])
    first.force_learn()
    judge(second, asked(0, 2), 1.0)
    judge(first, asked(0, 3), 0.0)
    second.flush()
    for engine in (first, second, third):
        engine.flush()
        engine.refresh()
    np.testing.assert_array_equal(weighed(first)[1], weighed(second)[1])
    np.testing.assert_array_equal(weighed(third)[1], weighed(opened())[1])
    np.testing.assert_array_equal(weighed(first)[1], weighed(third)[1])


def test_evidence_leaves_with_the_version_that_has_learned_it(opened: Open) -> None:
    engine, plain = opened(), opened(DEAF)
    for seed in range(20):
        judge(engine, asked(0, 1, seed), float(seed % 2))
    assert scores(engine, asked(0, 1)) != scores(plain, asked(0, 1))
    engine.force_learn()
    plain.refresh()
    assert scores(engine, asked(0, 1)) == scores(plain, asked(0, 1))
    judge(engine, asked(2, 3), 0.0)  # is in no version
    assert scores(engine, asked(2, 3)) != scores(plain, asked(2, 3))
    engine.flush()
    engine.refresh()
    assert scores(engine, asked(2, 3)) != scores(plain, asked(2, 3))


def test_committed_facts_are_not_read_again_once_a_version_has_learned_them(opened: Open, monkeypatch) -> None:
    first, second, plain = opened(), opened(), opened(DEAF)
    judged = [judge(first, asked(0, 1, seed), 0.0) for seed in range(5)]
    first.flush()
    second.refresh()  # has read them
    asked_again: list[int] = []
    judged_of = Database.judged

    def spied(self: Database, space: Space, version: int, batches: list[int], most: int, ids: Any = None) -> Any:
        asked_again.append(len(batches) + (0 if ids is None else len(ids)))
        return judged_of(self, space, version, batches, most, ids)

    first.force_learn()
    monkeypatch.setattr(Database, "judged", spied)
    second.refresh()
    plain.refresh()
    assert sum(asked_again) == 0
    assert scores(second, asked(0, 1)) == scores(plain, asked(0, 1))
    second.feedback(judged[0], quality=1.0)  # of a query that it knows still
    first.feedback(judged[0], quality=1.0)
    first.flush()
    assert second._session.evidence.waiting_ids == [judged[0].bytes]
    assert lead(second, asked(0, 1)) == lead(first, asked(0, 1)) > lead(plain, asked(0, 1))


def test_a_thumb_between_a_cycle_and_the_next_ranking_is_not_lost(opened: Open) -> None:
    engine, plain = opened(), opened(DEAF)
    query = asked(0, 1)
    shown = engine.rank(query, ROWS, ids=IDS)
    judge(engine, asked(2, 3), 1.0)
    engine.force_learn()
    handle = engine.begin_trajectory(query, ranking=shown)
    engine.set_trajectory_route(handle, "red")
    engine.end_trajectory(handle, 0.0)
    plain.refresh()
    assert lead(engine, query) < lead(plain, query)
    assert engine._session.evidence.waiting_ids == [handle.id.bytes]


def test_learning_reads_no_evidence(opened: Open) -> None:
    engine = opened()
    for seed in range(10):
        judge(engine, asked(0, 1, seed), float(seed % 2))
        engine.feedback(judge(engine, asked(2, 3, seed)), correction="grey")
        if seed == 4:
            engine.force_learn()
    engine.force_learn()
    assert engine.rebuild().equal  # from the ledger alone


def test_a_rollback_lets_facts_wait_and_they_count_again(opened: Open) -> None:
    engine, plain = opened(), opened(DEAF)
    judge(engine, asked(2, 3), 1.0)
    engine.force_learn()
    judge(engine, asked(0, 1), 0.0)
    engine.force_learn()
    engine.rollback(1, keep_facts=True)
    plain.refresh()
    assert lead(engine, asked(0, 1)) < lead(plain, asked(0, 1))
    engine.force_learn()
    engine.rollback(1)  # leaves them out
    plain.refresh()
    assert scores(engine, asked(0, 1)) == scores(plain, asked(0, 1))


def test_it_is_bounded_and_the_oldest_go_first(opened: Open) -> None:
    engine = opened(SonaConfig(loops=LoopConfig(automatic=False, recent=10)))
    for seed in range(40):
        judge(engine, asked(0, 1, seed), float(seed % 2))
    engine.rank(asked(0, 1), ROWS, ids=IDS)
    assert len(engine._session.evidence.waiting_ids) == 10
    assert opened(DEAF).rank(asked(0, 1), ROWS, ids=IDS).ids[0] == "red"


def test_a_ranking_does_not_wait_for_many_facts_of_another_server(opened: Open, monkeypatch) -> None:
    """They are taken up beside it, in parts, and lead to the same weights; what was weighed counts meanwhile."""
    first, second = opened(), opened()
    before = scores(second, asked(0, 1))
    monkeypatch.setattr(uptake, "HEARD_AT_ONCE", 8)
    background = second._session.runtime.uptake
    with monkeypatch.context() as never:
        never.setattr(background, "add", lambda backlog: True)
        told = [judge(first, asked(0, 1, seed), float(seed % 2)) for seed in range(20)]
        first.flush()
        second._session.refresh()
        assert scores(second, asked(0, 1)) == before
        backlog = second._session.ranker.evidence
        assert backlog.take_part()
        assert scores(second, asked(0, 1)) != before
        assert [backlog.take_part() for _ in range(2)] == [True, False]
        np.testing.assert_array_equal(weighed(second)[1], weighed(first)[1])
        for trajectory in told[:10]:
            first.feedback(trajectory, quality=0.5, source="later")
        first.flush()
        second._session.refresh()
        known = weighed(second)[1]
        assert backlog.take_part()  # of the facts from the first that has changed on, which are fewer
        np.testing.assert_array_equal(weighed(second)[1], known)
    scores(second, asked(0, 1))
    assert background._thread is not None
    background._thread.join()
    np.testing.assert_array_equal(weighed(second)[1], weighed(first)[1])


def test_a_persons_own_thumb_counts_before_the_backlog_of_another_server(opened: Open, monkeypatch) -> None:
    first, second = opened(), opened()
    scores(second, asked(0, 1))
    monkeypatch.setattr(uptake, "HEARD_AT_ONCE", 8)
    with monkeypatch.context() as never:
        never.setattr(second._session.runtime.uptake, "add", lambda backlog: True)
        for seed in range(40):
            judge(first, asked(2, 3, seed), 1.0)
        first.flush()
        second._session.refresh()
        before = lead(second, asked(0, 1))
        t = judge(second, asked(0, 1))
        second.feedback(t, 0.0)
        assert lead(second, asked(0, 1)) < before - 0.01
        backlog = second._session.ranker.evidence
        assert len(backlog._learned) == 0
        while backlog.take_part():
            assert lead(second, asked(0, 1)) < before - 0.01
        second.flush()
        first._session.refresh()
        first._session.ranker.evidence.weigh_all(first._session.serving)
        np.testing.assert_array_equal(weighed(second)[1], weighed(first)[1])


def test_a_ranking_does_not_wait_for_a_large_block_of_facts(opened: Open, monkeypatch) -> None:
    """Its last fact counts by itself, until the background has learned the block: then the weights are the same."""
    engine, plain = opened(), opened()
    monkeypatch.setattr(engine._session.runtime.uptake, "add", lambda backlog: True)
    backlog = engine._session.ranker.evidence
    for seed in range(7):
        judge(engine, asked(0, 1, seed), float(seed % 2))
    weighed(engine)
    monkeypatch.setattr(uptake, "LARGE", 0)
    t = judge(engine, asked(0, 1, 7))
    before = scores(engine, asked(0, 1, 7))
    engine.feedback(t, 1.0)
    assert scores(engine, asked(0, 1, 7)) != before
    assert (backlog._is_behind, len(backlog._learned)) == (True, 7)
    assert not backlog.take_part()
    assert (backlog._is_behind, len(backlog._learned)) == (False, 8)
    engine.flush()
    plain._session.refresh()
    monkeypatch.setattr(uptake, "LARGE", 1 << 30)
    np.testing.assert_array_equal(weighed(engine)[1], weighed(plain)[1])


def test_a_closed_engine_weighs_many_facts_itself(opened: Open, monkeypatch) -> None:
    engine = opened()
    before, ranking = scores(engine, asked(0, 1)), engine.rank(asked(0, 1), ROWS, ids=IDS)
    monkeypatch.setattr(uptake, "TOLD_AT_ONCE", 8)
    with monkeypatch.context() as never:
        never.setattr(engine._session.runtime.uptake, "add", lambda backlog: True)
        for _ in range(20):
            t = engine.begin_trajectory(asked(0, 1), ranking=ranking)
            engine.set_trajectory_route(t, "red")
            engine.end_trajectory(t, 0.0)
        assert scores(engine, asked(0, 1)) == before
    engine.close()
    assert scores(engine, asked(0, 1))["red"] < before["red"]
