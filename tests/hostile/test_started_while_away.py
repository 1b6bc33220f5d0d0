"""Servers and workers that are started while the database is away go on as those that ran before it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
from fix_proxy import Proxy

from sona_pg import SonaEngine, Store
from sona_pg.errors import DatabaseUnavailable

MAIN = "import sys; from sona_pg.cli.main import main; sys.exit(main())"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    begun: list[subprocess.Popen[str]] = []
    yield begun
    for process in begun:
        process.kill()
        process.communicate()


def start(*arguments: str, home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SONA_PG_HOME": str(home)}
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def hear(process: subprocess.Popen[str], told: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if told in line:
            return line
    raise AssertionError(f"ended with {process.wait()}, never told: {told}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def answers(url: str, status: int) -> None:
    """Wait until ``url`` answers with ``status``."""
    deadline = time.monotonic() + 60
    seen: object = None
    while seen != status:
        assert time.monotonic() < deadline, (url, seen)
        try:
            seen = httpx.get(url, timeout=60).status_code
        except httpx.TransportError as exc:
            seen = exc
        time.sleep(0.05)


def test_a_worker_waits_for_the_database(proxy: Proxy, tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    proxy.refuse()
    worker = start("worker", "--url", proxy.url, "--no-maintain", home=tmp_path)
    started.append(worker)
    assert json.loads(hear(worker, "the worker waits for it"))["level"] == "warning"
    proxy.accept()
    hear(worker, "is ready")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_a_worker_that_waits_ends_on_a_signal(
    proxy: Proxy, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    proxy.refuse()
    worker = start("worker", "--url", proxy.url, home=tmp_path)
    started.append(worker)
    hear(worker, "the worker waits for it")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_a_service_that_knows_no_dimension_waits_for_the_database(
    proxy: Proxy, database_url: str, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    SonaEngine(8, database_url, "narrow").close()
    proxy.refuse()
    port = free_port()
    service = start("serve", "--url", proxy.url, "--port", str(port), "--space", "narrow", home=tmp_path)
    started.append(service)
    hear(service, "the service waits for the store")
    proxy.accept()
    answers(f"http://127.0.0.1:{port}/ready", 200)
    said = httpx.post(f"http://127.0.0.1:{port}/v1/trajectories", json={"vector": [1.0] * 8}, timeout=60)
    assert said.status_code == 202, said.text


def test_a_kept_version_tells_the_dimension(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    with SonaEngine(8, proxy.url, "narrow") as engine:
        for _ in range(20):
            engine.end_trajectory(engine.begin_trajectory([1.0] * 8), 1.0)
        engine.force_learn()
    with Store(proxy.url) as store:
        assert (store.dim_of("narrow"), store.dim_of("another")) == (8, None)
        proxy.refuse()
        assert store.dim_of("narrow") == 8
        with pytest.raises(DatabaseUnavailable):
            store.dim_of("another")


def test_a_service_begins_without_the_database_and_keeps_what_it_has_accepted(
    proxy: Proxy, database_url: str, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    SonaEngine(8, database_url).close()  # the space
    proxy.refuse()
    port = free_port()
    service = start(
        "serve", "--url", proxy.url, "--port", str(port), "--dim", "8", "--durability", "spool", home=tmp_path
    )
    started.append(service)
    here = f"http://127.0.0.1:{port}"
    answers(f"{here}/health", 200)
    answers(f"{here}/ready", 503)
    body = {"vector": [1.0] * 8, "quality": 1.0}
    said = httpx.post(f"{here}/v1/trajectories", json=body, timeout=60)
    assert said.status_code == 202, said.text
    service.kill()
    service.wait(60)
    proxy.accept()
    again = start("serve", "--url", proxy.url, "--port", str(port), "--durability", "spool", home=tmp_path)
    started.append(again)
    answers(f"{here}/ready", 200)
    deadline = time.monotonic() + 60
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        count = "SELECT count(*) FROM sona.trajectories WHERE id = %s"
        while connection.execute(count, [said.json()["id"]]).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0
