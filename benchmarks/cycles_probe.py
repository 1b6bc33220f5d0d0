"""One measurement of `bench_cycles` in a process of its own, so that its memory is a server's: prints it as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.cycles_fill import Filler, Queries
from benchmarks.server import DIM
from sona_pg import SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig

QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
FACTS = 500  # of a usual cycle
STATE_BYTES = """
SELECT coalesce(sum(octet_length(data)), 0), coalesce(sum(pg_column_size(data)), 0) FROM sona.state_arrays
WHERE space_id = %(space)s AND version = (SELECT live_version FROM sona.spaces WHERE space_id = %(space)s)
"""


def megabytes(name: str) -> float:
    """Return ``VmHWM``, the peak memory of this process, or ``VmRSS``, its current memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


class Space:
    """An engine on a filled space, and the cost of its cycles."""

    def __init__(self, url: str, name: str, space_id: int, seed: int, **shape: Any) -> None:
        """Open it; ``shape`` are the arguments of ``Filler.trajectories``."""
        self.engine = SonaEngine(DIM, url, name, config=QUIET)
        self.queries = Queries(0)
        self.filler = Filler(url, space_id, seed)
        self.shape = shape
        self.seconds: list[float] = []
        self.busy: list[float] = []

    def fill(self, facts: int) -> None:
        """Store unlearned facts; with corrections, half of them are feedback."""
        corrected = bool(self.shape.get("corrections"))
        self.filler.trajectories(self.queries, facts // 2 if corrected else facts, 100, **self.shape)

    def cycle(self, facts: int = FACTS) -> None:
        """Run a cycle over new facts, and keep its times."""
        self.fill(facts)
        wall, busy = time.perf_counter(), time.process_time()
        result = self.engine.force_learn()
        self.seconds.append(time.perf_counter() - wall)
        self.busy.append(time.process_time() - busy)
        assert result.learned, result
        assert result.trajectories + result.feedback == facts // 2 * 2, result

    def figures(self) -> dict[str, Any]:
        """Return the first cycle's time, and the median of the later ones, with those of the processor."""
        later, busy = (values[1:] or values for values in (self.seconds, self.busy))
        return {
            "first": self.seconds[0], "later": statistics.median(later), "fastest": min(later),
            "busy": statistics.median(busy),
        }  # fmt: skip


def catalog(url: str, space_id: int, candidates: int, cycles: int) -> dict[str, Any]:
    """Learn about a large catalog, and rank all of it."""
    names = [f"c{number:08d}" for number in range(candidates)]
    space = Space(url, "catalog", space_id, 1, routes=["model-a"], corrections=names)
    with space.engine as engine:
        space.cycle()
        space.cycle()
        query = space.queries.draw(1)[0]
        assert len(engine.rank(query, k=10).ids) == 10
        space.seconds[1:] = space.busy[1:] = []
        for _ in range(cycles):
            space.cycle()
        assert len(engine.rank(query, k=10).ids) == 10
        with psycopg.connect(url) as connection:
            row = connection.execute(STATE_BYTES, {"space": space_id}).fetchone()
        assert row is not None
        return {**space.figures(), "peak": megabytes("VmHWM"), "state": int(row[0]), "stored": int(row[1])}


def compare(url: str, spaces: list[dict[str, Any]], cycles: int) -> list[dict[str, Any]]:
    """Run usual cycles in some spaces by turns, once their history is vacuumed: autovacuum does it within minutes."""
    opened = []
    for place, wanted in enumerate(spaces):
        names = [f"c{number:08d}" for number in range(wanted["candidates"])]
        routes = ["model-a", "model-b", "model-c"]
        told = {"corrections": names, "answers": Queries(1).draw(wanted["candidates"])}
        opened.append(Space(url, wanted["name"], wanted["space"], place + 7, routes=routes, **told))
    for space in opened:
        space.engine.force_learn()
        space.cycle()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    for _ in range(cycles):
        for space in opened:
            space.cycle()
    for space in opened:
        space.engine.close()
    return [space.figures() for space in opened]


def routes(url: str, space_id: int, count: int, cycles: int) -> dict[str, Any]:
    """Learn from as many routes as facts, then from some of them."""
    space = Space(url, "routes", space_id, 1, routes=[f"route-{number:06d}" for number in range(count)])
    with space.engine:
        space.cycle(count)
        for _ in range(cycles):
            space.cycle()
        return {**space.figures(), "peak": megabytes("VmHWM")}


def backlog(url: str, waiting: int) -> dict[str, Any]:
    """Learn the backlog, while a thread records and queries."""
    asked: list[float] = []
    recorded = 0
    done = threading.Event()
    with SonaEngine(DIM, url, "backlog", config=QUIET) as engine:
        rows = np.random.default_rng(3).standard_normal((1000, DIM)).astype(np.float32)

        def serve() -> None:
            nonlocal recorded
            while not done.wait(0.01):
                for _ in range(10):
                    row = rows[recorded % len(rows)]
                    began = time.perf_counter()
                    engine.find_patterns(row, k=5)
                    asked.append(time.perf_counter() - began)
                    engine.end_trajectory(engine.begin_trajectory(row), 0.5)
                    recorded += 1

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            started, busy = time.perf_counter(), time.process_time()
            result = engine.force_learn()
            took, busy = time.perf_counter() - started, time.process_time() - busy
        finally:
            done.set()
            thread.join()
        engine.flush()
        assert waiting <= result.trajectories <= waiting + recorded, result
        assert engine.dropped_count == 0
        return {
            "took": took, "busy": busy, "trajectories": result.trajectories, "cycles": result.cycles,
            "peak": megabytes("VmHWM"), "recorded": recorded, "p99": float(np.quantile(asked, 0.99)),
        }  # fmt: skip


TASKS = {"catalog": catalog, "compare": compare, "routes": routes, "backlog": backlog}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))  # type: ignore[operator]
