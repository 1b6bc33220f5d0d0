"""A version that this release cannot read is reported, and the previous one stays in place."""

from __future__ import annotations

import json
import logging

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine import version_holder
from sona_pg.errors import UnknownFormat

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=60.0))
BREAK = {
    "a later release's format": "UPDATE sona.state_versions SET format = 2 WHERE version = 2",
    "an array that is cut short": "UPDATE sona.state_arrays SET data = substr(data, 1, 5) WHERE version = 2",
    "a part that is missing": "DELETE FROM sona.adapters WHERE version = 2 AND kind = 'micro'",
    "a type that nobody knows": "UPDATE sona.state_arrays SET dtype = '<x9' WHERE version = 2",
}


def learn(engine: SonaEngine, n: int) -> int:
    rng = np.random.default_rng(n)
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(rng.standard_normal(DIM).astype(np.float32)), 0.5)
    return engine.force_learn().version


@pytest.mark.parametrize("broken", BREAK)
def test_a_server_goes_on_with_the_version_it_has(database_url, broken, caplog):
    with SonaEngine(DIM, database_url, config=QUIET) as engine, SonaEngine(DIM, database_url, config=QUIET) as other:
        engine._session.runtime.follower.leave(engine._session)  # it looks when the test says so
        learn(other, 10)
        assert engine.refresh() == 1
        learn(other, 11)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(BREAK[broken])
            with caplog.at_level(logging.ERROR):
                assert engine.refresh() == engine.refresh() == 1
            assert len([record for record in caplog.records if "version 2 cannot be served" in record.message]) == 1
            assert engine.metrics()["refused_version"]
            alive = "SELECT state, serving_version FROM sona.fleet WHERE server_id = %s"
            assert connection.execute(alive, [engine.server_id]).fetchone() == ("live", 1)
        assert learn(other, 12) == 3
        assert engine.refresh() == 3
        assert engine.metrics()["refused_version"] is None


def test_it_is_taken_up_once_it_can_be_read(database_url, monkeypatch):
    monkeypatch.setattr(version_holder, "REFUSED_FOR", 0.0)
    with SonaEngine(DIM, database_url, config=QUIET) as engine, SonaEngine(DIM, database_url, config=QUIET) as other:
        engine._session.runtime.follower.leave(engine._session)  # it looks when the test says so
        learn(other, 10)
        learn(other, 11)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(BREAK["a later release's format"])
            assert engine.refresh() == 0
            connection.execute("UPDATE sona.state_versions SET format = 1")
            assert engine.refresh() == 2


def test_a_server_that_starts_beside_it_records_and_learns_nothing(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        learn(engine, 10)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE sona.state_versions SET format = 2")
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        assert engine.version == 0
        assert "format 2" in json.loads(engine.get_stats())["refused_version"]
        with pytest.raises(UnknownFormat, match="upgrade sona-pg on this server"):
            learn(engine, 3)
        assert engine.metrics()["totals"]["trajectories"] == 13
