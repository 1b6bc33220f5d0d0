"""Search and analytics on a standby: it is left when it lags, dies or takes writes, and taken back when it is well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from chaos.server import CrashingServer
from chaos.standby import Standby
from fix_homes import temporary_home
from sqlalchemy import Engine, text

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import Environment, LoopConfig, MaintenanceConfig
from sona_pg.errors import ConfigError
from sona_pg.store.admin.migrate import upgrade
from sona_pg.store.database import Database
from sona_pg.store.read_side import ReadReplica
from sona_pg.store.transactions import reading

DIM = 8
ROOMY, TIGHT = 30.0, 0.2  # seconds that it may lag: for a slow machine, and for a standby that stands still
QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


@pytest.fixture
def pair() -> Iterator[tuple[CrashingServer, Standby]]:
    with temporary_home() as home:
        home.chmod(0o755)  # the servers run as another user where we are root
        with CrashingServer(home) as primary:
            upgrade(primary.url)
            with Standby(home / "standby", primary) as standby:
                yield primary, standby


def port(engine: Engine) -> int:
    with reading(engine, "asking for the port") as connection:
        return int(connection.scalar(text("SELECT inet_server_port()")) or 0)


def ask(server: CrashingServer, query: str) -> Any:
    with server.administrator() as connection:
        return connection.execute(query).fetchone()  # type: ignore[call-overload]


def test_a_standby_is_used_while_it_is_well(
    pair: tuple[CrashingServer, Standby], caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby = pair
    caplog.set_level(logging.WARNING, "sona_pg")
    database = Database.at(primary.url, replica=ReadReplica(standby.url, ROOMY))
    tight = Database.at(primary.url, replica=ReadReplica(standby.url, TIGHT))
    reads = database.reads
    assert reads.look()
    assert (reads.run(port), reads.state) == (standby.port, "used")

    ask(standby, "SELECT pg_wal_replay_pause()")
    with psycopg.connect(primary.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE later ()")
    assert not tight.reads.look()
    assert tight.reads.run(port) == primary.port
    assert "lags more than 0.2 s" in str(tight.reads.state)
    ask(standby, "SELECT pg_wal_replay_resume()")
    assert reads.look()

    standby.crash()
    assert reads.run(port) == primary.port  # the same call, after it has failed on the standby
    assert "does not answer" in str(reads.state)
    assert not reads.look()
    standby.start()
    assert reads.look()
    assert reads.run(port) == standby.port

    standby.promote()
    assert not reads.look()
    assert "no standby" in str(reads.state)
    assert reads.run(port) == primary.port
    assert [record.message for record in caplog.records].count("reads go to the standby again") == 1
    tight.close()
    database.close()


def test_search_and_analytics_of_an_engine_are_read_there(pair: tuple[CrashingServer, Standby]) -> None:
    primary, standby = pair
    queries = "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database WHERE datname = 'chaos'"
    with Store(primary.url, read_url=standby.url, read_lag=ROOMY) as store:
        engine = store.space("one", DIM, config=QUIET)
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.flush()
        assert engine.metrics()["server"]["standby"] == "was not needed yet"
        reads = engine._session.database.reads
        assert reads.look()
        before = ask(standby, queries)[0]
        for _ in range(20):
            assert len(engine.search(np.ones(DIM, np.float32), 3)) == 1
        assert engine._session.database.read_view("fleet", engine._session.space, 3)[0]["state"] == "live"
        assert engine._session.database.overview.learning(engine._session.space)["live_version"] == 0
        assert engine.metrics()["server"]["standby"] == "used"
        ask(standby, "SELECT pg_stat_force_next_flush()")
        assert ask(standby, queries)[0] > before
        ask(standby, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'application'")
        assert len(engine.search(np.ones(DIM, np.float32), 3)) == 1  # a lost connection is another's affair
    with SonaEngine(DIM, primary.url, "one", config=QUIET, read_url=standby.url) as engine:
        assert engine._session.database.reads.look()
    with SonaEngine(DIM, primary.url, "one", config=QUIET) as engine:
        assert engine.metrics()["server"]["standby"] is None


def test_the_environment_names_a_standby_and_its_lag() -> None:
    named = Environment.read({"SONA_PG_HOME": "/x", "SONA_PG_READ_URL": "postgresql://b/x", "SONA_PG_READ_LAG": "2.5"})
    assert (named.read_url, named.read_lag) == ("postgresql://b/x", 2.5)
    assert Environment.read({"SONA_PG_HOME": "/x"}).read_lag == 10.0
    for wrong in ("soon", "0", "nan"):
        with pytest.raises(ConfigError, match="SONA_PG_READ_LAG"):
            Environment.read({"SONA_PG_HOME": "/x", "SONA_PG_READ_LAG": wrong})
