"""One thread notices overdue calls; a lease is renewed by another one only once its cycle takes long."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from sqlalchemy import text

from sona_pg.domain.ids import uuid7
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store import deadlines as module
from sona_pg.store import lease_hold
from sona_pg.store.database import Database
from sona_pg.store.deadlines import Deadlines
from sona_pg.store.transactions import reading


def renewing() -> bool:
    return any(thread.name == "sona-pg lease" for thread in threading.enumerate())


def test_an_action_is_done_once_if_its_block_takes_long_and_not_after_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(module, "LINGER", 0.0)
    done, watch = [], Deadlines()
    with watch.after(60.0, lambda: done.append("too early")), watch.after(0.0, lambda: done.append("long")):
        while not done:
            time.sleep(0.001)
    with watch.after(0.01, lambda: done.append("after the end")):
        pass
    while watch._thread is not None:
        time.sleep(0.001)
    assert done == ["long"]


def test_a_short_cycle_has_no_thread_that_renews_its_lease(database_url: str) -> None:
    database = Database.open(database_url)
    space = database.open_space("a", 8, database.now())
    with database.learning_unit(space, uuid7()) as held:
        assert held is not None
        assert not renewing()
    database.close()


def test_the_lease_of_a_long_cycle_is_renewed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(lease_hold, "RENEW_EVERY", 0.01)
    database = Database.open(database_url)
    space = database.open_space("a", 8, database.now())
    expires = "SELECT expires_at FROM sona.leases"
    with database.learning_unit(space, uuid7()), psycopg.connect(database_url, autocommit=True) as connection:
        before = connection.execute(expires).fetchone()
        while connection.execute(expires).fetchone() == before:
            time.sleep(0.005)
        assert renewing()
    assert not renewing()
    database.close()


def test_a_call_that_takes_too_long_is_not_told_as_a_lost_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.005)
    database = Database.open(database_url)
    with (
        pytest.raises(DatabaseUnavailable, match="looking around: no answer within"),
        reading(database.engine, "looking around", 0.01) as connection,
    ):
        connection.execute(text("SELECT pg_sleep(1)"))
    assert database.now()
    database.close()
