"""Schedules use the database's clock: a server with a wrong clock stops no server, itself included."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine import routing_calls
from sona_pg.ingest import candidate_rows, delivery, extras, space_writing
from sona_pg.store.database import Database

DIM = 8
SOON = SonaConfig(loops=LoopConfig(automatic=True, shortest_interval=0.0, min_trajectories=5, poll_interval=60.0))


def record(engine: SonaEngine, n: int) -> None:
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    engine.flush()


def test_a_cycle_that_a_server_a_year_ahead_has_noted_stops_nobodys_schedule(database_url):
    with SonaEngine(DIM, database_url, config=SOON) as engine:
        record(engine, 5)
        assert engine.force_learn().learned
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.cycles SET started_at = started_at + interval '1 year'")
        record(engine, 5)
        result = engine.tick()
        assert result is not None
        assert result.learned


@pytest.mark.parametrize("off", [timedelta(days=365), -timedelta(days=365), -timedelta(days=56 * 365)])
def test_times_that_a_skewed_server_leaves_are_the_databases(database_url, monkeypatch, off):
    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + off

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off.total_seconds())
    for module in (routing_calls, candidate_rows, delivery, extras, space_writing):  # every caller of datetime.now()
        monkeypatch.setattr(module, "datetime", Skewed)
    with SonaEngine(DIM, database_url, config=SOON) as engine:
        record(engine, 5)
        assert engine.force_learn().learned
        engine.refresh()
        with psycopg.connect(database_url) as connection:
            for query in (
                "SELECT count(*) FROM sona.servers WHERE abs(extract(epoch FROM seen_at - now())) < 100",
                "SELECT count(*) FROM sona.servers WHERE abs(extract(epoch FROM started_at - now())) < 100",
                "SELECT count(*) FROM sona.cycles WHERE abs(extract(epoch FROM started_at - now())) < 100",
                "SELECT count(*) FROM sona.state_versions WHERE abs(extract(epoch FROM created_at - now())) < 100",
                "SELECT count(*) FROM sona.spaces WHERE abs(extract(epoch FROM created_at - now())) < 100",
                "SELECT count(*) FROM sona.batches WHERE abs(extract(epoch FROM recorded_at - now())) < 100",
            ):
                assert connection.execute(query).fetchone() == (1,), query
            (skew,) = connection.execute("SELECT skew_ms FROM sona.fleet").fetchone()
        assert skew == pytest.approx(off.total_seconds() * 1000, abs=60_000)


def test_the_age_of_a_version_is_that_of_its_learning(database_url):
    with SonaEngine(DIM, database_url, config=SOON) as engine:
        record(engine, 5)
        engine.force_learn()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.state_versions SET created_at = created_at - interval '1 day'")
    with SonaEngine(DIM, database_url, config=SOON) as engine:
        assert engine.metrics()["version_age_seconds"] >= 86_400
    database = Database.open(database_url)
    assert database.snapshot(database.find_space("default")).age >= 86_400
    database.close()
