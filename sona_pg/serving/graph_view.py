"""View of a version's memory graph for answers: prepared at its first use, and again as its edges fade."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.memory import SECONDS, EdgeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays
from sona_pg.learning.graph.activation import PreparedGraph, Primed
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.learned_graph import LearnedGraph

FRESH = 3600.0  # seconds that prepared weights are used: an edge fades by 0.1 % in them
SPREAD, EXPECTED = 0.3, 0.3  # cosines that an activation of 1, and a sure expectation, are worth among patterns

Floats = NDArray[np.float32]


class GraphView:
    """Memory graph of one version; safe from many threads, which may prepare it twice."""

    def __init__(self, arrays: Arrays, patterns: Sequence[LearnedPattern], catalog: Catalog, half_life: float) -> None:
        """Prepare nothing yet."""
        self._arrays = arrays
        self._patterns = patterns
        self._catalog = catalog
        self._half_life = half_life
        self._prepared: tuple[float, Expectation] | None = None

    @property
    def expectation(self) -> Expectation:
        """The graph prepared for queries."""
        kept, now = self._prepared, time.monotonic()
        if kept is not None and now - kept[0] < FRESH:
            return kept[1]
        graph = LearnedGraph.from_arrays(self._arrays) if kept is None else kept[1].graph
        made = Expectation.of(graph, self._patterns, self._catalog, time.time() / SECONDS, self._half_life)
        self._prepared = (now, made)
        return made

    def joined(self, prepared: PreparedGraph, slots: NDArray[np.int32]) -> PreparedGraph:
        """Return prepared candidates of ``slots`` (n,) with the edges of common use and of dreams between them."""
        expectation = self.expectation
        graph, edges = expectation.graph, expectation.graph.edges
        row_of = np.full(len(self._catalog) + 1, UNKNOWN, np.int32)  # the last one is that of no slot
        known = slots != UNKNOWN
        row_of[slots[known]] = np.flatnonzero(known).astype(np.int32)
        rows = row_of[graph.slots]
        source, target = rows[edges.source], rows[edges.target]
        keep = (source != UNKNOWN) & (target != UNKNOWN)
        keep &= (edges.kind == EdgeKind.CO_ACTIVATION) | (edges.kind == EdgeKind.DREAM)
        strength = expectation.strength[keep].astype(np.float32)
        made = GraphEdges.joined(
            len(slots), source[keep], target[keep], edges.kind[keep], strength, edges.reinforced[keep]
        )
        return prepared.joined(made, made.weight)

    def primed(self, x: Floats, context: Floats | None, slots: NDArray[np.int32]) -> Primed:
        """Return what the graph expects of candidates of ``slots`` (n,) for the unit query ``x`` (dim,)."""
        expectation = self.expectation
        values = np.zeros((len(self._catalog), 2), np.float32)
        for column, of_node in enumerate((expectation.of_query(x), self._after(expectation, context))):
            found, value = expectation.slots(of_node)
            values[found, column] = np.minimum(value, 1.0)
        known = np.flatnonzero(slots != UNKNOWN)
        rows = known[values[slots[known]].any(axis=1)]
        return Primed(rows, values[slots[rows], 0], values[slots[rows], 1])

    def pattern_scores(self, x: Floats, context: Floats | None) -> Floats:
        """Return what the graph adds to the cosine of each pattern (p,) with the unit query ``x`` (dim,)."""
        expectation = self.expectation
        spread = expectation.spread(x)
        of_node = SPREAD * spread + EXPECTED * np.minimum(self._after(expectation, context), 1.0)
        keys = expectation.graph.keys
        found = {keys[row].tobytes(): of_node[row] for row in np.flatnonzero(of_node > 0.0).tolist()}
        return np.array([found.get(pattern.id.bytes, 0.0) for pattern in self._patterns], np.float32)

    @staticmethod
    def _after(expectation: Expectation, context: Floats | None) -> NDArray[np.float64]:
        if context is None or not len(context):
            return np.zeros(len(expectation.graph))
        return expectation.after(context[-1])
