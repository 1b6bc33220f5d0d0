"""The proxy of the fault tests."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from fix_proxy import Proxy


def _rows(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM facts").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def facts_url(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE facts (n int)")
    return database_url


def test_it_forwards(proxy: Proxy) -> None:
    with psycopg.connect(proxy.url) as connection:
        assert connection.execute("SELECT repeat('x', 1000000)").fetchone() == ("x" * 1_000_000,)


def test_a_commit_that_never_arrived_is_rolled_back(proxy: Proxy, facts_url: str) -> None:
    proxy.cut_before(b"COMMIT")
    with pytest.raises(psycopg.OperationalError), psycopg.connect(proxy.url) as connection:
        connection.execute("INSERT INTO facts VALUES (1)")
    assert _rows(facts_url) == 0


def test_a_commit_whose_answer_was_lost_is_kept(proxy: Proxy, facts_url: str) -> None:
    proxy.cut_after(b"COMMIT")
    with pytest.raises(psycopg.OperationalError), psycopg.connect(proxy.url) as connection:
        connection.execute("INSERT INTO facts VALUES (1)")
    assert _rows(facts_url) == 1


def test_a_stall_delays_and_loses_nothing(proxy: Proxy) -> None:
    with psycopg.connect(proxy.url) as connection:
        proxy.stall()
        timer = threading.Timer(0.3, proxy.resume)
        timer.start()
        start = time.monotonic()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - start > 0.25
        timer.join()


def test_a_deaf_server_is_given_up_after_the_connect_timeout(proxy: Proxy) -> None:
    proxy.deaf()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(proxy.url, connect_timeout=2)
    proxy.cut()
    proxy.hear()
    psycopg.connect(proxy.url).close()


def test_a_refusing_server_answers_again_on_the_same_port(proxy: Proxy) -> None:
    url = proxy.url
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    proxy.accept()
    psycopg.connect(url).close()


def test_an_action_runs_before_the_bytes_go_on(proxy: Proxy) -> None:
    seen: list[str] = []
    proxy.on(b"marker", lambda: seen.append("here"))
    with psycopg.connect(proxy.url) as connection:
        for _ in range(2):
            connection.execute("SELECT 'marker'")
    assert seen == ["here"]


def test_a_cut_ends_open_connections_only(proxy: Proxy) -> None:
    with psycopg.connect(proxy.url) as connection:
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    psycopg.connect(proxy.url).close()
