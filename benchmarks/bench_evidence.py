"""From a thumb to the next answer, here and on other servers: `python -m benchmarks.bench_evidence`.

Ten servers, each a process, follow one space; 1,000 trajectories a second are recorded beside, in another space.
A further server takes a correction, commits it, and the others say when their answer changed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import server
from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

SERVERS, CORRECTIONS, RATE, DIM, COUNT = 10, 20, 1000, 256, 150
POLL = 0.1  # seconds between two questions of a follower: twelve processes must not fill the cores by asking
PATIENCE = 90.0  # seconds that a follower waits for changed answers
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
IDS = [f"document {row}" for row in range(COUNT)]


def rows(seed: int, count: int) -> NDArray[np.float32]:
    """Return unit rows."""
    values = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


DOCUMENTS = rows(0, COUNT)


def query(number: int) -> NDArray[np.float32]:
    """Return a query between two documents, a little nearer to the first."""
    return np.asarray(DOCUMENTS[2 * number] + 0.9 * DOCUMENTS[2 * number + 1], np.float32)


def follow(url: str, space: str) -> None:
    """Print when the answer to each query changed: a server in a process of its own."""
    with SonaEngine(DIM, url, space, config=QUIET) as engine:
        engine.remember(IDS, DOCUMENTS)
        engine.flush()
        engine.refresh()
        waiting = dict.fromkeys(range(CORRECTIONS))
        print("ready", flush=True)
        until = time.time() + PATIENCE
        while waiting and time.time() < until:
            for number in list(waiting)[:3]:  # corrections come one after another
                if engine.rank(query(number), ids=IDS, k=1).ids[0] == IDS[2 * number + 1]:
                    print(json.dumps([number, time.time()]), flush=True)
                    del waiting[number]
            time.sleep(POLL)


def record(url: str, until: float) -> None:
    """Record ``RATE`` trajectories a second in another space."""
    with SonaEngine(DIM, url, "beside", config=QUIET) as engine:
        queries = rows(1, RATE)
        print("ready", flush=True)
        begun = time.time()
        while time.time() < begun + until:
            for row in queries[: RATE // 10]:
                engine.end_trajectory(engine.begin_trajectory(row), quality=1.0)
            time.sleep(0.1)


def spawn(*arguments: Any) -> subprocess.Popen[str]:
    """Start a process of this module, and wait until it is ready."""
    command = [sys.executable, "-m", "benchmarks.bench_evidence", *map(str, arguments)]
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a dozen processes on few cores
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=single)
    assert started.stdout is not None
    while started.stdout.readline().strip() != "ready":
        assert started.poll() is None, "a process of the benchmark has ended"
    return started


def bench_fleet(options: Options, url: str) -> None:
    """Measure the delay from the commit of a correction to each other server's changed answer."""
    space = f"fleet-{uuid4().hex[:6]}"
    with SonaEngine(DIM, url, space, config=QUIET) as engine:
        engine.remember(IDS, DOCUMENTS)
        engine.flush()
        beside = spawn("record", url, 0.5 * CORRECTIONS + 30)
        servers = [spawn("follow", url, space) for _ in range(SERVERS)]
        heard: list[tuple[int, float]] = []

        def listen(started: subprocess.Popen[str]) -> None:
            assert started.stdout is not None
            heard.extend(tuple(json.loads(line)) for line in started.stdout)

        threads = [threading.Thread(target=listen, args=(each,)) for each in servers]
        for thread in threads:
            thread.start()
        committed, here = {}, []
        for number in range(CORRECTIONS):
            asked = query(number)
            ranking = engine.rank(asked, ids=IDS, k=1)
            assert ranking.ids[0] == IDS[2 * number], "the answer was right before it was corrected"
            handle = engine.begin_trajectory(asked, ranking=ranking)
            engine.set_trajectory_route(handle, ranking.ids[0])
            engine.end_trajectory(handle)
            engine.feedback(handle, correction=IDS[2 * number + 1])
            began = time.perf_counter()
            changed = engine.rank(asked, ids=IDS, k=1)
            here.append(time.perf_counter() - began)
            assert changed.ids[0] == IDS[2 * number + 1], "the next answer is not the corrected one"
            engine.flush()
            committed[number] = time.time()
            time.sleep(0.4)
        for thread in threads:
            thread.join(PATIENCE)
        beside.terminate()
        for started in (*servers, beside):
            started.wait(30)
    delays = sorted(at - committed[number] for number, at in heard)
    assert len(delays) == SERVERS * CORRECTIONS, f"{len(delays)} of {SERVERS * CORRECTIONS} answers changed"
    worst = delays[int(0.99 * len(delays))]
    told = f"median {seconds(statistics.median(delays))}, most {seconds(delays[-1])}"
    what = f"from a correction's commit to the answers of {SERVERS} servers, p99"
    options.emit(Line(what, seconds(worst), told, None, "1 s", worst <= 1.0))
    options.emit(Line("  the next rank(x, ids=…) of 150 on the same server", seconds(statistics.median(here))))


def bench_asking(options: Options, url: str) -> None:
    """Measure `rank` with recent evidence beside `rank` without."""
    for count in (30, 1000):
        names = [f"{count} {row}" for row in range(count)]
        documents, asked = rows(count, count), rows(2, 1)[0]
        times = {}
        for recent in (0, 1000):
            config = SonaConfig(loops=LoopConfig(automatic=False, recent=recent))
            with SonaEngine(DIM, url, f"asking-{count}-{recent}-{uuid4().hex[:4]}", config=config) as engine:
                for number in range(100):
                    ranking = engine.rank(documents[number % count], documents, ids=names, k=1)
                    handle = engine.begin_trajectory(documents[number % count], ranking=ranking)
                    engine.set_trajectory_route(handle, ranking.ids[0])
                    engine.end_trajectory(handle, quality=float(number % 2))
                engine.flush()
                engine.refresh()
                engine.rank(asked, ids=names, k=10)
                taken = []
                for _ in range(30):
                    began = time.perf_counter()
                    for _ in range(100):
                        engine.rank(asked, ids=names, k=10)
                    taken.append((time.perf_counter() - began) / 100)
                times[recent] = statistics.median(taken)
        what = f"rank(x, ids=…) of {count:,} beside 100 judged queries"
        ratio = times[1000] / times[0]
        options.emit(
            Line(what, seconds(times[1000]), f"beside none: {seconds(times[0])}", ratio, "ratio 1.3", ratio <= 1.3)
        )


def main(options: Options) -> None:
    """Run all."""
    with server(options.home) as url:
        bench_asking(options, url)
        bench_fleet(options, url)


if __name__ == "__main__":
    if sys.argv[1:2] == ["follow"]:
        follow(*sys.argv[2:])
    elif sys.argv[1:2] == ["record"]:
        record(sys.argv[2], float(sys.argv[3]))
    else:
        run(__doc__, main)
