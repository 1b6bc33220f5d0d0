"""Loop C over a large memory graph: one deep cycle beside find_patterns, and recent evidence beside the graph.

    python -m benchmarks.bench_deep

The cycle's graph has queries in clusters, ten edges a node. The cycle runs in a separate process, a worker, while a
server of the space asks for patterns; its memory is the worker's peak. Dreams alone are timed without a database.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.deep_probe import graph_of
from benchmarks.recent_answer import RecentAnswer
from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import DIM, server
from sona_pg.config import DreamConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.learning.graph.dreams import judged, transition_probabilities, walks
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.store.database import Database

NODES, NOW, HALF_LIFE = 100_000, 10.0, 30.0
TRIES = 5


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few runs."""
    took = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def in_numpy(graph: MemoryGraph, config: DreamConfig) -> int:
    """Walk as the kernel does, a node at a time; return the number of steps."""
    random, weights, steps = np.random.default_rng(0), graph.edges.weights_at(NOW, HALF_LIFE), 0
    begin = np.cumsum(graph.importance.astype(np.float64))
    for _ in range(config.count):
        home = row = int(np.searchsorted(begin, random.random() * begin[-1]))
        for _ in range(config.path - 1):
            steps += 1
            if random.random() < config.creative_jump:
                row = int(random.integers(len(graph)))
            elif random.random() < config.restart:
                row = home
            else:
                ends, shares = transition_probabilities(graph, weights, row, config.temperature)
                row = int(random.choice(ends, p=shares)) if len(ends) else home
    return steps


def bench_dreams(options: Options) -> None:
    """Time fifty dreams with their scores."""
    nodes, config = options.rows(NODES), DreamConfig()
    graph = graph_of(nodes, NOW).opened([], Catalog.of([], np.zeros((0, DIM), np.float16)))
    found = [judged(graph, one, config) for one in walks(graph, config, NOW, HALF_LIFE, 0, config.count)]
    assert len(found) == config.count
    assert {len(dream.path) for dream in found} == {config.path}
    walked = fastest(lambda: walks(graph, config, NOW, HALF_LIFE, 0, config.count))
    scored = fastest(
        lambda: [judged(graph, one, config) for one in walks(graph, config, NOW, HALF_LIFE, 0, config.count)]
    )
    slow = fastest(lambda: in_numpy(graph, config))
    what = f"{config.count} dreams, {nodes:,} nodes, {len(graph.edges) // 2:,} edges: "
    beside = f"NumPy, walks alone {seconds(slow)}"
    options.emit(Line(what + "walks", seconds(walked), beside, walked / slow))
    options.emit(Line(what + "walks and scores", seconds(scored), "", None, "100 ms", scored <= 0.1))


def bench_recent(options: Options) -> None:
    """Time how a server takes up one more judged answer of a session: the graph and its strengths anew."""
    for nodes in (1_000, 10_000, options.rows(NODES)):
        told = RecentAnswer.over(nodes, NOW, HALF_LIFE)
        before, after = told.learned.graph.edges, told.counted().graph.edges
        assert len(after) > len(before)
        took = fastest(told.counted)
        what = f"one more judged answer, {nodes:,} nodes, {len(before) // 2:,} edges"
        beside = f"preparing the graph {seconds(told.preparing)}"
        options.emit(Line(what, seconds(took), beside, took / told.preparing))


def bench_cycle(options: Options, url: str) -> None:
    """Time a deep cycle in the store, and the questions asked beside it."""
    nodes = options.rows(NODES)
    Database.open(url).close()
    command = [sys.executable, "-m", "benchmarks.deep_probe", json.dumps({"url": url, "nodes": nodes})]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    result = told["result"]
    assert result["finished"]
    assert result["dreams"]["count"] == DreamConfig().count
    assert told["rows"] == result["nodes"]
    what = f"deep cycle, {nodes:,} nodes, {told['edges']:,} edges: "
    parts = f"computed in {seconds(result['milliseconds'] / 1000)}, the rest is writing"
    options.emit(
        Line(what + "in all", seconds(told["seconds"]), parts, None, "60 s", told["seconds"] <= 60.0)
    )  # fmt: skip
    options.emit(
        Line(what + "peak memory", f"{told['peak']:.0f} MB", "", None, "500 MB", told["peak"] <= 500.0)
    )  # fmt: skip
    beside = f"without a cycle {seconds(told['idle'])}"
    ratio = told["busy"] / told["idle"]
    options.emit(Line(what + "p99 of find_patterns beside it", seconds(told["busy"]), beside, ratio))
    for name, (took, rows) in told["sql"].items():
        options.emit(Line(f"SQL, {told['rows']:,} nodes: {name}", seconds(took), f"{rows:,} rows"))


def suite(options: Options) -> None:
    """Run all."""
    bench_dreams(options)
    bench_recent(options)
    with server(options.home) as url:
        bench_cycle(options, url)


if __name__ == "__main__":
    run(__doc__, suite)
