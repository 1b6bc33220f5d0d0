"""Communities of the memory graph: groups of nodes that are joined among themselves more than to others.

Label propagation (Raghavan, Albert and Kumara 2007), weighted: each node takes the label that weighs most among its
neighbours, all nodes at once, where its own label counts as its heaviest neighbour. Nodes and their edges are looked at
a block at a time, so a graph of a million edges takes little memory beside its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.graph.edges import DIRECTED, GraphEdges
from sona_pg.learning.graph.learned_graph import NO_COMMUNITY, LearnedGraph

ROUNDS = 10  # at most; labels settle in fewer
BLOCK = 8192  # nodes looked at at once

Rows = NDArray[np.int64]
Labels = NDArray[np.int32]
Doubles = NDArray[np.float64]


def grouped(graph: LearnedGraph, now: float, half_life: float) -> LearnedGraph:
    """Return the graph with its communities as of ``now`` (days).

    They are numbered from 1. A community keeps its number as long as most of its nodes stay together; a new one takes
    the lowest number that is free, larger ones first.
    """
    labels = propagated(graph.edges, graph.edges.weights_at(now, half_life))
    return dataclasses.replace(graph, communities=numbered(labels, graph.communities))


def adopted(graph: LearnedGraph, now: float, half_life: float) -> LearnedGraph:
    """Return the graph with each node that has no community in that of its heaviest neighbours, in either direction.

    So a node that loop B has made belongs somewhere before the next deep cycle. A node whose neighbours are new as well
    is adopted after them; one that no path joins to a community has none.
    """
    communities, edges = graph.communities.copy(), graph.edges
    new = communities == NO_COMMUNITY
    if new.all() or not new.any():
        return graph
    forth = np.flatnonzero(new[edges.source])
    back = np.flatnonzero(new[edges.target] & np.isin(edges.kind, DIRECTED))
    node = np.concatenate([edges.source[forth], edges.target[back]]).astype(np.int64)
    other = np.concatenate([edges.target[forth], edges.source[back]])
    weights = edges.weights_at(now, half_life).astype(np.float64)[np.concatenate([forth, back])]
    while True:
        ready = communities[other] != NO_COMMUNITY
        if not ready.any():
            return dataclasses.replace(graph, communities=communities)
        nodes, best = _heaviest(node[ready], communities[other[ready]], weights[ready])
        communities[nodes] = best
        left = communities[node] == NO_COMMUNITY
        node, other, weights = node[left], other[left], weights[left]


def propagated(edges: GraphEdges, weights: NDArray[np.float32], rounds: int = ROUNDS) -> Labels:
    """Return the label (n,) of each node: the row of one node of its group; ``weights`` (m,) of the edges."""
    adjacent = _Adjacent(edges, weights)
    labels = np.arange(edges.nodes, dtype=np.int32)
    for _ in range(rounds):
        following = labels.copy()
        for nodes, voters, others, heavy in adjacent.blocks():
            own = nodes[adjacent.heaviest[nodes] > 0.0]
            found, best = _heaviest(
                np.concatenate([voters, own]),
                np.concatenate([labels[others], labels[own]]),
                np.concatenate([heavy, adjacent.heaviest[own]]),
            )
            following[found] = best
        if np.array_equal(following, labels):
            break
        labels = following
    return labels


def numbered(labels: Labels, before: Labels) -> Labels:
    """Return the number (n,) of each node's group by its ``labels`` (n,); ``before``: numbers that nodes have had."""
    groups, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    known = np.flatnonzero(before != NO_COMMUNITY)
    span = int(before.max(initial=0)) + 1
    shared, count = np.unique(group[known].astype(np.int64) * span + before[known], return_counts=True)
    numbers, taken = np.zeros(len(groups), np.int32), {NO_COMMUNITY}
    for pair in shared[np.lexsort((shared, -count))].tolist():
        one, number = divmod(pair, span)
        if numbers[one] == NO_COMMUNITY and number not in taken:
            numbers[one] = number
            taken.add(number)
    left = np.flatnonzero(numbers == NO_COMMUNITY)
    left = left[np.lexsort((left, -sizes[left]))]
    free = np.setdiff1d(np.arange(1, len(groups) + len(taken) + 1), list(taken))
    numbers[left] = free[: len(left)]
    return np.asarray(numbers[group], np.int32)


class _Adjacent:
    """Neighbours of each node in both directions, a row for each edge."""

    def __init__(self, edges: GraphEdges, weights: NDArray[np.float32]) -> None:
        back = np.flatnonzero(np.isin(edges.kind, DIRECTED))
        node = np.concatenate([edges.source, edges.target[back]])
        order = np.argsort(node, kind="stable")
        self._others = np.concatenate([edges.target, edges.source[back]])[order]
        self._weights = np.concatenate([weights, weights[back]])[order]
        self._starts = np.searchsorted(node[order], np.arange(edges.nodes + 1))
        self._nodes = edges.nodes
        self.heaviest = np.zeros(edges.nodes)  # (n,) weight of the neighbour that each node is joined to most
        for _, voters, others, heavy in self.blocks():
            pairs, summed = _summed(voters * edges.nodes + others, heavy)
            np.maximum.at(self.heaviest, pairs // edges.nodes, summed)

    def blocks(self) -> Iterator[tuple[Rows, Rows, Labels, Doubles]]:
        """Yield blocks of nodes; and of each edge that leaves one: that node, the other one, and the weight."""
        for first in range(0, self._nodes, BLOCK):
            nodes = np.arange(first, min(first + BLOCK, self._nodes))
            span = slice(int(self._starts[nodes[0]]), int(self._starts[nodes[-1] + 1]))
            voters = np.repeat(nodes, np.diff(self._starts[nodes[0] : nodes[-1] + 2]))
            yield nodes, voters, self._others[span], self._weights[span].astype(np.float64)


def _heaviest(nodes: Rows, labels: Labels, weights: Doubles) -> tuple[Rows, Labels]:
    """Return each of ``nodes`` (m,), once, and the label that weighs most there; of equal ones the lowest."""
    span = int(labels.max(initial=0)) + 1
    codes, total = _summed(nodes * span + labels, weights)
    node, label = codes // span, (codes % span).astype(np.int32)
    order = np.lexsort((label, -total, node))
    first = np.ones(len(order), np.bool_)
    first[1:] = node[order][1:] != node[order][:-1]
    chosen = order[first]
    return node[chosen], label[chosen]


def _summed(codes: Rows, weights: Doubles) -> tuple[Rows, Doubles]:
    """Return each code once, rising, and the sum of its weights."""
    order = np.argsort(codes, kind="stable")
    rising = codes[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = rising[1:] != rising[:-1]
    starts = np.flatnonzero(first)
    return rising[starts], np.add.reduceat(weights[order], starts) if len(starts) else weights
