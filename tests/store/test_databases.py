"""Each test has a migrated database of its own, on each server."""

from __future__ import annotations

import psycopg
import pytest
from fix_proxy import Proxy
from fix_servers import Server

pytestmark = pytest.mark.every_server


@pytest.mark.parametrize("turn", [1, 2])
def test_nothing_of_one_test_is_seen_by_the_next(database_url: str, turn: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE sona.only_here AS SELECT %s AS turn", [turn])
        row = connection.execute("SELECT count(*) FROM sona.spaces").fetchone()
    assert row == (0,)


def test_an_empty_database_has_no_schema(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('sona') IS NULL").fetchone() == (True,)


def test_the_proxy_reaches_each_server(proxy: Proxy, postgres_server: Server) -> None:
    with psycopg.connect(proxy.url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    assert f"Postgres {row[0].split()[0]}," in postgres_server.version
