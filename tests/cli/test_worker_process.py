"""`sona-pg worker` as processes: they share spaces, a stopped or killed one loses its lease, SIGTERM ends it with 0."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

DIM = 8
SOON = LoopConfig(automatic=False, min_trajectories=5, shortest_interval=0.0)  # a first cycle at one fact
MAIN = "import sys; from sona_pg.cli.main import main; sys.exit(main())"
# A cycle says that it computes, and goes on when it is told to.
HELD = """
import os
from sona_pg.worker import background
usual = background.learn
def learn(*arguments):
    print("computing", flush=True)
    os.read(0, 1)
    return usual(*arguments)
background.learn = learn
"""
LEARNED = """
SELECT count(*), count(DISTINCT version), sum(trajectories), count(DISTINCT server_id) FROM sona.cycles
WHERE version > base_version
"""


class Process:
    """A running command."""

    def __init__(self, *arguments: str, before: str = "") -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", before + MAIN, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def hear(self, told: str, *, on_stderr: bool = False) -> str:
        """Wait for a line that holds ``told``."""
        stream = self.popen.stderr if on_stderr else self.popen.stdout
        assert stream is not None
        while select.select([stream], [], [], 20)[0]:
            line = stream.readline()
            if told in line or not line:
                return line
        raise AssertionError(f"never told: {told}")

    def go_on(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def ended(self) -> tuple[int, str]:
        code = self.popen.wait(20)  # before its input is closed
        return code, self.popen.communicate()[1]


Starter = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Starter]:
    begun: list[Process] = []

    def begin(*arguments: str, before: str = "") -> Process:
        begun.append(Process(*arguments, before=before))
        return begun[-1]

    yield begin
    for process in begun:
        process.popen.kill()
        process.popen.communicate()


def fill(url: str, names: list[str], n: int = 3) -> None:
    for name in names:
        with SonaEngine(DIM, url, name, config=SonaConfig(hidden_dim=DIM, loops=SOON)) as engine:
            for _ in range(n):
                engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)


def read(url: str, query: str) -> tuple:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert row is not None
        return row


def until(url: str, query: str, expected: object) -> None:
    deadline = time.monotonic() + 20
    while read(url, query)[0] != expected:
        assert time.monotonic() < deadline, (query, read(url, query))
        time.sleep(0.05)


def expire(url: str) -> None:
    """End the leases, as ten seconds of silence do."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("UPDATE sona.leases SET expires_at = '2000-01-01'")


def test_two_workers_share_the_spaces_and_end_on_a_signal(database_url: str, start: Starter) -> None:
    fill(database_url, [f"space {number}" for number in range(12)])
    workers = [start("worker", "--url", database_url, "--metrics", "0", "--no-maintain") for _ in range(2)]
    ready = [json.loads(worker.hear("is ready", on_stderr=True)) for worker in workers]
    assert all(line["level"] == "info" and line["port"] for line in ready)
    until(database_url, "SELECT count(*) FROM sona.spaces WHERE live_version = 1", 12)
    told = [
        urllib.request.urlopen(f"http://127.0.0.1:{line['port']}/metrics", timeout=10).read().decode() for line in ready
    ]
    counted = [float(text.partition("\nsona_worker_facts_total ")[2].split()[0]) for text in told]
    assert sum(counted) == 36
    workers[0].signal(signal.SIGTERM)
    workers[1].signal(signal.SIGINT)
    for worker in workers:
        code, errors = worker.ended()
        assert code == 0, errors
        assert "has ended" in errors.splitlines()[-1]
    assert read(database_url, LEARNED)[:3] == (12, 1, 36)


def test_a_stopped_winner_of_a_lease_that_wakes_cannot_commit(database_url: str, start: Starter) -> None:
    fill(database_url, ["one"])
    winner = start("worker", "--url", database_url, before=HELD)
    winner.hear("computing")
    loser = start("worker", "--once", "--url", database_url)  # the winner holds the lease
    assert loser.ended()[0] == 0
    assert read(database_url, LEARNED)[0] == 0
    winner.signal(signal.SIGSTOP)
    expire(database_url)
    heir = start("worker", "--once", "--url", database_url)
    assert json.loads(heir.hear("one"))["trajectories"] == 3
    winner.signal(signal.SIGCONT)
    winner.go_on()
    assert "a cycle was in vain" in winner.hear("in vain", on_stderr=True)
    winner.signal(signal.SIGTERM)
    assert winner.ended()[0] == 0
    assert read(database_url, LEARNED) == (1, 1, 3, 1)


def test_a_killed_worker_leaves_its_facts_to_the_next(database_url: str, start: Starter) -> None:
    fill(database_url, ["one"])
    victim = start("worker", "--url", database_url, before=HELD)
    victim.hear("computing")
    victim.signal(signal.SIGKILL)
    assert victim.ended()[0] == -signal.SIGKILL
    expire(database_url)
    heir = start("worker", "--once", "--url", database_url, "--spaces", "on*")
    assert json.loads(heir.hear("one"))["trajectories"] == 3


@pytest.mark.parametrize(("grace", "cycles"), [("20", 1), ("0", 0)])
def test_sigterm_finishes_the_running_cycle_or_abandons_it(
    database_url: str, start: Starter, grace: str, cycles: int
) -> None:
    fill(database_url, ["one"])
    worker = start("worker", "--url", database_url, "--grace", grace, before=HELD)
    worker.hear("computing")
    worker.signal(signal.SIGTERM)
    if cycles:
        worker.go_on()
    code, errors = worker.ended()
    assert code == 0, errors
    assert ("was abandoned" in errors) == (not cycles)
    assert read(database_url, LEARNED)[0] == cycles
    waiting = "SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL"
    assert (read(database_url, waiting)[0] == 0) == bool(cycles)
