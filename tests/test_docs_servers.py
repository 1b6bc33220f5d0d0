"""docs/servers.md is true: its recipes run as they stand, under the servers that they are for."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from fix_proxy import Proxy

TEXT = (Path(__file__).parent.parent / "docs" / "servers.md").read_text()
FASTAPI, GUNICORN, INIT, POOL, CELERY = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ONES = [1.0] * 8


def test_the_recipes_have_spaces_of_their_own() -> None:
    """Their vectors have 8 dimensions; a space that the reader has made already may have others."""
    spaces = re.findall(r'SonaEngine\(8, space="(\w+)"\)', TEXT)
    assert len(set(spaces)) == len(spaces) == TEXT.count("SonaEngine(8")


def run(code: str, name: str) -> dict[str, Any]:
    module = ModuleType(name)
    exec(compile(code, f"{name}.py", "exec"), vars(module))
    return vars(module)


@contextmanager
def served(app: Any) -> Iterator[httpx.Client]:
    """Run an application under uvicorn, with its lifespan, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def wait_for(true: Callable[[], object]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    pytest.fail("it did not come")


def test_fastapi_goes_on_while_the_database_is_silent(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONA_PG_URL", proxy.url)
    with served(run(FASTAPI, "application")["app"]) as client, ThreadPoolExecutor(1) as beside:
        asked = client.post("/ask", json=ONES).json()
        assert asked["route"] in ("small", "large")
        wait_for(lambda: client.post("/like", json=ONES).json())
        for refused in (client.post("/ask", json=[1.0]), client.post("/thumbs/none", params={"quality": 1})):
            assert (refused.status_code, list(refused.json())) == (422, ["detail"])
        proxy.stall()
        silent = beside.submit(client.post, "/like", json=ONES)
        for _ in range(10):
            assert client.post("/ask", json=ONES).status_code == 200
        thumbs = client.post(f"/thumbs/{asked['trajectory']}", params={"quality": 1})
        assert thumbs.json()["sequence"] > 0
        assert not silent.done()
        proxy.resume()
        assert silent.result().status_code == 200


def test_gunicorn_answers_and_its_hook_opens_the_engine(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """tests/hostile/test_fork.py runs such an application under gunicorn itself."""
    monkeypatch.setenv("SONA_PG_URL", database_url)
    names = run(GUNICORN, "application")
    monkeypatch.setitem(sys.modules, "application", SimpleNamespace(engine=names["engine"]))
    with names["engine"]:
        run(INIT, "gunicorn_conf")["post_worker_init"](None)
        told: list[Any] = []
        assert len(names["application"]({}, lambda *args: told.append(args))[0]) == 36
        assert told[0][0] == "200 OK"


def test_a_pool_that_is_joined_stores_what_its_children_recorded(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(POOL + "\nif __name__ == '__main__':\n    print(*run())\n    engine.close()\n")
    environment = os.environ | {"SONA_PG_URL": database_url, "SONA_PG_HOME": str(tmp_path)}
    command = [sys.executable, "jobs.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(database_url) as connection:
        stored = {str(row[0]) for row in connection.execute("SELECT id FROM sona.trajectories")}
    assert (len(stored), stored) == (300, set(done.stdout.split()))


def test_celery_opens_in_each_process_and_closes_at_its_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from celery.signals import worker_process_init, worker_process_shutdown

    monkeypatch.setenv("SONA_PG_URL", database_url)
    assert "memory" not in re.sub("#.*", "", CELERY)  # processes do not share that
    names = run(CELERY, "tasks")
    names["celery"].conf.result_backend = "cache+memory://"  # as if there were a Redis
    worker_process_init.send(None)
    assert len(names["ask"].apply([ONES]).get()) == 36
    worker_process_shutdown.send(None)
    assert names["engine"].is_closed


ACROSS_PROCESSES = """
celery.conf.update(broker_url="filesystem://", result_backend="file://{folder}/results", broker_transport_options={{
    "data_folder_in": "{folder}/queue", "data_folder_out": "{folder}/queue", "control_folder": "{folder}/control",
    "polling_interval": 0.02}})
"""


def test_celery_prefork_stores_what_its_processes_recorded(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks.py").write_text(CELERY + ACROSS_PROCESSES.format(folder=tmp_path))
    monkeypatch.setenv("SONA_PG_URL", database_url)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2",
               "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as worker:
        names = run((tmp_path / "tasks.py").read_text(), "tasks")
        sent = [names["celery"].send_task("tasks.ask", [ONES]) for _ in range(20)]
        try:
            wait_for(lambda: worker.poll() is not None or len(list((tmp_path / "results").iterdir())) == len(sent))
        finally:
            worker.terminate()
            _, told = worker.communicate(timeout=30)
    names["engine"].close()
    assert worker.returncode == 0, told
    ids = {json.loads(file.read_text())["result"] for file in (tmp_path / "results").iterdir()}
    with psycopg.connect(database_url) as connection:
        stored = {str(row[0]) for row in connection.execute("SELECT id FROM sona.trajectories")}
    assert (len(ids), stored) == (len(sent), ids)
