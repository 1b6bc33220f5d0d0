"""Spreading activation: how much of a query's activation reaches each node, over each kind of edge.

One round of propagation (SONA's bridge to graph networks): a node is activated by itself and by its neighbours. Each
kind of edge gives a feature of its own, and ``mixing`` learns its weight. Features are computed for the nodes around
the best matches alone, so the cost grows with the neighbourhood, not with the graph.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph

FEATURES = (
    "own", "before", "after", "two_away", "group", "similar", "co_active", "dreamt", "hubness", "context", "used",
    "expected",
)  # fmt: skip
SEEDS = 64  # best matches that activation spreads from
BLOCK = 8192  # embeddings converted at once

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Activated:
    """Nodes that a query activates, with the features of each."""

    rows: Rows  # (m,) of the graph, rising
    features: Floats  # (m, len(FEATURES))


@dataclass(frozen=True, slots=True, eq=False)
class Primed:
    """Nodes that a version's learned graph expects of a query."""

    rows: Rows  # (r,) distinct
    used: Floats  # (r,) use by the patterns that the query is like
    expected: Floats  # (r,) after the context before the query

    @classmethod
    def nothing(cls) -> Primed:
        """Return no node."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class PreparedGraph:
    """A memory graph as of one moment, with everything that does not depend on a query."""

    embeddings: NDArray[np.floating]  # (n, dim) of length one, float16 or float32
    groups: NDArray[np.int32]  # (n,) number of the group, -1 without
    edges: GraphEdges
    weights: Floats  # (edges,) as of that moment
    before: Rows  # (n,) row of the node before in its sequence, -1 for none
    after: Rows  # (n,)
    mean: Floats  # (dim,) of the embeddings
    hubness: Floats  # (n,) mean cosine with all nodes: a node close to all others is weak evidence

    @classmethod
    def of(cls, graph: MemoryGraph, now: float, half_life: float) -> PreparedGraph:
        """Prepare ``graph`` for queries at ``now`` (days); edges lose half of their weight in ``half_life`` days."""
        edges = graph.edges
        rows = np.flatnonzero(edges.kind == EdgeKind.SEQUENCE)
        pairs = edges.source[rows], edges.target[rows]
        return cls._linked(np.asarray(graph.embeddings), graph.groups, edges, edges.weights_at(now, half_life), *pairs)

    @classmethod
    def in_order(
        cls,
        embeddings: NDArray[np.floating],
        groups: NDArray[np.int32],
        positions: NDArray[np.int64],
    ) -> PreparedGraph:
        """Prepare candidates (n, dim) of ``groups`` (n,), -1 for none, that follow each other by ``positions`` (n,)."""
        order = np.lexsort((positions, groups))
        first, second = order[:-1], order[1:]
        follow = (groups[first] == groups[second]) & (groups[first] >= 0)
        edges = GraphEdges.empty(len(embeddings))
        return cls._linked(embeddings, groups, edges, np.zeros(0, np.float32), first[follow], second[follow])

    @classmethod
    def _linked(
        cls,
        embeddings: NDArray[np.floating],
        groups: NDArray[np.int32],
        edges: GraphEdges,
        weights: Floats,
        first: NDArray[np.integer],
        second: NDArray[np.integer],
    ) -> PreparedGraph:
        before, after = np.full(len(embeddings), -1, np.int64), np.full(len(embeddings), -1, np.int64)
        after[first], before[second] = second, first
        mean = (
            embeddings.mean(axis=0, dtype=np.float32) if len(embeddings) else np.zeros(embeddings.shape[1], np.float32)
        )
        return cls(embeddings, groups, edges, weights, before, after, mean, _cosines(embeddings, mean))

    def joined(self, edges: GraphEdges, strength: Floats) -> PreparedGraph:
        """Return the same nodes with other edges, of ``strength`` (edges,)."""
        return dataclasses.replace(self, edges=edges, weights=strength)

    def activate(
        self, scores: Floats, context: Floats | None = None, seeds: int = SEEDS, primed: Primed | None = None
    ) -> Activated:
        """Return the nodes around the ``seeds`` best matches of a query, and those primed.

        Args:
            scores: (n,) match of the query with each node in units of cosine.
            context: (c, dim) unit embeddings of the context before the query, the latest last.
            seeds: best matches that activation spreads from.
            primed: what a learned graph expects.
        """
        count = len(self.embeddings)
        best = np.arange(count) if count <= seeds else np.argpartition(-scores, seeds - 1)[:seeds]
        rows = self._surroundings(best)
        if primed is not None:
            rows = np.union1d(rows, primed.rows)
        positive = np.maximum(scores, np.float32(0.0))
        before, after = self.before[rows], self.after[rows]
        features = np.zeros((len(rows), len(FEATURES)), np.float32)
        features[:, 0] = scores[rows]
        features[:, 1] = _of(before, positive)
        features[:, 2] = _of(after, positive)
        features[:, 3] = _of(_of_rows(before, self.before), positive) + _of(_of_rows(after, self.after), positive)
        features[:, 4] = self._group_best(positive)[rows]
        features[:, 5:8] = self._from_neighbours(rows, positive)
        features[:, 8] = self.hubness[rows]
        if context is not None and len(context):
            fading = np.exp2(np.arange(len(context), dtype=np.float32) - len(context))
            near = np.maximum(self.embeddings[rows].astype(np.float32) @ context.T, np.float32(0.0))
            features[:, 9] = near @ (fading / fading.sum())
        if primed is not None:
            places = np.searchsorted(rows, primed.rows)
            features[places, 10], features[places, 11] = primed.used, primed.expected
        return Activated(rows, features)

    def _surroundings(self, seeds: Rows) -> Rows:
        """Return the rows of ``seeds``, of all that an edge joins to one, and of two steps along a sequence."""
        edges = self.edges
        spans = [edges.target[edges.starts[row] : edges.starts[row + 1]] for row in seeds.tolist()]
        near = np.unique(np.concatenate([seeds, *spans]).astype(np.int64))
        linked = np.concatenate([near, self.before[near], self.after[near]])
        return np.unique(linked[linked >= 0])

    def _from_neighbours(self, rows: Rows, positive: Floats) -> Floats:
        """Return (len(rows), 3): mean over similar nodes, and bounded sums over co-active and dreamt ones."""
        edges = self.edges
        lengths = edges.starts[rows + 1] - edges.starts[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        flat = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths - edges.starts[rows], lengths)
        reached = self.weights[flat] * positive[edges.target[flat]]
        found = np.zeros((len(rows), 3), np.float32)
        for place, kind in enumerate((EdgeKind.SIMILARITY, EdgeKind.CO_ACTIVATION, EdgeKind.DREAM)):
            chosen = edges.kind[flat] == kind
            found[:, place] = np.bincount(owner[chosen], reached[chosen], len(rows))
            if kind is EdgeKind.SIMILARITY:
                heavy = np.bincount(owner[chosen], self.weights[flat][chosen], len(rows))
                found[:, place] /= np.maximum(heavy, 1.0)
        return np.minimum(found, np.float32(1.0))

    def _group_best(self, positive: Floats) -> Floats:
        """Return the highest activation in the group of each node (n,); 0 without a group."""
        groups = self.groups
        best = np.zeros(int(groups.max(initial=-1)) + 2, np.float32)  # the last one is that of no group
        np.maximum.at(best, groups, positive)
        best[-1] = 0.0
        return best[groups]


def _cosines(embeddings: NDArray[np.floating], direction: Floats) -> Floats:
    """Return ``embeddings @ direction`` (n,), a block at a time: half precision would be converted whole."""
    blocks = range(0, len(embeddings), BLOCK)
    products = [embeddings[at : at + BLOCK].astype(np.float32, copy=False) @ direction for at in blocks]
    return np.concatenate(products) if products else np.zeros(0, np.float32)


def _of(rows: Rows, values: Floats) -> Floats:
    """Return ``values`` at ``rows``, 0 where a row is -1."""
    return np.where(rows >= 0, values[rows], np.float32(0.0))


def _of_rows(rows: Rows, links: Rows) -> Rows:
    """Return ``links`` at ``rows``, -1 where a row is -1."""
    return np.where(rows >= 0, links[rows], -1)
