"""One deep cycle in a process of its own, so that its memory is a learner's: prints its figures as JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from benchmarks.cycles_probe import megabytes
from benchmarks.deep_sql import timings
from benchmarks.server import DIM
from sona_pg import SonaEngine
from sona_pg.config import GraphConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.memory import EdgeKind, NodeKind, days_of
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.space import Space
from sona_pg.learning.graph.deep_round import union
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.knowledge import initial_state
from sona_pg.store.database import Database
from sona_pg.store.unit import Publication
from sona_pg.worker.deep_loop import DeepLoop

CLUSTERS, PATTERNS = 400, 100
SIMILAR, USED = 8, 2  # edges of a node, symmetric ones counted once
PAUSE = 0.001  # seconds between two questions


def graph_of(nodes: int, now: float) -> LearnedGraph:
    """Return a graph of queries in clusters, joined to others of their cluster and to some of any."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, DIM), np.float32)
    cluster = np.sort(random.integers(0, CLUSTERS, nodes))
    vectors = centres[cluster] + 0.8 * random.standard_normal((nodes, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    starts = np.searchsorted(cluster, np.arange(CLUSTERS + 1))
    parts = []
    for kind, each in ((EdgeKind.SIMILARITY, SIMILAR), (EdgeKind.CO_ACTIVATION, USED)):
        source = np.repeat(np.arange(nodes, dtype=np.int32), each)
        low, high = starts[cluster[source]], starts[cluster[source] + 1]
        near = (low + random.random(len(source)) * (high - low)).astype(np.int32)
        target = near if kind is EdgeKind.SIMILARITY else random.integers(0, nodes, len(source)).astype(np.int32)
        weight = (vectors[source] * vectors[target]).sum(axis=1) if kind is EdgeKind.SIMILARITY else None
        weight = random.random(len(source)) if weight is None else np.clip(weight, 0.3, 0.95)
        parts.append(GraphEdges.of(nodes, source, target, kind, weight.astype(np.float32), now - 7.0))
    keys = np.frombuffer(b"".join(UUID(int=(7 << 76) + row).bytes for row in range(nodes)), np.uint8).reshape(-1, 16)
    return LearnedGraph(
        kinds=np.full(nodes, NodeKind.TRAJECTORY, np.uint8),
        keys=keys,
        slots=np.full(nodes, -1, np.int32),
        importance=random.random(nodes).astype(np.float32),
        accesses=random.integers(0, 50, nodes),
        accessed=now - 30.0 * random.random(nodes),
        created=np.ones(nodes, np.int64),
        communities=np.zeros(nodes, np.int32),
        vectors=vectors.astype(np.float16),
        edges=union(parts),
    )


def fill(database: Database, space: Space, config: SonaConfig, nodes: int) -> int:
    """Publish a version with such a graph; return the number of its edges."""
    random = np.random.default_rng(1)
    with database.learning_unit(space, uuid7()) as unit:
        assert unit is not None
        graph = graph_of(nodes, days_of(unit.began))
        centroids = random.standard_normal((PATTERNS, DIM), np.float32)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        patterns = [LearnedPattern(uuid7(), centroid, 10, 5.0, 0.6, created_version=1) for centroid in centroids]
        cycle = uuid7()
        state = dataclasses.replace(
            initial_state(DIM, config), version=1, cycle_id=cycle, arrays={"graph": graph.to_arrays()}
        )
        made = Publication(state, patterns, (), (), (), ())
        result = CycleResult("background", cycle, 0, 1, 0, 0, 0, 0, PATTERNS, PATTERNS, 0, 0, 0.0)
        unit.publish(uuid7(), made, (), result)
        return len(graph.edges) // 2


def asked(engine: SonaEngine, stop: threading.Event) -> list[float]:
    """Ask for patterns until ``stop`` is set; return the seconds of each question."""
    queries = np.random.default_rng(2).standard_normal((64, DIM), np.float32)
    took: list[float] = []
    while not stop.is_set():
        begun = time.perf_counter()
        found = engine.find_patterns(queries[len(took) % 64], 5)
        took.append(time.perf_counter() - begun)
        assert len(found) == 5
        stop.wait(PAUSE)
    return took


def beside(engine: SonaEngine, work: Any) -> tuple[Any, list[float]]:
    """Return the result of ``work`` and the seconds of the questions asked meanwhile in another thread."""
    stop, took = threading.Event(), []
    thread = threading.Thread(target=lambda: took.extend(asked(engine, stop)))
    thread.start()
    try:
        return work(), took
    finally:
        stop.set()
        thread.join()


def learn(url: str) -> None:
    """Run one deep cycle as a worker does, and print its figures: the peak of memory is that of this process."""
    database = Database.at(url)
    space = database.find_space("deep")
    begun = time.perf_counter()
    result = DeepLoop(database, space, uuid7(), SonaConfig(hidden_dim=DIM)).run_cycle()
    took = time.perf_counter() - begun
    print(json.dumps({"seconds": took, "peak": megabytes("VmHWM"), "result": result.as_dict()}))
    database.close()


def without_index(url: str, work: Callable[[], int]) -> int:
    """Return the result of ``work``, done without the HNSW index on nodes, which is built anew afterwards."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'memory_nodes%' AND indexdef LIKE '%hnsw%'"
        ).fetchall()
        for name, _ in found:
            connection.execute(f"DROP INDEX sona.{name}")  # type: ignore[call-overload]
        done = work()
        connection.execute("UPDATE sona.memory_nodes SET indexed = true")
        for _, definition in found:
            connection.execute(definition)
        connection.execute("VACUUM ANALYZE sona.memory_nodes")
        return done


def main() -> None:
    """Fill a space, run one deep cycle in it in another process, and print the figures."""
    given = json.loads(sys.argv[1])
    if "learn" in given:
        learn(given["url"])
        return
    nodes = given["nodes"]
    quiet = SonaConfig(
        hidden_dim=DIM,
        loops=LoopConfig(automatic=False),
        maintenance=MaintenanceConfig(automatic=False),
        graph=GraphConfig(nodes=2 * nodes, degree=32),
    )
    with SonaEngine(DIM, given["url"], "deep", config=quiet) as engine:
        database, space = engine._session.database, engine._session.space
        begun = time.perf_counter()
        edges = without_index(given["url"], lambda: fill(database, space, quiet, nodes))
        filled = time.perf_counter() - begun
        engine.refresh()
        _, idle = beside(engine, lambda: time.sleep(5.0))
        command = [sys.executable, "-m", "benchmarks.deep_probe", json.dumps({"url": given["url"], "learn": True})]
        done, busy = beside(engine, lambda: subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True))
        learned = json.loads(done.stdout.splitlines()[-1])
        assert engine.refresh() == 2
    with psycopg.connect(given["url"]) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM sona.memory_nodes").fetchone() or (0,)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE sona.memory_nodes, sona.memory_edges, sona.memory_standing")
    told = {
        "edges": edges,
        "filled": filled,
        **learned,
        "idle": float(np.percentile(idle, 99)),
        "busy": float(np.percentile(busy, 99)),
        "rows": rows,
        "sql": timings(given["url"]),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
