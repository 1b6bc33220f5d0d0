"""Candidates are known by id to every server as soon as they are committed, before any cycle."""

from __future__ import annotations

import time

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.errors import InvalidValue

DIM = 8
IDS = ["red", "100 % \\ 'green'", "blå"]
ROWS = np.eye(3, DIM, dtype=np.float32)
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60), maintenance=MaintenanceConfig(automatic=False)
)  # fmt: skip


def test_candidates_remembered_by_one_server_are_ranked_by_id_on_others(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        one.remember(IDS, ROWS)
        one.flush()
        other.refresh()
        assert other.version == 0
        for row, name in enumerate(IDS):
            assert other.rank(ROWS[row], ids=IDS).ids[0] == name
        assert sorted(other.rank(ROWS[0]).ids) == sorted(IDS)
        ranking = other.rank(ROWS[1], ids=IDS)
        trajectory = other.begin_trajectory(ROWS[1], ranking=ranking)
        other.set_trajectory_route(trajectory, ranking.ids[0])
        other.end_trajectory(trajectory, 1.0)
        other.force_learn()
        assert other.rebuild().equal


def test_a_server_that_opens_knows_them(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one:
        one.remember(IDS, ROWS)
        one.flush()
        one.force_learn()  # there is nothing to learn: no version has the candidates
        assert one.version == 0
    with SonaEngine(DIM, database_url, config=QUIET) as later:
        assert later.rank(ROWS[2], ids=IDS[1:]).ids[0] == IDS[2]


def test_a_server_learns_of_new_candidates_by_notice(database_url: str) -> None:
    """Polling is off for a minute: it is the announcement that is heard."""
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        deadline = time.monotonic() + 30
        turn = 0
        while True:
            one.remember([f"c{turn}"], ROWS[:1])  # the first may come before the other listens
            turn += 1
            try:
                assert other.rank(ROWS[0], ids=["c0"]).ids == ("c0",)
            except InvalidValue:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                break


def test_the_overlay_is_empty_once_a_version_has_them(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        one.remember(IDS, ROWS)
        one.flush()
        other.refresh()
        assert len(other._session.ranker.overlay._stored) == 3
        one.end_trajectory(one.begin_trajectory(ROWS[0], ranking=one.rank(ROWS[0], ids=IDS)), 1.0)
        one.force_learn()
        other.refresh()
        for engine in (one, other):
            overlay = engine._session.ranker.overlay
            assert (len(overlay._here), len(overlay._stored)) == (0, 0)
            assert engine.rank(ROWS[1], ids=IDS).ids[0] == IDS[1]


def test_a_new_embedding_counts_at_once_and_on_every_server_without_a_cycle(database_url: str) -> None:
    """Be it of a candidate that a version has, or of one that came after it."""
    new = np.eye(5, DIM, dtype=np.float32)[3:]
    with SonaEngine(DIM, database_url, config=QUIET) as one, SonaEngine(DIM, database_url, config=QUIET) as other:
        one.remember(IDS, ROWS)
        one.end_trajectory(one.begin_trajectory(ROWS[0], ranking=one.rank(ROWS[0], ids=IDS)), 1.0)
        assert one.force_learn().version == 1
        one.remember(["later"], ROWS[:1])
        one.flush()
        for engine in (one, other):
            engine.refresh()
        for step, rows in enumerate((new, new[::-1])):  # also a second time
            one.remember([IDS[0], "later"], rows)
            assert [one.rank(row).ids[0] for row in rows] == [IDS[0], "later"]
            one.flush()
            one.refresh()
            other.refresh()
            with SonaEngine(DIM, database_url, config=QUIET) as third:
                for engine in (one, other, third):
                    assert engine.version == 1
                    assert [engine.rank(row).ids[0] for row in rows] == [IDS[0], "later"], step
        other.remember(IDS[:1], ROWS[:1])  # as the version has it
        other.flush()
        one.refresh()
        other.refresh()
        for engine in (one, other):
            assert engine.rank(ROWS[0]).ids[0] == IDS[0]
            overlay = engine._session.ranker.overlay
            assert (len(overlay._here), len(overlay._edited)) == (0, 0)


@pytest.mark.parametrize("with_version", [False, True])
def test_what_was_just_stored_stays_known_when_an_earlier_poll_is_told(database_url: str, with_version: bool) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        session = engine._session
        if with_version:
            engine.remember(IDS[1:], ROWS[1:])
            engine.end_trajectory(engine.begin_trajectory(ROWS[1], ranking=engine.rank(ROWS[1])), 1.0)
            engine.force_learn()
        polled = session.database.candidate_signal(session.space)
        engine.remember(IDS, ROWS[::-1])
        engine.flush()
        for _ in range(2):
            with session._refreshing:
                session._candidates.share(session.space, session.serving, session._settled(), polled)
            assert engine.rank(ROWS[2]).ids[0] == IDS[0]
            engine.refresh()
            assert engine.rank(ROWS[2]).ids[0] == IDS[0]


def test_refused_candidates_are_not_kept_in_memory_for_ever(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        with psycopg.connect(database_url) as connection:
            connection.execute("ALTER TABLE sona.candidates ADD CHECK (candidate_id <> 'red')")
        engine.remember(IDS, ROWS)
        engine.flush()
        engine.refresh()
        overlay = engine._session.ranker.overlay
        assert (overlay._here, sorted(overlay._stored.ids)) == ({}, sorted(IDS[1:]))
        with pytest.raises(InvalidValue, match="'red'"):
            engine.rank(ROWS[0], ids=["red"])


def test_a_candidate_that_is_deleted_is_forgotten(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.remember(IDS, ROWS)
        engine.flush()
        engine.refresh()
        with psycopg.connect(database_url) as connection:
            connection.execute("DELETE FROM sona.candidates WHERE candidate_id = 'red'")
        engine.refresh()
        with pytest.raises(InvalidValue, match="'red'"):
            engine.rank(ROWS[0], ids=["red"])
        assert sorted(engine.rank(ROWS[0]).ids) == sorted(IDS[1:])
