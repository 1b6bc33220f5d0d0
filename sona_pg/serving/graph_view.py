"""View of a version's memory graph for answers, alone or with recent evidence; prepared at its first use.

Edges have faded as of the latest moment in the graph, not as of now: an answer depends on version, evidence and
question alone, on every server and after a rebuild. Only a pattern's season depends on the hour of the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.seasons import Seasons, places_of

SPREAD, EXPECTED = 0.3, 0.3  # cosines that an activation of 1, and a sure expectation, are worth among patterns

Floats = NDArray[np.float32]


class GraphView:
    """Memory graph of one version; safe from many threads, which may prepare it twice."""

    def __init__(
        self,
        parts: Mapping[str, Arrays],
        patterns: Sequence[LearnedPattern],
        catalog: Catalog,
        half_life: float,
        prepared: Expectation | None = None,
    ) -> None:
        """Prepare nothing yet; ``parts`` are those of a state. ``prepared``: its graph with recent evidence."""
        self._parts = parts
        self._patterns = patterns
        self.catalog = catalog  # that the slots of the graph's candidates are of
        self._half_life = half_life
        self._prepared = prepared
        self._of_hour: tuple[dict[str, int], Expectation] | None = None

    @property
    def expectation(self) -> Expectation:
        """The graph prepared for queries, without seasons."""
        if self._prepared is None:
            graph = LearnedGraph.from_arrays(self._parts["graph"])
            self._prepared = Expectation.of(graph, self._patterns, self.catalog, graph.now, self._half_life)
        return self._prepared

    def expectation_at(self, at: float) -> Expectation:
        """Return the graph prepared for queries of the hour of ``at`` (days)."""
        kept, hour = self._of_hour, places_of(at)
        if kept is None or kept[0] != hour:
            lifts = Seasons.from_arrays(self._parts.get("seasons")).lifts(at)
            kept = self._of_hour = (hour, self.expectation.in_season(lifts))
        return kept[1]

    def pattern_scores(self, x: Floats, context: Floats | None, at: float) -> Floats:
        """Return what the graph adds to the cosine of each pattern (p,) with the unit query ``x`` (dim,) at ``at``."""
        expectation = self.expectation_at(at)
        spread = expectation.spread(x)
        of_node = SPREAD * spread + EXPECTED * expectation.expected(context)
        keys = expectation.graph.keys
        found = {keys[row].tobytes(): of_node[row] for row in np.flatnonzero(of_node > 0.0).tolist()}
        return np.array([found.get(pattern.id.bytes, 0.0) for pattern in self._patterns], np.float32)
