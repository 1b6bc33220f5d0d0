"""URLs: accepted spellings, and no password in any message, log or exception chain."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from fix_proxy import Proxy
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import InvalidRequestError

from sona_pg import SonaEngine
from sona_pg.errors import ConfigError, DatabaseError, DatabaseRefused, DatabaseUnavailable, SonaError
from sona_pg.store.admin import migrate
from sona_pg.store.connect import (
    POOL_GAVE_UP,
    connect,
    driver_arguments,
    driver_connection,
    masked,
    parse_url,
    translated,
)
from sona_pg.store.notify import NoticeListener
from sona_pg.store.transactions import reading, snapshot, transaction

SECRET = "hunter2-xyzzy"
MISSPELT = [
    f"postgres:/someone:{SECRET}@db.example/x",
    f"postgresql//someone:{SECRET}@db.example/x",
    f"postgresql://someone:{SECRET}@db.example:54e2/x",
    f"postgresql://someone:{SECRET}@{SECRET}@db.example/x",
    f"postgresql://db.example@someone:{SECRET}",
    f"host=db.example password={SECRET}",
    f"mysql://someone:{SECRET}@db.example/x?password={SECRET}",
]
AWAY = [
    f"postgresql://someone:{SECRET}@127.0.0.1:9/x",
    f"postgresql://someone@127.0.0.1:9/x?password={SECRET}",
    f"postgresql://someone@127.0.0.1:9/x?sslpassword={SECRET}&sslmode=disable",
    f"postgresql://someone@127.0.0.1:9/x?pasword={SECRET}",
]


def told(error: BaseException) -> str:
    """All text of an error and its chain, shown or suppressed."""
    said = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link is not None:
        said += repr(link) + str(link)
        link = link.__cause__ or link.__context__
    return said


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://someone:a%40b@one:1,two.example:2/x?target_session_attrs=read-write", "one,two.example", "1,2"),
        ("postgres://one,two:5433/x", "one,two", "5432,5433"),
        ("postgresql://someone@/x?host=one,two&port=1,2", "one,two", "1,2"),
    ],
)
def test_several_hosts_are_read_as_libpq_writes_them(url: str, host: str, port: str) -> None:
    read = driver_arguments(url)
    assert (read["host"], read["port"], read["dbname"]) == (host, port, "x")


@pytest.mark.parametrize("url", MISSPELT)
def test_a_misspelt_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://") as caught:
        migrate.status(url)
    assert SECRET not in told(caught.value)
    assert SECRET not in masked(url)


@pytest.mark.parametrize("url", AWAY)
def test_a_server_that_is_away_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SonaError) as caught:
        migrate.status(url)
    assert SECRET not in told(caught.value)
    with contextlib.closing(NoticeListener(url)) as listener, pytest.raises(SonaError) as caught:
        listener.wait(0)
    assert SECRET not in told(caught.value)
    assert SECRET not in masked(url)
    assert "127.0.0.1:9/x" in masked(url)


def test_the_driver_gets_the_real_password() -> None:
    arguments = driver_arguments(f"postgresql://someone:{SECRET}@db.example:5433/x?sslmode=require&host=other")
    assert arguments == {
        "host": "other", "port": 5433, "dbname": "x", "user": "someone", "password": SECRET, "sslmode": "require",
        "client_encoding": "utf8",
    }  # fmt: skip
    assert masked(f"postgresql://a:{SECRET}@h/x?sslmode=require") == "postgresql://a:***@h/x?sslmode=require"


@pytest.mark.parametrize("url", ["postgres://h/x", "postgresql://h/x", "postgresql+psycopg://h/x"])
def test_usual_spellings_are_understood(url: str) -> None:
    assert parse_url(url).drivername == "postgresql+psycopg"


def by_sqlalchemy(connection: Connection, query: str, values: tuple[int, ...]) -> None:
    connection.exec_driver_sql(query, values)


def by_psycopg(connection: Connection, query: str, values: tuple[int, ...]) -> None:
    driver_connection(connection).execute(query.encode(), values)


def ended(connection: Connection, url: str) -> Connection:
    """Have the server end the session of a connection."""
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [driver_connection(connection).info.backend_pid])
    return connection


@pytest.mark.parametrize("opened", [reading, snapshot, transaction])
@pytest.mark.parametrize("execute", [by_sqlalchemy, by_psycopg])
def test_only_a_lost_connection_is_called_away(
    database_url: str, opened: Callable[..., Any], execute: Callable[..., None]
) -> None:
    engine = connect(database_url)
    try:
        with pytest.raises(DatabaseError, match="number of parameters") as caught, opened(engine, "asking") as asked:
            execute(asked, f"SELECT {'%s,' * 65_536}0", tuple(range(65_536)))
        assert not isinstance(caught.value, DatabaseUnavailable)
        with pytest.raises(DatabaseUnavailable), opened(engine, "asking") as asked:
            execute(ended(asked, database_url), "SELECT %s", (1,))
    finally:
        engine.dispose()


def test_a_pool_whose_connections_end_at_once_is_an_outage() -> None:
    with pytest.raises(DatabaseUnavailable, match="end as soon as they are made"), translated("testing"):
        raise InvalidRequestError(POOL_GAVE_UP)
    with pytest.raises(InvalidRequestError), translated("testing"):
        raise InvalidRequestError("Can't reconnect until invalid transaction is rolled back")


@pytest.mark.parametrize("part", ["database", "username"])
def test_a_server_that_knows_neither_database_nor_role_is_no_outage(database_url: str, part: str) -> None:
    """An engine would open without its database, and wait for ever."""
    wrong = make_url(database_url).set(**{part: "nobody-knows-it"}).render_as_string(hide_password=False)
    with pytest.raises(DatabaseError, match="refused the connection") as caught:
        SonaEngine(8, wrong)
    assert not isinstance(caught.value, DatabaseUnavailable)


@pytest.mark.parametrize(
    "told", ["fe_sendauth: no password supplied", "server does not support SSL, but SSL was required"]
)
def test_a_login_that_misses_something_is_no_outage(told: str) -> None:
    with pytest.raises(DatabaseRefused, match="check user, password and name"), translated("testing"):
        raise psycopg.OperationalError(f"connection failed: {told}")


def test_a_lost_connection_is_told_by_its_error_alone(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    engine = connect(proxy.url)
    proxy.cut_before(b"SELECT 4711")
    try:
        with pytest.raises(DatabaseUnavailable), reading(engine, "asking") as asked:
            driver_connection(asked).execute("SELECT 4711")
    finally:
        engine.dispose()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
