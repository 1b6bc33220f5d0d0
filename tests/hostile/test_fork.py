"""Forked processes: the records of a child and its parent are stored once each, whichever began first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from fix_homes import temporary_home

DIM = 8
DURABILITIES = ["memory", "spool", "sync"]

# Beginning of every script; argv: durability, file of the acknowledged ids.
PRELUDE = f"""
import os, sys, threading
import numpy as np
from sona_pg import IngestConfig, SonaConfig, SonaEngine
from sona_pg.errors import SonaError, TrajectoryError
level, said = sys.argv[1:]
config = SonaConfig(hidden_dim={DIM}, ingest=IngestConfig(durability=level))

def record(engine, n):
    done = []
    for _ in range(n):
        t = engine.begin_trajectory(np.ones({DIM}, np.float32))
        engine.add_step(t, reward=0.5)
        engine.end_trajectory(t, 0.5)
        done.append(f"{{t.id}}\\n")
    with open(said, "a") as file:
        file.write("".join(done))

def wait(child):
    assert os.waitpid(child, 0)[1] == 0, "a child failed"
"""

RunScript = Callable[..., tuple[str, set[uuid.UUID]]]


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Run ``PRELUDE`` and a script; return what it printed, and the ids that were acknowledged."""

    def run(script: str, url: str | None, durability: str) -> tuple[str, set[uuid.UUID]]:
        said = tmp_path / "said"
        environment = {**os.environ, "SONA_PG_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
        environment.pop("SONA_PG_URL", None)
        if url is not None:
            environment["SONA_PG_URL"] = url
        command = [sys.executable, "-c", PRELUDE + script, durability, str(said)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout, acknowledged(said)

    return run


def acknowledged(said: Path) -> set[uuid.UUID]:
    return {uuid.UUID(line) for line in said.read_text().split()}


def stored(url: str) -> list[uuid.UUID]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM sona.trajectories")]


def require_stored(url: str, ids: set[uuid.UUID], n: int) -> None:
    found = stored(url)
    assert len(ids) == n
    assert set(found) == ids
    assert len(found) == n
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT sum(trajectories), sum(steps) FROM sona.batches").fetchone()
    assert row == (n, n)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("parent_recorded", [0, 5])
def test_records_of_parent_and_children_are_stored_once(
    run_script: RunScript, database_url: str, durability: str, parent_recorded: int, tmp_path: Path
) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
record(engine, {parent_recorded})
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        record(engine, 20)
        sys.exit()
    children.append(child)
record(engine, 20)
for child in children:
    wait(child)
record(engine, 20)
engine.flush()
"""
    _, ids = run_script(script, database_url, durability)
    require_stored(database_url, ids, parent_recorded + 80)
    with psycopg.connect(database_url) as connection:
        servers = connection.execute("SELECT count(*), count(ended_at) FROM sona.servers").fetchone()
    assert servers == (3, 3)
    assert list(tmp_path.glob("spool/*/*")) == []


def test_a_child_that_forks_again_has_a_child_that_records_as_well(run_script: RunScript, database_url: str) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
for _ in range(3):
    child = os.fork()
    if child:
        record(engine, 10)
        wait(child)
        sys.exit()
record(engine, 10)
"""
    _, ids = run_script(script, database_url, "spool")
    require_stored(database_url, ids, 40)


def test_a_trajectory_begun_before_the_fork_is_ended_by_the_parent_alone(
    run_script: RunScript, database_url: str
) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
t = engine.begin_trajectory(np.ones({DIM}))
child = os.fork()
if child == 0:
    for _ in range(2):  # before and after the child has an engine of its own
        try:
            engine.end_trajectory(t, 1.0)
        except TrajectoryError as exc:
            assert "before this process was forked" in str(exc), exc
        else:
            os._exit(3)
        record(engine, 1)
    sys.exit()
wait(child)
engine.add_step(t, reward=0.5)
engine.end_trajectory(t, 1.0)
open(said, "a").write(f"{{t.id}}\\n")
"""
    _, ids = run_script(script, database_url, "memory")
    require_stored(database_url, ids, 3)


def test_threads_of_a_child_that_come_at_once_share_one_engine(run_script: RunScript, database_url: str) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
child = os.fork()
if child == 0:
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: (barrier.wait(), record(engine, 10))) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    sys.exit()
wait(child)
"""
    _, ids = run_script(script, database_url, "memory")
    require_stored(database_url, ids, 80)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.servers").fetchone() == (2,)


def test_a_child_uses_its_own_connections_and_serves_the_live_version(run_script: RunScript, database_url: str) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
record(engine, 20)
version = engine.force_learn().version
child = os.fork()
if child == 0:
    assert engine.recorded_count == 0  # here
    assert np.isfinite(engine.apply_micro_lora(np.ones({DIM}, np.float32))).all()
    assert engine.version == version
    assert len(engine.search(np.ones({DIM}), 30)) == 20
    assert engine.find_patterns(np.ones({DIM}))
    sys.exit()
wait(child)
print(len(engine.search(np.ones({DIM}), 30)))
"""
    said, _ = run_script(script, database_url, "memory")
    assert said == "20\n"


def test_a_closed_engine_is_closed_in_the_child_too(run_script: RunScript, database_url: str) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
record(engine, 1)
engine.close()
child = os.fork()
if child == 0:
    for call in (engine.flush, lambda: record(engine, 1)):
        try:
            call()
        except TrajectoryError as exc:
            assert "closed" in str(exc)
        else:
            os._exit(3)
    sys.exit()
wait(child)
"""
    _, ids = run_script(script, database_url, "memory")
    require_stored(database_url, ids, 1)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_children_of_multiprocessing_record_and_need_not_close(
    run_script: RunScript, database_url: str, durability: str
) -> None:
    script = f"""
import multiprocessing
engine = SonaEngine({DIM}, config=config)
workers = [multiprocessing.get_context("fork").Process(target=record, args=(engine, 20)) for _ in range(3)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
assert [worker.exitcode for worker in workers] == [0, 0, 0]
"""
    _, ids = run_script(script, database_url, durability)
    require_stored(database_url, ids, 60)


def test_when_the_database_is_away_a_child_records_all_the_same(run_script: RunScript, database_url: str) -> None:
    script = f"""
engine = SonaEngine({DIM}, config=config)
expected = engine.apply_micro_lora(np.ones({DIM}, np.float32))
child = os.fork()
if child == 0:
    engine._wanted = engine._wanted._replace(url="postgresql://sona@127.0.0.1:1/none")
    engine.end_trajectory(engine.begin_trajectory(np.ones({DIM}, np.float32)), 0.5)
    assert (engine.apply_micro_lora(np.ones({DIM}, np.float32)) == expected).all()
    for call in (lambda: engine.flush(0.1), engine.close):
        try:
            call()
        except SonaError as exc:
            assert "has not answered since the engine was opened" in str(exc), exc
        else:
            os._exit(3)
    os._exit(0)
wait(child)
record(engine, 1)
"""
    _, ids = run_script(script, database_url, "memory")
    require_stored(database_url, ids, 1)


def test_a_child_that_ends_leaves_its_parents_embedded_server_running(run_script: RunScript) -> None:
    script = f"""
import psycopg
engine = SonaEngine({DIM}, config=config)
for used in (True, False):
    child = os.fork()
    if child == 0:
        if used:
            record(engine, 5)
        engine.close()
        sys.exit()
    wait(child)
record(engine, 5)
engine.flush()
read, write = os.pipe()
child = os.fork()
if child:
    engine.close()
    os.write(write, b"x")
    wait(child)
    sys.exit()
record(engine, 5)
os.read(read, 1)  # the parent has let go of the server
record(engine, 5)
engine.flush()
with psycopg.connect(engine.url) as connection:
    open(said + "-counted", "w").write(str(connection.execute("SELECT count(*) FROM sona.trajectories").fetchone()[0]))
"""
    with temporary_home() as home:
        environment = {**os.environ, "SONA_PG_HOME": str(home), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
        environment.pop("SONA_PG_URL", None)
        said = home / "said"
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + script, "memory", str(said)],
            env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(acknowledged(said)) == 20
        assert Path(f"{said}-counted").read_text() == "20"


APPLICATION = f"""
import os
import numpy as np
from sona_pg import IngestConfig, SonaConfig, SonaEngine

level = os.environ["LEVEL"]
engine = SonaEngine({DIM}, config=SonaConfig(hidden_dim={DIM}, ingest=IngestConfig(durability=level)))

def application(environ, start_response):
    t = engine.begin_trajectory(np.ones({DIM}, np.float32))
    engine.add_step(t, reward=0.5)
    engine.end_trajectory(t, 0.5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{t.id}} {{os.getpid()}}".encode()]
"""


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_gunicorn_with_preload_stores_what_its_workers_answered(
    database_url: str, tmp_path: Path, durability: str
) -> None:
    pytest.importorskip("gunicorn", reason="GUNICORN IS NOT INSTALLED: --preload is not tested; pip install gunicorn")
    (tmp_path / "application.py").write_text(APPLICATION)
    environment = {
        **os.environ,
        "SONA_PG_URL": database_url, "SONA_PG_HOME": str(tmp_path), "LEVEL": durability,
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.set_inheritable(True)
        command = [
            *(sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"),
            *("--bind", f"fd://{listening.fileno()}", "--graceful-timeout", "20", "application:application"),
        ]
        log = tmp_path / "log"
        with log.open("w") as said:
            server = subprocess.Popen(
                command, cwd=tmp_path, env=environment, pass_fds=[listening.fileno()], stderr=said, stdout=said
            )
        answers = [ask(port).split() for _ in range(60)]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0, log.read_text()
    require_stored(database_url, {uuid.UUID(name) for name, _ in answers}, 60)
    assert "Traceback" not in log.read_text(), log.read_text()


def ask(port: int) -> str:
    """Ask gunicorn; it answers as soon as it has workers, for the socket listens already."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as exc:
        raise AssertionError(exc.read().decode()) from exc
