"""One judged answer of a session that no version has learned, beside a large memory graph of candidates."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.deep_probe import PATTERNS, graph_of
from benchmarks.server import DIM
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ids import uuid7
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.memory import SECONDS, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.recent_graph import with_recent
from sona_pg.serving.judged_queries import KnownQuery
from sona_pg.serving.recent_slice import recent_slice


@dataclass(frozen=True, slots=True, eq=False)
class RecentAnswer:
    """A prepared graph, and the answer that counts beside it: its pattern has no node there yet."""

    learned: Expectation
    preparing: float  # seconds that the graph took
    patterns: list[LearnedPattern]
    catalog: Catalog
    recent: LedgerSlice
    half_life: float

    @classmethod
    def over(cls, nodes: int, now: float, half_life: float) -> RecentAnswer:
        """Make a graph of ``nodes`` candidates, and an answer a day after ``now`` (days)."""
        graph = graph_of(nodes, now)
        catalog = Catalog.of([f"candidate-{row}" for row in range(nodes)], graph.vectors)
        graph = dataclasses.replace(
            graph,
            kinds=np.full(nodes, NodeKind.CANDIDATE, np.uint8),
            slots=np.arange(nodes, dtype=np.int32),
            vectors=graph.vectors[:0],
        )
        centroids = np.random.default_rng(1).standard_normal((PATTERNS, DIM), np.float32)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        patterns = [LearnedPattern(uuid7(), centroid, 10, 5.0, 0.6, created_version=1) for centroid in centroids]
        begun = time.perf_counter()
        learned = Expectation.of(graph, patterns, catalog, now, half_life)
        took = time.perf_counter() - begun
        query = KnownQuery(centroids[0].astype(np.float16), "candidate-0", 1.0, session="session:1")
        recent = recent_slice([(uuid7(int(1000 * SECONDS * (now + 1))).bytes, query)], DIM)
        return cls(learned, took, patterns, catalog, recent, half_life)

    def counted(self) -> Expectation:
        """Return the graph with the answer."""
        return with_recent(self.learned, {}, self.recent, self.patterns, self.catalog, {}, self.half_life, 1)
