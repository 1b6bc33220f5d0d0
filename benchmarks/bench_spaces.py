"""A thousand spaces in one process: cost of each, idle and while all of them record and learn.

    python -m benchmarks.bench_spaces

Beside it, spaces with a runtime each, as in earlier releases: a pool, a LISTEN connection and threads of its own; a
server has connections for a few dozen of these.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg

from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import DIM, server
from sona_pg import LoopConfig, SonaConfig, SonaEngine, Store
from sona_pg.engine.process_runtime import runtimes

SPACES, WARM_UP, IDLE_FOR = 1000, 50, 10.0
FACTS = 100  # recorded in each space: as many as make a cycle due
ALONE = 15  # engines that have a runtime each
LEARNING = SonaConfig(loops=LoopConfig(shortest_interval=0.0))
TICK = os.sysconf("SC_CLK_TCK")


def suite(asked: Options) -> None:
    """Measure, and print the figures beside their targets."""
    count = max(WARM_UP, int(SPACES * asked.scale))
    # A folder of its own: engines must not touch the user's files.
    with server(asked.home) as url, ExitStack() as cleaning:
        home = Path(cleaning.enter_context(_folder(asked.home)))
        os.environ["SONA_PG_HOME"] = str(home)
        others = threads() - 1  # of BLAS
        idle(asked, url, count, others)
        busy(asked, url, count, others)


def _folder(parent: Path):  # type: ignore[no-untyped-def]
    import tempfile

    return tempfile.TemporaryDirectory(prefix="sona-pg-bench-home-", dir=parent)


def idle(asked: Options, url: str, count: int, others: int) -> None:
    """Open spaces, and let them do nothing; ``others`` are threads that are not ours."""
    connections_alone, threads_alone, memory_alone = _alone(url)
    with Store(url) as store:
        for number in range(WARM_UP):
            store.space(f"warm {number}")
        memory, took = resident(), []
        for number in range(count):
            start = time.perf_counter()
            store.space(f"space {number}")
            took.append(time.perf_counter() - start)
        each = (resident() - memory) / count
        opened = count + WARM_UP
        asked.emit(
            Line(
                f"opening one of {count} new spaces, median",
                seconds(statistics.median(took)),
                f"the first ten {seconds(statistics.median(took[:10]))}",
                target="10 ms or less",
                reached=statistics.median(took) <= 0.010,
            )
        )
        asked.emit(
            Line(
                f"memory of one of {count} idle spaces",
                f"{each:.2f} MB",
                f"runtime each: {memory_alone:.2f} MB",
                each / memory_alone,
                "1 MB or less",
                each <= 1.0,
            )
        )
        settle(store, opened)
        theirs, ours, wall = server_cpu(url), cpu(), time.perf_counter()
        time.sleep(IDLE_FOR)
        wall = time.perf_counter() - wall
        ours, theirs = (cpu() - ours) / wall, (server_cpu(url) - theirs) / wall
        asked.emit(
            Line(
                f"{opened} idle spaces for {IDLE_FOR:.0f} s: this process and its server's backends",
                f"{100 * (ours + theirs):.2f} % of a core",
                f"process {100 * ours:.2f} %, server {100 * theirs:.2f} %",
                target="2 % of a core or less",
                reached=ours + theirs <= 0.02,
            )
        )
        held, running = connections(url), threads() - others
        asked.emit(_counted(f"connections of {opened} spaces", held, f"runtime each: {connections_alone:.0f} a space"))
        asked.emit(_counted(f"threads of {opened} spaces, main one included", running, f"{threads_alone:.0f} a space"))
    with Store(url) as store:
        store.space("warm 0")
        took = []
        for number in range(count):
            start = time.perf_counter()
            store.space(f"space {number}")
            took.append(time.perf_counter() - start)
        median = statistics.median(took)
        what = f"opening one of {count} spaces that are there, median"
        asked.emit(Line(what, seconds(median), target="10 ms or less", reached=median <= 0.010))


def busy(asked: Options, url: str, count: int, others: int) -> None:
    """Record in all spaces at once until each has learned."""
    embeddings = np.random.default_rng(0).standard_normal((FACTS, DIM)).astype(np.float32)
    most_connections = most_threads = 0
    with Store(url) as store:
        engines = [store.space(f"busy {number}", config=LEARNING) for number in range(count)]
        start = time.perf_counter()
        for embedding in embeddings:
            for engine in engines:
                engine.end_trajectory(engine.begin_trajectory(embedding), 0.5)
        recorded = time.perf_counter() - start
        for engine in engines:
            engine.flush()
        committed = time.perf_counter() - start
        assert sum(engine.dropped_count for engine in engines) == 0
        lag: list[float] = []
        while any(engine.version == 0 for engine in engines):
            most_connections = max(most_connections, connections(url))
            most_threads = max(most_threads, threads() - others)
            time.sleep(0.25)
        learned = time.perf_counter() - start
        probe = engines[-1]
        with SonaEngine(DIM, url, "busy 0") as other:  # another server of a space, among the thousand
            for _ in range(5):
                probe = engines[0]
                probe.end_trajectory(probe.begin_trajectory(embeddings[0]), 0.5)
                version = probe.force_learn().version
                start = time.perf_counter()
                while other.version != version:
                    time.sleep(0.001)
                lag.append(time.perf_counter() - start)
        facts = {summary.name: summary.trajectories for summary in store.spaces()}
        assert all(facts[f"busy {number}"] >= FACTS for number in range(count))
    total = FACTS * count
    asked.emit(
        Line(
            f"{total} trajectories into {count} spaces",
            f"{total / committed:,.0f} a second",
            f"recorded at {total / recorded:,.0f} a second",
        )
    )
    asked.emit(Line(f"first cycles of {count} spaces, one learner", f"{count / (learned - committed):.1f} a second"))
    asked.emit(_counted("connections while all record and learn, at most", most_connections, ""))
    asked.emit(_counted("threads while all record and learn, at most", most_threads, ""))
    asked.emit(
        Line(
            "a version reaches another server among them, median",
            seconds(statistics.median(lag)),
            f"slowest {seconds(max(lag))}",
            target="1 s or less",
            reached=max(lag) <= 1.0,
        )
    )


def _alone(url: str) -> tuple[float, float, float]:
    """Return connections, threads and megabytes of one space whose engine has a runtime of its own."""
    engines: list[SonaEngine] = []
    before = threads()
    try:
        engines.append(own_runtime(lambda: SonaEngine(DIM, url, "alone 0")))
        memory = resident()
        for number in range(1, ALONE):
            engines.append(own_runtime(lambda number=number: SonaEngine(DIM, url, f"alone {number}")))  # type: ignore[misc]
        time.sleep(2.0)
        each = (resident() - memory) / (ALONE - 1)
        return connections(url) / ALONE, (threads() - before) / ALONE, each
    finally:
        for engine in engines:
            engine.close()


def own_runtime(make: Callable[[], SonaEngine]) -> SonaEngine:
    """Open an engine that shares no runtime."""
    running, runtimes._running = runtimes._running, {}
    try:
        return make()
    finally:
        runtimes._running = running


def _counted(what: str, count: int, beside: str) -> Line:
    return Line(what, str(count), beside, target="8 or fewer", reached=count <= 8)


def settle(store: Store, opened: int) -> None:
    """Wait until the spaces that were opened last are idle as well."""
    assert len(store.spaces()) >= opened
    time.sleep(6.0)


def resident() -> float:
    """Return the memory of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def threads() -> int:
    """Return the threads of this process: Python's, and others that the kernel knows."""
    return max(threading.active_count(), len(os.listdir("/proc/self/task")))


def cpu() -> float:
    """Return the seconds of a core that this process has used."""
    return time.process_time()


def backends(url: str) -> Sequence[tuple[int, str]]:
    """Return process and name of every connection of sona-pg."""
    with psycopg.connect(url) as connection:
        query = "SELECT pid, application_name FROM pg_stat_activity WHERE application_name LIKE 'sona-pg%'"
        return connection.execute(query).fetchall()  # type: ignore[return-value]


def connections(url: str) -> int:
    """Return how many connections are open."""
    return len(backends(url))


def server_cpu(url: str) -> float:
    """Return the seconds of a core that the backends of this process's connections have used."""
    used = 0
    for pid, _ in backends(url):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICK


if __name__ == "__main__":
    run(__doc__, suite)
