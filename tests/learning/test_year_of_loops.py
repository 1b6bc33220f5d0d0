"""A year of both loops over one memory graph: nodes, edges and communities stay within their bounds."""

from __future__ import annotations

import numpy as np

from sona_pg.config import DreamConfig, SonaConfig
from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.deep_round import Extent
from sona_pg.learning.graph.deep_step import deepen
from sona_pg.learning.knowledge import Knowledge, graph_of
from tests.learning.graph_slices import BLANK, CATALOG, DIM, Turn, after, pattern_of, slice_of

GRAPH = GraphConfig(nodes=10, degree=3)
DREAMS = DreamConfig(count=8, path=4, least_quality=0.0, least_integration=0.0)
CONFIG = SonaConfig(hidden_dim=DIM, graph=GRAPH, dreams=DREAMS)


def test_a_year_of_weeks_of_both_loops_keeps_the_graph_within_its_bounds() -> None:
    rng, state, dreamt = np.random.default_rng(9), BLANK, 0
    for week in range(52):
        centroids = np.abs(rng.standard_normal((5, DIM))).astype(np.float32)
        topics = rng.permutation(DIM)[:5].tolist()
        patterns = [
            pattern_of(topic, centroid=row / np.linalg.norm(row)) for topic, row in zip(topics, centroids, strict=True)
        ]
        turns = [
            Turn(f"{week}-{row % 4}", int(about), int(answer), float(quality), day=7.0 * week + row / 100)
            for row, (about, answer, quality) in enumerate(
                zip(rng.integers(0, DIM, 16), rng.integers(0, DIM, 16), rng.random(16), strict=True)
            )
        ]
        state = after(slice_of(turns), state, patterns=patterns, config=GRAPH)
        step = deepen(Knowledge(state, patterns, []), CATALOG, CONFIG, state.version + 1, 7.0 * week + 1, Extent())
        state = step.knowledge.state
        graph = graph_of(state)
        dreamt += step.rounded.dreams.joined
        assert step.rounded.finished
        assert len(graph) <= GRAPH.nodes + 2 * len(patterns)
        of_kind = np.bincount(graph.edges.source.astype(np.int64) * len(EdgeKind) + graph.edges.kind)
        assert of_kind.max() <= GRAPH.degree
        assert graph.edges.weight.min() >= 0.0
        assert graph.edges.weight.max() <= 1.0
        assert 1 <= graph.communities.min() <= graph.communities.max() <= GRAPH.nodes + 2 * len(patterns)
        assert step.communities == len(set(graph.communities.tolist()))
        assert sum(values.nbytes for part in state.arrays.values() for values in part.values()) < 20_000
    assert dreamt > 52
