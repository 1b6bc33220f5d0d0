"""View of a version's memory graph for answers: prepared at its first use, and again as its edges fade."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.memory import SECONDS
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.seasons import Seasons

FRESH = 3600.0  # seconds that prepared weights are used: an edge fades by 0.1 % in them
SPREAD, EXPECTED = 0.3, 0.3  # cosines that an activation of 1, and a sure expectation, are worth among patterns

Floats = NDArray[np.float32]


class GraphView:
    """Memory graph of one version; safe from many threads, which may prepare it twice."""

    def __init__(
        self, parts: Mapping[str, Arrays], patterns: Sequence[LearnedPattern], catalog: Catalog, half_life: float
    ) -> None:
        """Prepare nothing yet; ``parts`` are those of a state."""
        self._parts = parts
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
        graph = LearnedGraph.from_arrays(self._parts["graph"]) if kept is None else kept[1].graph
        today = time.time() / SECONDS
        lifts = Seasons.from_arrays(self._parts.get("seasons")).lifts(today)
        made = Expectation.of(graph, self._patterns, self._catalog, today, self._half_life, lifts)
        self._prepared = (now, made)
        return made

    def pattern_scores(self, x: Floats, context: Floats | None) -> Floats:
        """Return what the graph adds to the cosine of each pattern (p,) with the unit query ``x`` (dim,)."""
        expectation = self.expectation
        spread = expectation.spread(x)
        of_node = SPREAD * spread + EXPECTED * expectation.expected(context)
        keys = expectation.graph.keys
        found = {keys[row].tobytes(): of_node[row] for row in np.flatnonzero(of_node > 0.0).tolist()}
        return np.array([found.get(pattern.id.bytes, 0.0) for pattern in self._patterns], np.float32)
