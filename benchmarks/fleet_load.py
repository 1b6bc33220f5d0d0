"""Processes and traffic of the fleet benchmark: servers that follow, a recorder, people, and many small spaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psycopg

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import BaseConfig, LoopConfig, MaintenanceConfig

DIM = 16
IDS = [f"document {number}" for number in range(6)]
ROWS = np.eye(6, DIM, dtype=np.float32)
BESIDE = 1000  # trajectories a second, in another space
TICK = os.sysconf("SC_CLK_TCK")
FOLLOWS = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
# A cycle for a single fact, 30 s after the one before at the latest.
SMALL = SonaConfig(
    hidden_dim=DIM,
    base=BaseConfig(rank=4),
    loops=LoopConfig(automatic=False, min_trajectories=1, background_interval=30.0, shortest_interval=10.0),
    maintenance=MaintenanceConfig(automatic=False),
)
LAGS = """
SELECT b.space_id, extract(epoch FROM coalesce(c.finished_at, clock_timestamp()) - b.recorded_at)::float8
FROM sona.batches b LEFT JOIN sona.cycles c ON c.space_id = b.space_id AND c.cycle_id = b.cycle_id
WHERE b.recorded_at >= to_timestamp(%s)
"""


class People:
    """People who ask for a document, and name the right answer."""

    def __init__(self, engine: SonaEngine, seed: int = 0) -> None:
        """Ask ``engine``."""
        self._engine = engine
        self._rng = np.random.default_rng(seed)

    def ask(self, count: int, *, moved: int) -> None:
        """Ask ``count`` questions; the right answers are named, moved by so many places."""
        for _ in range(count):
            meant = int(self._rng.integers(6))
            query = (ROWS[(meant + 1) % 6] + 0.3 * self._rng.standard_normal(DIM)).astype(np.float32)
            ranking = self._engine.rank(query, ROWS, ids=IDS)
            handle = self._engine.begin_trajectory(query, ranking=ranking)
            self._engine.set_trajectory_route(handle, ranking.ids[0])
            self._engine.end_trajectory(handle)
            self._engine.feedback(handle, correction=IDS[(meant + moved) % 6])
        self._engine.flush()


class Spaces:
    """Many small spaces, open in this process."""

    def __init__(self, url: str, count: int) -> None:
        """Open ``count`` spaces."""
        self._url = url
        self._store = Store(url)
        self._engines = [self._store.space(f"small {number}", DIM, config=SMALL) for number in range(count)]
        self._rng = np.random.default_rng(0)

    def first_facts(self) -> None:
        """Record a first fact in each."""
        for engine in self._engines:
            self._record(engine)
        for engine in self._engines:
            engine.flush()

    def wait_until_learned(self, patience: float) -> None:
        """Wait until every space has learned."""
        deadline = time.monotonic() + patience
        with psycopg.connect(self._url, autocommit=True) as connection:
            query = "SELECT count(*) FROM sona.spaces WHERE name LIKE 'small %' AND live_version = 0"
            while connection.execute(query).fetchone() != (0,):
                assert time.monotonic() < deadline, "a space has not learned its first fact"
                time.sleep(0.5)

    def tell(self, rate: float, lasts: float) -> float:
        """Record ``rate`` facts a second, each in a random space, for so many seconds; return when that began."""
        began = time.time()
        for number in range(int(rate * lasts)):
            time.sleep(max(0.0, began + number / rate - time.time()))
            self._record(self._engines[int(self._rng.integers(len(self._engines)))])
        return began

    def lags(self, since: float) -> list[float]:
        """Return, by space, the longest time from a fact's commit to the end of the cycle that learned it."""
        longest: dict[int, float] = {}
        with psycopg.connect(self._url) as connection:
            for space, lag in connection.execute(LAGS, [since]):
                longest[space] = max(lag, longest.get(space, 0.0))
        return list(longest.values())

    def usage(self, workers: list[int]) -> tuple[float, float, float]:
        """Return the seconds of a core used so far by the workers and by Postgres, and the time."""
        with psycopg.connect(self._url) as connection:
            (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        postmaster = int(Path(folder, "postmaster.pid").read_text().split("\n", 1)[0])
        return sum(map(cpu_of, workers)), cpu_of(postmaster, children=True), time.monotonic()

    def _record(self, engine: SonaEngine) -> None:
        query = self._rng.standard_normal(DIM).astype(np.float32)
        engine.end_trajectory(engine.begin_trajectory(query), float(self._rng.random()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()


def cpu_of(pid: int, *, children: bool = False) -> float:
    """Return the seconds of a core that a process has used; with ``children`` those it has, and has had, as well."""
    used, stat = 0, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    used += int(stat[11]) + int(stat[12])
    if children:
        used += int(stat[13]) + int(stat[14])
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                used += round(cpu_of(int(child)) * TICK)
    return used / TICK


def follow(url: str, count: str, *names: str) -> None:
    """Fork ``count`` servers that follow some spaces: each prints what it serves, and since when."""
    servers = [pid for place in range(int(count)) if (pid := _forked(lambda place=place: _serve(place, url, names)))]
    _wait_for_the_end()
    for pid in servers:
        os.kill(pid, signal.SIGTERM)
    for pid in servers:
        os.waitpid(pid, 0)


def _wait_for_the_end() -> None:
    """Wait for SIGTERM, or for the parent's end."""
    parent = os.getppid()
    while signal.sigtimedwait({signal.SIGTERM}, 2.0) is None and os.getppid() == parent:
        pass


def _forked(work: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return pid


def _serve(place: int, url: str, names: Sequence[str]) -> None:
    """Say what server number ``place`` serves, until SIGTERM."""
    with Store(url) as store:
        for name in names:
            _announced(place, name, store.space(name, DIM, config=FOLLOWS))
        _say("ready")
        _wait_for_the_end()


def _announced(place: int, name: str, engine: SonaEngine) -> None:
    """Print from now on what an engine serves."""
    held = engine._session.held
    usual = held.serve

    def serve(*arguments: Any, **named: Any) -> None:
        usual(*arguments, **named)
        _say(json.dumps([place, name, held.serving.version, time.time()]))

    held.serve = serve  # type: ignore[method-assign]


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # at once: the pipe is shared by all servers


def record(url: str) -> None:
    """Record in another space until SIGTERM."""
    with SonaEngine(DIM, url, "beside", config=FOLLOWS) as engine:
        rows = np.random.default_rng(1).standard_normal((BESIDE // 10, DIM)).astype(np.float32)
        print("ready", flush=True)
        parent = os.getppid()
        while signal.sigtimedwait({signal.SIGTERM}, 0.1) is None and os.getppid() == parent:
            for row in rows:
                engine.end_trajectory(engine.begin_trajectory(row), quality=1.0)


def spawn(*arguments: str, servers: int = 1) -> subprocess.Popen[str]:
    """Start a process of this module, and wait until it, or each of its servers, is ready."""
    started = _start(["-m", "benchmarks.fleet_load", *arguments], stdout=subprocess.PIPE)
    assert started.stdout is not None
    while servers:
        servers -= started.stdout.readline().strip() == "ready"
        assert started.poll() is None, "a process of the benchmark has ended"
    return started


@contextmanager
def ended(started: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Have a process end with the block."""
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


def spawn_worker(url: str) -> subprocess.Popen[str]:
    """Start ``sona-pg worker``."""
    main = "import sys; from sona_pg.cli.main import main; sys.exit(main())"
    return _start(["-c", main, "worker", "--url", url, "--no-maintain"], stderr=subprocess.DEVNULL)


def _start(arguments: list[str], **how: Any) -> subprocess.Popen[str]:
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # many processes on few cores
    return subprocess.Popen([sys.executable, *arguments], text=True, env=single, **how)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    {"follow": follow, "record": record}[sys.argv[1]](*sys.argv[2:])
