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
