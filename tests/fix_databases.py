"""One fresh database a test, copied from a migrated template, and dropped with no connection left open."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import psycopg
import pytest
from fix_citus import Cluster, database_on, distribute_template
from fix_servers import REPORT, Server
from psycopg import sql
from sqlalchemy import make_url

from sona_pg.store.admin.migrate import upgrade

NUMBERS = itertools.count(1)
OPEN_CONNECTIONS = """
    SELECT application_name, state, query FROM pg_stat_activity
    WHERE datname = %s AND backend_type = 'client backend' AND application_name NOT LIKE 'citus_internal%%'
"""
Databases = Callable[[str | None], AbstractContextManager[str]]  # by the name of their template

TRANSACTIONS = """
    SELECT pid, xact_start FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""


def lasting_transactions(url: str, seconds: float = 10.0) -> set[tuple[object, ...]]:
    """Return the transactions that stay open while the caller holds up whoever may have left them open.

    Those of other threads, a heartbeat for one, end meanwhile.
    """
    until = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        still = set(connection.execute(TRANSACTIONS))
        while still and time.monotonic() < until:
            time.sleep(0.02)
            still &= set(connection.execute(TRANSACTIONS))
    return still


@pytest.fixture(scope="session")
def administrator(postgres_server: Server) -> Iterator[psycopg.Connection]:
    """A connection that creates and drops databases."""
    with psycopg.connect(postgres_server.url, autocommit=True, application_name="pytest") as connection:
        yield connection


@pytest.fixture(scope="session")
def databases(postgres_server: Server, administrator: psycopg.Connection) -> Iterator[Databases]:
    """Makes databases on the server, on Citus one on each node, as copies of another one."""
    if postgres_server.name != "citus":
        yield partial(_database, administrator)
        return
    yield partial(database_on, Cluster.of(postgres_server.url))


@pytest.fixture(scope="session")
def template(postgres_server: Server, databases: Databases) -> Iterator[str]:
    """The name of a database that holds the migrated schema, on Citus distributed, and nothing else."""
    with databases(None) as name:
        if postgres_server.name == "citus":
            distribute_template(Cluster.of(postgres_server.url), name)
        else:
            upgrade(with_database(postgres_server.url, name))
        yield name


@pytest.fixture
def database_url(
    request: pytest.FixtureRequest,
    postgres_server: Server,
    administrator: psycopg.Connection,
    databases: Databases,
    template: str,
) -> Iterator[str]:
    """The URL of a migrated database that no other test sees."""
    _count(request, postgres_server)
    with databases(template) as name:
        yield with_database(postgres_server.url, name)
        _require_no_connection(administrator, name)


@pytest.fixture
def empty_database_url(
    request: pytest.FixtureRequest,
    postgres_server: Server,
    administrator: psycopg.Connection,
    databases: Databases,
) -> Iterator[str]:
    """The URL of a database without the schema."""
    _count(request, postgres_server)
    with databases(None) as name:
        yield with_database(postgres_server.url, name)
        _require_no_connection(administrator, name)


def with_database(url: str, name: str) -> str:
    """The same server's URL for another database."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _database(administrator: psycopg.Connection, template: str | None) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(NUMBERS)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    administrator.execute(create.format(sql.Identifier(name), sql.Identifier(template or "template0")))
    try:
        yield name
    finally:
        administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _require_no_connection(administrator: psycopg.Connection, name: str) -> None:
    """Fail the test that left one open; a closed one takes the server a moment to end."""
    deadline = time.monotonic() + 2
    while rows := administrator.execute(OPEN_CONNECTIONS, [name]).fetchall():
        if time.monotonic() > deadline:
            pytest.fail(f"the test left {len(rows)} connections open: {rows}")
        time.sleep(0.01)


def _count(request: pytest.FixtureRequest, server: Server) -> None:
    databases = request.config.stash[REPORT].databases
    databases[server.name] = databases.get(server.name, 0) + 1
