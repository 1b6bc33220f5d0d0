"""Recent evidence: a thumb or a correction counts with the next ranking, everywhere, once."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fix_recent import DEAF, IDS, ROWS, Open, asked, judge, lead, scores, weighed

from sona_pg import SonaConfig
from sona_pg.config import LoopConfig
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.database import Database


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


def test_the_newest_of_several_thumbs_is_taken_back_at_once(opened: Open) -> None:
    engine = opened()
    query = asked(0, 1)
    engine.feedback(judge(engine, asked(2, 3)), quality=0.0)
    before = scores(engine, query)
    told = judge(engine, query)
    engine.feedback(told, quality=1.0)
    assert scores(engine, query) != before
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
