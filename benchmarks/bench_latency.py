"""Latency of single record and apply calls under background load, and the memory of an engine.

    python -m benchmarks.bench_latency

p50, p99 and p99.9: alone, while the writer writes, while a learner learns (in another process, and on a thread of this
one, where it shares the interpreter's lock), and while Postgres stands still.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg

from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import DIM, server
from sona_pg import SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig

RNG = np.random.default_rng(0)
X, ACTIVATIONS = (RNG.standard_normal(DIM).astype(np.float32) for _ in range(2))
ATTENTION = RNG.random(64).astype(np.float32)
CALLS, BATCH = 40_000, 8192
QUIET = SonaConfig(
    ingest=IngestConfig(capacity=200_000, buffer_bytes=1 << 30),
    loops=LoopConfig(automatic=False),
    maintenance=MaintenanceConfig(automatic=False),
)

LEARNER = """
import sys
import numpy as np
from sona_pg import SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig
config = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
rng = np.random.default_rng(1)
with SonaEngine(int(sys.argv[2]), sys.argv[1], "learned from", config=config) as engine:
    for turn in range(1_000_000):
        for embedding in rng.standard_normal((500, int(sys.argv[2]))).astype(np.float32):
            trajectory = engine.begin_trajectory(embedding)
            engine.add_step(trajectory, embedding, None, 0.5)
            engine.end_trajectory(trajectory, float(rng.random()))
        engine.force_learn()
        print("learned", flush=True)
"""

MEMORY = """
import sys
from pathlib import Path
import numpy as np

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

x = np.ones(int(sys.argv[2]), np.float32)
before = kilobytes("VmRSS:")
from sona_pg import SonaEngine
with SonaEngine(int(sys.argv[2]), sys.argv[1], "weighed") as engine:
    for row in range(int(sys.argv[3])):
        while engine.waiting > 9000:
            engine.flush()
        trajectory = engine.begin_trajectory(x)
        engine.add_step(trajectory, x, x[:64], 0.5)
        engine.end_trajectory(trajectory, 0.5)
    engine.flush()
    assert engine.dropped_count == 0
    print(kilobytes("VmHWM:") - before, kilobytes("VmRSS:") - before)
"""


def percentiles(call: Callable[[], object], number: int, pace: float) -> str:
    """Return p50, p99 and p99.9 of single calls, a call every ``pace`` seconds."""
    times = np.empty(number)
    clock = time.perf_counter
    for index in range(number):
        start = clock()
        call()
        times[index] = clock() - start
        if not index & 15:
            time.sleep(16 * pace)
    return " / ".join(f"{value * 1e6:.2f}" for value in np.percentile(times, [50, 99, 99.9])) + " µs"


def bench_latency(options: Options, url: str) -> None:
    number = options.rows(CALLS)
    out = np.empty(DIM, np.float32)
    with SonaEngine(DIM, url, "timed", config=QUIET) as engine:
        learn_once(engine)  # so that there is an adapter

        def record() -> None:
            trajectory = engine.begin_trajectory(X)
            engine.add_step(trajectory, ACTIVATIONS, ATTENTION, 0.5)
            engine.end_trajectory(trajectory, 0.75)

        def apply() -> None:
            engine.apply_micro_lora(X, out)

        def measure(state: str) -> None:
            for what, call in (("record", record), ("apply", apply)):
                measured = percentiles(call, number, 10e-6)
                options.emit(Line(f"{what}, {state}: p50 / p99 / p99.9", measured))

        measure("the writer at work")
        engine.flush()
        with learner_beside(url):
            measure("a learner in another process")
        with learner_within(engine):
            measure("a learner on a thread of this process")
        engine.flush()
        with paused_server(url):
            measure("the database paused")
            assert engine.waiting >= number - 2 * BATCH  # one being written, one encoded ahead
        engine.flush()
        assert engine.dropped_count == 0


def learn_once(engine: SonaEngine) -> None:
    for embedding in RNG.standard_normal((500, DIM)).astype(np.float32):
        trajectory = engine.begin_trajectory(embedding)
        engine.add_step(trajectory, embedding, None, 0.5)
        engine.end_trajectory(trajectory, float(RNG.random()))
    engine.force_learn()


@contextmanager
def learner_beside(url: str) -> Iterator[None]:
    """Learn without pause in another process."""
    process = subprocess.Popen([sys.executable, "-c", LEARNER, url, str(DIM)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "learned\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def learner_within(engine: SonaEngine) -> Iterator[None]:
    """Learn without pause on a thread of this process."""
    stop, cycles = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            learn_once(engine)
            cycles.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert cycles


@contextmanager
def paused_server(url: str) -> Iterator[None]:
    """Suspend every process of the server, so that neither open nor new connections get answers."""
    with psycopg.connect(url) as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        status = Path(f"/proc/{backend}/status").read_text().splitlines()
    postmaster = next(int(line.split()[1]) for line in status if line.startswith("PPid:"))
    os.kill(postmaster, signal.SIGSTOP)  # first, so that its children stay the same
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    pids = [postmaster, *(int(child) for child in children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


# -- memory of an engine ------------------------------------------------------------------------------------


def bench_memory(options: Options, url: str) -> None:
    command = [sys.executable, "-c", MEMORY, url, str(DIM), str(options.rows(50_000))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    most, last = (float(part) / 1024 for part in done.stdout.split())
    what = "memory a recording engine adds to a process with NumPy, at most"
    options.emit(Line(what, f"{most:.0f} MB", f"{last:.0f} MB at the end", None, "100 MB", most < 100))


def bench_import(options: Options) -> None:
    code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    names = ["sona_pg", "sqlalchemy", "sona_pg.engine"]
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(15):
        for name in names:
            command = [sys.executable, "-c", code.format(name)]
            times[name].append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    ours, peer, whole = (statistics.median(times[name]) for name in names)
    beside = f"import sqlalchemy {seconds(peer)}"
    options.emit(Line("import sona_pg", seconds(ours), beside, ours / peer, "under 1.5 times", ours < 1.5 * peer))
    what = "  with all that opening an engine loads, SQLAlchemy and driver too"
    options.emit(Line(what, seconds(whole), beside, whole / peer))


def suite(options: Options) -> None:
    with server(options.home) as url:
        bench_latency(options, url)
        bench_memory(options, url)
    bench_import(options)


if __name__ == "__main__":
    run(__doc__, suite)
