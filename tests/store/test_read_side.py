"""Search and analytics on a standby: it is left when it lags, dies or takes writes, and taken back when it is well."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from chaos.server import CrashingServer
from chaos.standby import Standby, wait_for
from fix_homes import temporary_home
from sqlalchemy import Engine, text

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import Environment, LoopConfig, MaintenanceConfig
from sona_pg.errors import ConfigError
from sona_pg.store.admin.migrate import upgrade
from sona_pg.store.database import Database
from sona_pg.store.fleet import Server
from sona_pg.store.read_side import OwnServer, ReadReplica, ReadSide
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


@contextmanager
def reads_of(primary: CrashingServer, standby: Standby, lag: float) -> Iterator[ReadSide]:
    """Read with a server of a space, which sends no heartbeats but those of looks."""
    database = Database.at(primary.url, replica=ReadReplica(standby.url, lag))
    server = Server(uuid4(), "here", 1, "0")
    space = database.join_space("one", DIM, server, config=QUIET).space
    database.reads.join(OwnServer(space.space_id, server.server_id))
    yield database.reads
    database.close()


def test_a_standby_is_used_while_it_is_well(
    pair: tuple[CrashingServer, Standby], caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby = pair
    caplog.set_level(logging.WARNING, "sona_pg")
    with reads_of(primary, standby, ROOMY) as reads, reads_of(primary, standby, TIGHT) as tight:
        assert reads.look()
        assert (reads.run(port), reads.state) == (standby.port, "used")

        ask(standby, "SELECT pg_wal_replay_pause()")
        assert not tight.look()
        assert tight.run(port) == primary.port
        assert "lags more than 0.2 s" in str(tight.state)
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


def test_a_standby_that_has_not_followed_a_failover_is_left(pair: tuple[CrashingServer, Standby]) -> None:
    first, promoted = pair
    with Standby(promoted.data.parent.parent / "third", first) as diverged:
        with reads_of(first, diverged, ROOMY) as reads:
            assert reads.look()
        promoted.promote()
        ask(first, "SELECT pg_switch_wal()")  # what is received more than by the new primary
        ahead = "SELECT pg_last_wal_replay_lsn() > %s"
        with promoted.administrator() as one, diverged.administrator() as other:
            position = one.execute("SELECT pg_current_wal_lsn()").fetchone()
            wait_for(lambda: other.execute(ahead, position).fetchone() == (True,), "the standby is not ahead")
        with reads_of(promoted, diverged, TIGHT) as reads:
            assert not reads.look()
            assert "does not follow this primary" in str(reads.state)
            assert reads.run(port) == promoted.port


def test_a_periodic_heartbeat_does_not_make_a_standby_lag(pair: tuple[CrashingServer, Standby]) -> None:
    primary, standby = pair
    with reads_of(primary, standby, ROOMY) as reads:
        beat, sent = reads._beat, []

        def overtaken() -> Any:
            sent.append(beat())
            if len(sent) == 1:
                beat()
            return sent[-1]

        reads._beat = overtaken  # type: ignore[method-assign]
        assert reads.look()
        reads.depart(sent[0].server)
        assert not reads.look()
        assert "no space is open" in str(reads.state)


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
