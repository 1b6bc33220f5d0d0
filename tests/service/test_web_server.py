"""The server of the command line: its end, and the dates of its answers."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import psycopg
import pytest

from sona_pg.engine.fleet_member import FleetMember
from sona_pg.service import create_app
from sona_pg.service.web_server import WebServer
from sona_pg.store import level_change_rows
from tests.service.conftest import OPTIONS


@contextmanager
def served(store: Any) -> Iterator[tuple[WebServer, str]]:
    """A server on a port of this machine, told to end afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = WebServer(create_app(store, OPTIONS), 600.0, log_level="warning")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server has not started"
                time.sleep(0.005)
            yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(60)
        assert not thread.is_alive()


def test_a_stream_of_events_does_not_hold_up_the_end(service_store: Any) -> None:
    with served(service_store) as (server, address), httpx.stream("GET", f"{address}/v1/events", timeout=60) as told:
        lines = told.iter_lines()
        assert next(lines).startswith("id: ")
        server.handle_exit(signal.SIGTERM, None)
        assert list(lines)[-1] == ""


@pytest.mark.parametrize("path", ["/live", "/v1/stats", "/v1/no-such-path"])
def test_answers_are_dated_by_the_databases_clock(
    service_store: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with served(service_store) as (_, address):
        right = datetime.now(UTC)
        monkeypatch.setattr(FleetMember, "now", (right - timedelta(days=2)).timestamp())  # this machine is ahead
        (date,) = httpx.get(address + path).headers.get_list("date")
        assert parsedate_to_datetime(date) == (right - timedelta(days=2)).replace(microsecond=0)


def finding(url: str) -> int:
    with psycopg.connect(url) as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active'"
        return int(connection.execute(asked).fetchone()[0])  # type: ignore[index]


def wait_until(url: str, runs: bool) -> None:
    until = time.monotonic() + 10
    while (finding(url) > 0) != runs:
        assert time.monotonic() < until, f"{finding(url)} statements run"
        time.sleep(0.05)


def test_the_end_answers_readers_of_pages_and_leaves_no_statement_running(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level_change_rows, "read_route_changes", lambda c, *_: c.exec_driver_sql("SELECT pg_sleep(90)"))
    with ThreadPoolExecutor(3) as readers:
        with served(database_url) as (server, address):
            pages = [f"{address}/v1/dashboard/routes?days={days}" for days in (30, 40, 50)]
            asked = [readers.submit(httpx.get, page, timeout=60) for page in pages]
            wait_until(database_url, runs=True)
            server.handle_exit(signal.SIGTERM, None)
            answers = [one.result(60) for one in asked]
        assert {one.status_code for one in answers} == {503}
        assert {one.json()["detail"] for one in answers} == {"this service is ending: send the request again"}
    wait_until(database_url, runs=False)
