"""Dreams: seeded random walks over the memory graph that propose connections which the graph does not have yet.

A walk follows an edge with a probability that rises with the edge's weight and with the novelty of its end, returns to
its start with the restart probability (Tong, Faloutsos and Pan 2006), and leaves the edges with the probability of a
creative jump. Only the edges of the nodes on the path are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.config.graph_parts import DreamConfig
from sona_pg.domain.memory import Dream, EdgeKind
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk by the rows of its nodes."""

    rows: tuple[int, ...]
    jumps: tuple[int, ...]  # positions that were reached by a creative jump


def transition_probabilities(
    graph: MemoryGraph, weights: NDArray[np.float32], row: int, temperature: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the nodes that edges lead to from ``row``, and the probability of each.

    It is proportional to (weight · (1 + novelty))^(1/temperature), where the novelty of a node is 1 / (1 + accesses).
    """
    edges = graph.edges
    span = slice(int(edges.starts[row]), int(edges.starts[row + 1]))
    targets = edges.target[span]
    drawn_to = weights[span].astype(np.float64) * (1.0 + 1.0 / (1.0 + graph.accesses[targets]))
    if not len(targets) or not drawn_to.any():
        return np.zeros(0, np.int32), np.zeros(0)
    raised = (drawn_to / drawn_to.max()) ** (1.0 / temperature)
    return targets, raised / raised.sum()


def walk(
    graph: MemoryGraph,
    weights: NDArray[np.float32],
    config: DreamConfig,
    random: np.random.Generator,
    start: int | None = None,
) -> Walk:
    """Return one walk of ``config.path`` nodes, from ``start`` or from a node drawn by importance.

    Args:
        graph: one node or more.
        weights: (m,) weights of its edges as of now.
        config: lengths and probabilities.
        random: where every draw comes from.
        start: row of the first node.
    """
    row = _drawn_by_importance(graph, random) if start is None else start
    home, rows, jumps = row, [row], []
    for position in range(1, config.path):
        if random.random() < config.creative_jump:
            row = int(random.integers(len(graph)))
            jumps.append(position)
        elif random.random() < config.restart:
            row = home
        else:
            targets, probabilities = transition_probabilities(graph, weights, row, config.temperature)
            if len(targets):
                at = int(np.searchsorted(np.cumsum(probabilities), random.random(), side="right"))
                row = int(targets[min(at, len(targets) - 1)])
            else:
                row = home
        rows.append(row)
    return Walk(tuple(rows), tuple(jumps))


def judged(graph: MemoryGraph, walked: Walk, config: DreamConfig) -> Dream:
    """Return a walk with its scores.

    - *novelty*: share of the connections between consecutive, different nodes that the graph does not have;
    - *coherence*: mean cosine of consecutive, different nodes, negative ones as 0;
    - *utility*: mean importance of the different nodes.
    """
    pairs = connections(walked)
    rows = sorted(set(walked.rows))
    novelty = coherence = 0.0
    if pairs:
        known = sum(connected(graph.edges, first, second) for first, second in pairs)
        novelty = 1.0 - known / len(pairs)
        first, second = np.array(pairs).T
        cosines = np.einsum("ij,ij->i", graph.embeddings[first], graph.embeddings[second])
        coherence = float(np.clip(cosines, 0.0, 1.0).mean())
    utility = float(graph.importance[rows].mean())
    quality = config.novelty * novelty + config.coherence * coherence + config.utility * utility
    return Dream(
        path=tuple(graph.ids[row] for row in walked.rows),
        jumps=walked.jumps,
        novelty=novelty,
        coherence=coherence,
        utility=utility,
        quality=quality,
    )


def diversity(dreams: Sequence[Dream]) -> float:
    """Return 1 minus the mean Jaccard overlap of the dreams' nodes, two by two; 1 for fewer than two dreams."""
    nodes = [frozenset(dream.path) for dream in dreams]
    overlaps = [
        len(first & second) / len(first | second) for at, first in enumerate(nodes) for second in nodes[at + 1 :]
    ]
    return 1.0 - float(np.mean(overlaps)) if overlaps else 1.0


def connections(walked: Walk) -> list[tuple[int, int]]:
    """Return the different pairs of different nodes that the walk visits one after the other, the lower row first."""
    pairs = zip(walked.rows[:-1], walked.rows[1:], strict=True)
    return sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


def connected(edges: GraphEdges, first: int, second: int) -> bool:
    """Return whether an edge of any kind joins two nodes, in either direction."""
    forth = edges.target[edges.starts[first] : edges.starts[first + 1]]
    back = edges.target[edges.starts[second] : edges.starts[second + 1]]
    return bool((forth == second).any() or (back == first).any())


def proposed_edges(graph: MemoryGraph, walked: Walk, weight: float, now: float) -> GraphEdges:
    """Return the edges that a dream adds: weak ones for its missing connections."""
    pairs = [pair for pair in connections(walked) if not connected(graph.edges, *pair)]
    source, target = np.array(pairs, np.int32).reshape(-1, 2).T
    return GraphEdges.of(len(graph), source, target, EdgeKind.DREAM, np.full(len(pairs), weight, np.float32), now)


def network_of(graph: MemoryGraph, weights: NDArray[np.float32], walked: Walk) -> NDArray[np.float64]:
    """Return the connections (n, n) among the different nodes of a walk, for ``integration``.

    Nodes are joined by the heaviest edge between them, and by the walk itself, which proposes to join consecutive nodes
    as far as they are alike (cosine, negative ones as 0).
    """
    rows = sorted(set(walked.rows))
    place = {row: at for at, row in enumerate(rows)}
    joined = np.zeros((len(rows), len(rows)))
    edges = graph.edges
    for at, row in enumerate(rows):
        for edge in range(int(edges.starts[row]), int(edges.starts[row + 1])):
            other = place.get(int(edges.target[edge]))
            if other is not None:
                joined[at, other] = max(joined[at, other], float(weights[edge]))
    for first, second in connections(walked):
        alike = float(graph.embeddings[first] @ graph.embeddings[second])
        joined[place[first], place[second]] = max(joined[place[first], place[second]], alike)
    return np.maximum(joined, joined.T)


def _drawn_by_importance(graph: MemoryGraph, random: np.random.Generator) -> int:
    cumulative = np.cumsum(graph.importance.astype(np.float64) + 1e-6)
    return int(min(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"), len(graph) - 1))
