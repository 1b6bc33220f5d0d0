"""Consolidation of the memory graph: strengthen nodes of high value, weaken and prune others, merge near-duplicates.

The value of a node is a weighted mean of four parts, each in [0, 1]: accesses (on a logarithmic scale), recency of the
last one, importance, and degree (on a logarithmic scale).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import COLUMNS, MemoryGraph
from sona_pg.learning.graph.node_vectors import selected

STRENGTHEN = 0.7  # nodes of more value move towards an importance of 1
WEAKEN = 0.3  # nodes of less value lose importance
SHARE = 0.1  # of the way that one consolidation moves an importance
PRUNE = 0.05  # a trajectory's node of less importance goes; patterns and candidates stay
DUPLICATE = 0.98  # cosine from which two nodes of one kind and group are one
RECENCY_HALF_LIFE = 30.0  # days
EDGE_HALF_LIFE = 30.0  # days without reinforcement in which an edge loses half of its weight
LEAST_WEIGHT = 0.01  # an edge below it goes
MAX_DEGREE = 32  # edges that leave one node
PARTS = {"access": 0.25, "recency": 0.2, "quality": 0.35, "degree": 0.2}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a graph, and the decay of its edges."""

    half_life: float = EDGE_HALF_LIFE
    degree: int = MAX_DEGREE
    nodes: int | None = None  # at most; None: any number
    by_kind: bool = False  # whether ``degree`` counts each kind of edges alone
    merged: frozenset[NodeKind] = frozenset(NodeKind)  # kinds whose near-duplicates are merged


@dataclass(frozen=True, slots=True)
class Consolidated:
    """Counts of one consolidation."""

    strengthened: int = 0
    weakened: int = 0
    pruned: int = 0
    merged: int = 0
    edges_removed: int = 0


def values_of(graph: MemoryGraph, now: float) -> NDArray[np.float64]:
    """Return the value (n,) in [0, 1] of every node at ``now`` (days)."""
    access = np.log1p(graph.accesses.astype(np.float64))
    degree = np.log1p(graph.edges.degrees().astype(np.float64))
    recency = np.exp2(-np.maximum(now - graph.accessed, 0.0) / RECENCY_HALF_LIFE)
    return (
        PARTS["access"] * access / max(float(access.max(initial=0.0)), 1.0)
        + PARTS["recency"] * recency
        + PARTS["quality"] * graph.importance
        + PARTS["degree"] * degree / max(float(degree.max(initial=0.0)), 1.0)
    )


def consolidate(graph: MemoryGraph, now: float, limits: Limits | None = None) -> tuple[MemoryGraph, Consolidated]:
    """Return the graph after one consolidation at ``now`` (days), and the counts of changes."""
    limits = limits or Limits()
    before = len(graph.edges)
    graph, valued = revalued(graph, now, limits)
    graph, merged = merged_duplicates(graph, limits)
    graph = trimmed(graph, now, limits)
    removed = max(before - len(graph.edges), 0)
    return graph, dataclasses.replace(valued, merged=merged, edges_removed=removed)


def revalued(graph: MemoryGraph, now: float, limits: Limits) -> tuple[MemoryGraph, Consolidated]:
    """Return the graph with nodes of high value strengthened, those of low value weakened, and others pruned."""
    values = values_of(graph, now)
    high, low = values > STRENGTHEN, values < WEAKEN
    importance = graph.importance + SHARE * (high * (1.0 - graph.importance) - low * graph.importance)
    graph = dataclasses.replace(graph, importance=importance.astype(np.float32))
    kept = (graph.importance >= PRUNE) | (graph.kinds != NodeKind.TRAJECTORY)
    if limits.nodes is not None and int(kept.sum()) > limits.nodes:
        rows = np.flatnonzero(kept)
        order = np.lexsort((-values[rows], graph.kinds[rows] == NodeKind.TRAJECTORY))  # these go before the others
        kept[rows[order[limits.nodes :]]] = False
    pruned = int((~kept).sum())
    done = Consolidated(strengthened=int(high.sum()), weakened=int(low.sum()), pruned=pruned)
    return (subgraph(graph, np.flatnonzero(kept)) if pruned else graph), done


def merged_duplicates(graph: MemoryGraph, limits: Limits) -> tuple[MemoryGraph, int]:
    """Return the graph with near-duplicates merged, and how many nodes that took."""
    into = duplicates(graph, limits.merged)
    return merge(graph, into), int((into != np.arange(len(graph))).sum())


def trimmed(graph: MemoryGraph, now: float, limits: Limits) -> MemoryGraph:
    """Return the graph without edges that have faded, and with at most ``limits.degree`` edges from each node."""
    edges = graph.edges.without_weak(LEAST_WEIGHT, now, limits.half_life)
    capped = edges.capped_by_kind if limits.by_kind else edges.capped
    return graph.with_edges(capped(limits.degree, now, limits.half_life))


def subgraph(graph: MemoryGraph, rows: NDArray[np.intp]) -> MemoryGraph:
    """Return the nodes of ``rows``, rising, and the edges between them."""
    place = np.full(len(graph), -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    return _renumbered(graph, rows, place)


def duplicates(graph: MemoryGraph, kinds: frozenset[NodeKind] = frozenset(NodeKind)) -> NDArray[np.int64]:
    """Return for each node (n,) the row of the node that it is a duplicate of, its own row for most.

    Nodes of other ``kinds`` have none. A duplicate is of the same kind and group, its cosine above ``DUPLICATE``; the
    lowest row of them stands for all.
    """
    into = np.arange(len(graph))
    edges = graph.edges
    close = np.flatnonzero((edges.kind == EdgeKind.SIMILARITY) & (edges.weight > DUPLICATE))
    for start in range(0, len(close), COLUMNS):
        rows = close[start : start + COLUMNS]
        source, target = edges.source[rows], edges.target[rows]
        alike = (graph.kinds[source] == graph.kinds[target]) & (graph.groups[source] == graph.groups[target])
        alike &= np.isin(graph.kinds[source], list(kinds))
        alike &= np.einsum("ij,ij->i", graph.embeddings[source], graph.embeddings[target]) > DUPLICATE
        for first, second in zip(source[alike].tolist(), target[alike].tolist(), strict=True):
            low, high = sorted((_root(into, first), _root(into, second)))
            into[high] = low
    return np.array([_root(into, row) for row in range(len(into))], np.int64)


def merge(graph: MemoryGraph, into: NDArray[np.int64]) -> MemoryGraph:
    """Return the graph with each node folded into ``into[row]``: uses add up, the higher importance stays."""
    stays = np.flatnonzero(into == np.arange(len(graph)))
    if len(stays) == len(graph):
        return graph
    importance, accesses, accessed = graph.importance.copy(), np.zeros(len(graph), np.int64), graph.accessed.copy()
    np.maximum.at(importance, into, graph.importance)
    np.add.at(accesses, into, graph.accesses)
    np.maximum.at(accessed, into, graph.accessed)
    place = np.full(len(graph), -1, np.int32)
    place[stays] = np.arange(len(stays), dtype=np.int32)
    merged = dataclasses.replace(graph, importance=importance, accesses=accesses, accessed=accessed)
    return _renumbered(merged, stays, place[into])


def _renumbered(graph: MemoryGraph, rows: NDArray[np.intp], place: NDArray[np.int32]) -> MemoryGraph:
    """Return the nodes of ``rows``, with edges between the nodes' new rows ``place``, -1 for none."""
    edges = graph.edges
    source, target = place[edges.source], place[edges.target]
    keep = (source >= 0) & (target >= 0) & (source != target)
    return MemoryGraph(
        ids=tuple(graph.ids[row] for row in rows),
        embeddings=selected(graph.embeddings, rows),
        importance=graph.importance[rows],
        kinds=graph.kinds[rows],
        groups=graph.groups[rows],
        group_names=graph.group_names,
        accesses=graph.accesses[rows],
        accessed=graph.accessed[rows],
        edges=GraphEdges.joined(
            len(rows), source[keep], target[keep], edges.kind[keep], edges.weight[keep], edges.reinforced[keep]
        ),
    )


def _root(into: NDArray[np.int64], row: int) -> int:
    while into[row] != row:
        row = int(into[row])
    return row
