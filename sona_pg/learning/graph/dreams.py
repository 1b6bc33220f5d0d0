"""Dreams: seeded random walks over the memory graph that propose connections which the graph does not have yet.

A walk follows an edge with a probability that rises with the edge's weight and with the novelty of its end, returns to
its start with the restart probability (Tong, Faloutsos and Pan 2006), and leaves the edges with the probability of a
creative jump. ``cython_ext/kernels/dreaming.c`` walks; it reads the edges of the nodes on the path only.

With ``exploration`` (SONA's "exotic" bridge), starts and jumps lean to nodes in sparse regions of the embedding space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config.graph_parts import DreamConfig
from sona_pg.domain.memory import Dream, EdgeKind
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph

LEAST_IMPORTANCE = 1e-6  # added to every node's, so that each can be the start of a walk


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


def walks(
    graph: MemoryGraph,
    config: DreamConfig,
    now: float,
    half_life: float,
    seed: int,
    count: int,
    *,
    first: int = 0,
    home: int | None = None,
) -> list[Walk]:
    """Return the walks ``first`` to ``first + count - 1`` of ``seed``; each depends on the seed and its number alone.

    Args:
        graph: one node or more.
        config: lengths and probabilities.
        now: days; edges weigh as much as then.
        half_life: days without reinforcement in which an edge loses half of its weight.
        seed: where every draw comes from.
        count: of the walks.
        first: number of the first one.
        home: row of the node where every walk begins; otherwise drawn by importance.
    """
    begin = graph.importance.astype(np.float64) + LEAST_IMPORTANCE
    jump = np.ones(len(graph))
    if config.exploration:
        lonely = sparsity(graph)
        begin = _leaning(begin, lonely, config.exploration)
        jump = _leaning(jump, lonely, config.exploration)
    edges = graph.edges
    rows, jumped = kernels.dream_walks(
        edges.starts,
        edges.target,
        edges.weight,
        edges.reinforced,
        edges.kind,
        graph.accesses,
        np.cumsum(begin),
        np.cumsum(jump),
        (config.creative_jump, config.restart, config.temperature),
        (now, half_life, EdgeKind.SIMILARITY),
        seed % 2**64,
        first,
        count,
        config.path,
        -1 if home is None else home,
    )
    places = [np.flatnonzero(jumps).tolist() for jumps in jumped]
    return [Walk(tuple(path), tuple(jumps)) for path, jumps in zip(rows.tolist(), places, strict=True)]


def sparsity(graph: MemoryGraph) -> NDArray[np.float64]:
    """Return how sparse the surroundings of each node are (n,), in [0, 1]: 1 minus its mean similarity to its nearest.

    Measured by the similarity edges that leave it; 1 for a node that is similar to no other.
    """
    edges = graph.edges
    rows = np.flatnonzero(edges.kind == EdgeKind.SIMILARITY)
    weights = edges.weight[rows].astype(np.float64)
    total, count = (np.bincount(edges.source[rows], of, len(graph)) for of in (weights, None))
    return np.asarray(1.0 - total / np.maximum(count, 1.0), np.float64)


def _leaning(sums: NDArray[np.float64], lonely: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return a mixture of two distributions, ``share`` of it by sparsity."""
    total = float(lonely.sum())
    if total <= 0.0:
        return sums
    return np.asarray((1.0 - share) * sums / float(sums.sum()) + share * lonely / total, np.float64)


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
