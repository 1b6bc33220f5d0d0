"""An engine closed, forked, overrun, and without its server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_homes import temporary_home

from sona_pg import IngestConfig, InvalidValue, SonaConfig, SonaEngine, TrajectoryError

pytestmark = pytest.mark.no_vectors

DIM = 8
GOOD = np.ones(DIM, np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.flush(),
        lambda engine: engine.force_learn(),
        lambda engine: engine.refresh(),
        lambda engine: engine.tick(),
        lambda engine: engine.__enter__(),
        lambda engine: engine.feedback(engine.server_id, quality=1.0),
        lambda engine: engine.begin_trajectory(GOOD),
    ],
)
def test_a_closed_engine_raises_an_error_that_says_so(database_url: str, call: Callable[[SonaEngine], object]) -> None:
    engine = SonaEngine(DIM, database_url)
    engine.close()
    with pytest.raises(TrajectoryError, match="the engine is closed: open another one"):
        call(engine)


def test_closing_in_a_forked_child_leaves_the_parents_connections_alone(database_url: str) -> None:
    script = f"""
import os, sys, numpy as np
from sona_pg import SonaEngine
engine = SonaEngine({DIM}, {database_url!r})
engine.end_trajectory(engine.begin_trajectory(np.ones({DIM})), 1.0)
engine.flush()
child = os.fork()
if child == 0:
    found = engine.search(np.ones({DIM}))  # over a connection of its own
    engine.close()
    os._exit(len(found) != 1)
assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if child == 0:
    engine.close()
    os._exit(0)
os.waitpid(child, 0)
engine.end_trajectory(engine.begin_trajectory(np.ones({DIM})), 1.0)
print(engine.force_learn().trajectories, engine.metrics()["totals"]["trajectories"])
engine.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2"]
    assert "DeprecationWarning" in done.stderr or done.stderr == ""


def test_a_full_buffer_is_counted_and_logged(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    config = SonaConfig(hidden_dim=DIM, ingest=IngestConfig(capacity=10, flush_interval=60))
    with caplog.at_level(logging.WARNING), SonaEngine(DIM, database_url, config=config) as engine:
        for _ in range(100_000):
            engine.end_trajectory(engine.begin_trajectory(GOOD))
        dropped = engine.dropped_count
        engine.flush()
        engine.end_trajectory(engine.begin_trajectory(GOOD))
        engine.flush()
        assert engine.metrics()["totals"]["trajectories"] + dropped == 100_001
    assert dropped > 0
    assert "were refused; record more slowly" in caplog.text


def test_one_text_is_no_list_of_routes(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine, pytest.raises(InvalidValue, match="a list of routes"):
        engine.route(GOOD, "abc")


def test_an_embedded_server_that_was_killed_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SONA_PG_URL", raising=False)
    with temporary_home() as home:
        monkeypatch.setenv("SONA_PG_HOME", str(home))
        with SonaEngine(DIM) as engine:
            engine.end_trajectory(engine.begin_trajectory(GOOD), 1.0)
            engine.flush()
            kill_server(home)
            engine.end_trajectory(engine.begin_trajectory(GOOD), 1.0)
            engine.flush(60)
            with psycopg.connect(engine.url) as connection:
                assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (2,)


def kill_server(home: Path) -> None:
    """Kill the postmaster and its children, as a crash does."""
    (pid_file,) = home.rglob("postmaster.pid")
    postmaster = int(pid_file.read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    while Path(f"/proc/{postmaster}").exists() and "Z" not in state_of(postmaster):
        time.sleep(0.01)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"
