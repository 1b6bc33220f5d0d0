"""Exhausted connections: an engine logs it once, waits, and continues."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.ingest import link as link_module
from sona_pg.ingest.attempts import Attempts
from sona_pg.ingest.link import Link
from sona_pg.store.connect import connect

DIM = 8
BUSY = SonaConfig(
    loops=LoopConfig(automatic=True, shortest_interval=0.0, min_trajectories=1, poll_interval=0.1),
    maintenance=MaintenanceConfig(interval=0.2),
)
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'sona-pg%'
"""


@contextmanager
def exhausted(url: str) -> Iterator[None]:
    """Take every connection that the server has, those of engines included."""
    held = [psycopg.connect(url, autocommit=True)]
    try:
        quiet = 0
        while quiet < 20:
            try:
                held.append(psycopg.connect(url, autocommit=True))
                quiet = 0
            except psycopg.OperationalError:
                quiet = 0 if held[0].execute(END_OTHERS).fetchall() else quiet + 1
                time.sleep(0.02)
        yield
    finally:
        for connection in held:
            connection.close()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.name for entry in caplog.records if entry.levelno >= logging.WARNING]


def test_an_engine_without_connections_logs_it_once(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    def record() -> None:
        for _ in range(5):
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)

    with SonaEngine(DIM, database_url, config=BUSY) as engine:
        with caplog.at_level(logging.INFO, "sona_pg"), exhausted(database_url):
            deadline = time.monotonic() + 60
            rounds = itertools.count()
            while next(rounds) < 30 or "sona_pg.ingest" not in warned(caplog):
                assert time.monotonic() < deadline
                record()
                time.sleep(0.1)
            said = warned(caplog)
        engine.flush(30)
        assert engine.force_learn().version > 0
    ours = [name for name in said if name.startswith("sona_pg")]
    assert "sona_pg.ingest" in ours
    assert len(ours) <= 6
    assert len(said) <= 12  # with the driver's errors on ended connections


def test_a_writer_logs_repeated_outages_once(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "FIRST_PAUSE", 0.0)
    engine = connect(database_url)
    attempts = Attempts(engine, 30.0)
    link = Link(attempts)
    calls = itertools.count()

    def work(raw: psycopg.Connection[object]) -> None:
        if next(calls) % 2:
            raise psycopg.OperationalError("no connection is left")

    for number in range(40):
        assert list(link.deliver(number, work)) == [0.0] * (number > 0)
    attempts.close()
    engine.dispose()
    assert link.retries == 39
    assert ["works again" in entry.message for entry in caplog.records] == [False, True]
