"""Failover and read-only spells: connections that answer, and take no writes, are replaced."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from chaos.server import CrashingServer
from chaos.standby import Standby
from fix_homes import temporary_home
from fix_ingest import Space
from fix_proxy import Proxy
from sqlalchemy import make_url

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath
from sona_pg.store.database import Database
from sona_pg.store.fleet import Server

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

DIM = 8
DEADLINE = 20.0  # seconds for anything that is waited for here


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def set_read_only(url: str, on: bool) -> None:
    """Change the database's default for new sessions, and end all others."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        name = make_url(url).database
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'on' if on else 'off'}")  # type: ignore[call-overload]
        if on:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def test_the_writer_goes_on_when_the_spell_is_over(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    writer = open_writer(hot)
    recorded = {record(hot)}
    writer.flush(10)
    set_read_only(space.url, True)
    recorded |= {record(hot, steps=1) for _ in range(100)}
    wait_for(lambda: "read-only" in (writer.stats().last_error or ""), "the writer met no read-only session")
    set_read_only(space.url, False)
    writer.flush(DEADLINE)
    assert space.ids() == recorded


def test_so_does_everything_else_of_an_engine(database_url: str) -> None:
    database = Database.open(database_url)
    try:
        now = datetime.now(UTC)
        space, server = database.open_space("s", DIM, now), uuid.uuid4()
        database.register(space, Server(server, "here", 1, "0"))
        set_read_only(database_url, True)
        with pytest.raises(DatabaseUnavailable):  # the pooled connection is gone, or what replaces it writes nothing
            database.heartbeat(space, server, 0, None)
        with pytest.raises(DatabaseUnavailable, match="takes no writes now"):
            database.heartbeat(space, server, 0, None)
        set_read_only(database_url, False)
        heard = database.heartbeat(space, server, 0, None)
        assert (heard.live_version, heard.registered) == (0, True)
    finally:
        database.close()


@pytest.fixture
def pair() -> Iterator[tuple[CrashingServer, Standby]]:
    with temporary_home() as home:
        home.chmod(0o755)  # the servers run as another user where we are root
        with CrashingServer(home) as primary, Standby(home / "standby", primary) as standby:
            yield primary, standby


def scalar(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert row is not None
        return row[0]


def test_a_standby_that_is_promoted_gets_everything(pair: tuple[CrashingServer, Standby]) -> None:
    """The address moves to the standby before it is promoted; sessions on the old primary live, and write nothing."""
    primary, standby = pair
    proxy = Proxy(primary.url)
    config = SonaConfig(
        loops=LoopConfig(automatic=False, poll_interval=0.1),
        maintenance=MaintenanceConfig(automatic=False),
        ingest=IngestConfig(flush_interval=0.01),
    )
    x = np.ones(DIM, np.float32)
    engine = SonaEngine(DIM, proxy.url, config=config)
    try:
        for _ in range(50):
            engine.end_trajectory(engine.begin_trajectory(x), 0.5)
        engine.flush(DEADLINE)
        with primary.administrator() as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")  # the old primary is fenced off
            connection.execute("SELECT pg_reload_conf()")
        sent = scalar(primary.url, "SELECT pg_current_wal_lsn()")
        wait_for(
            lambda: scalar(standby.url, f"SELECT pg_last_wal_replay_lsn() >= '{sent}'"), "the standby does not follow"
        )
        proxy._server_url = make_url(standby.url)  # sessions that are open stay where they are
        for _ in range(100):
            engine.end_trajectory(engine.begin_trajectory(x), 0.5)
        wait_for(
            lambda: "read-only" in (engine.metrics()["server"]["writer"]["last_error"] or ""), "nothing was refused"
        )
        standby.promote()
        engine.flush(DEADLINE)
        engine.force_learn()
        assert engine.metrics()["database"] == "answers"
        engine.close()
        assert scalar(standby.url, "SELECT count(*) FROM sona.trajectories") == 150
        assert scalar(primary.url, "SELECT count(*) FROM sona.trajectories") == 50
    finally:
        with suppress(DatabaseUnavailable):
            engine.close()
        proxy.close()
