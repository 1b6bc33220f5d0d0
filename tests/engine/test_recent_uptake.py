"""Recent evidence that is taken up beside rankings: another server's backlog, large blocks of facts."""

from __future__ import annotations

import numpy as np
from fix_recent import IDS, ROWS, Open, asked, judge, lead, scores, weighed

from sona_pg.serving import uptake


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
