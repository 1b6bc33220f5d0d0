"""Edges of the memory graph as arrays: reinforced, decayed by arithmetic at read, and bounded in degree.

Edges are kept sorted by (source, kind, target), without duplicates; a symmetric edge is stored in both directions, so
that the neighbourhood of a node is one slice. A weight is in [0, 1] and moves by a share of the way that is left:
``n`` reinforcements at rate η take w to 1 − (1 − w)(1 − η)ⁿ, ``n`` weakenings to w(1 − η)ⁿ. The result depends on
the counts alone, not on the order in which servers report them. Similarity is a fact about the embeddings and does not
decay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.pair_uses import PairUses

DIRECTED = [kind for kind in EdgeKind if kind.directed]
RATE = 0.01  # SONA's edge update: share of the way that one use moves a weight

Indices = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class GraphEdges:
    """All edges between ``nodes`` nodes, by the rows of their ends."""

    nodes: int
    source: Indices  # (m,)
    target: Indices  # (m,)
    kind: NDArray[np.uint8]  # (m,) EdgeKind
    weight: Floats  # (m,) in [0, 1], at `reinforced`
    reinforced: NDArray[np.float64]  # (m,) days
    starts: NDArray[np.int64]  # (nodes + 1,): the edges of node i are starts[i]:starts[i + 1]

    @classmethod
    def empty(cls, nodes: int) -> GraphEdges:
        """Return a graph of ``nodes`` isolated nodes."""
        none = np.zeros(0, np.int32)
        return cls._sorted(nodes, none, none, np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0))

    @classmethod
    def of(
        cls,
        nodes: int,
        source: Indices,
        target: Indices,
        kind: EdgeKind,
        weight: Floats,
        now: float,
    ) -> GraphEdges:
        """Return edges of one kind; loops go, of duplicates the heaviest stays, symmetric ones go both ways."""
        keep = source != target
        source, target, weight = source[keep], target[keep], np.clip(weight[keep], 0.0, 1.0)
        if not kind.directed:
            source, target = np.concatenate([source, target]), np.concatenate([target, source])
            weight = np.concatenate([weight, weight])
        order = np.lexsort((-weight, target, source))
        source, target, weight = source[order], target[order], weight[order]
        first = np.ones(len(source), bool)
        first[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
        source, target, weight = source[first], target[first], weight[first]
        kinds = np.full(len(source), kind, np.uint8)
        return cls._sorted(nodes, source, target, kinds, weight, np.full(len(source), now))

    @classmethod
    def _sorted(
        cls,
        nodes: int,
        source: Indices,
        target: Indices,
        kind: NDArray[np.uint8],
        weight: Floats,
        reinforced: NDArray[np.float64],
    ) -> GraphEdges:
        order = np.lexsort((target, kind, source))
        return cls._in_order(nodes, source[order], target[order], kind[order], weight[order], reinforced[order])

    @classmethod
    def _in_order(
        cls,
        nodes: int,
        source: Indices,
        target: Indices,
        kind: NDArray[np.uint8],
        weight: Floats,
        reinforced: NDArray[np.float64],
    ) -> GraphEdges:
        """Return edges that are sorted."""
        source = np.asarray(source, np.int32)
        return cls(
            nodes,
            source,
            np.asarray(target, np.int32),
            np.asarray(kind, np.uint8),
            np.asarray(weight, np.float32),
            np.asarray(reinforced, np.float64),
            np.searchsorted(source, np.arange(nodes + 1)).astype(np.int64),
        )

    @classmethod
    def stored(
        cls,
        starts: NDArray[np.int64],
        target: Indices,
        kind: NDArray[np.uint8],
        weight: Floats,
        reinforced: NDArray[np.float64],
    ) -> GraphEdges:
        """Return edges as they were stored.

        An earlier build left some out of order, and so with the sources of others: of such a graph a symmetric edge
        counts where its opposite has the same weight.
        """
        nodes = len(starts) - 1
        source = np.repeat(np.arange(nodes, dtype=np.int32), np.diff(starts))
        if (np.diff(_codes(nodes, source, kind, target)) > 0).all():
            return cls(nodes, source, target, kind, weight, reinforced, starts)
        edges = cls.joined(nodes, source, target, kind, weight, reinforced)
        opposite = _find(edges, dataclasses.replace(edges, source=edges.target, target=edges.source))
        agreed = (opposite >= 0) & (edges.weight[opposite] == edges.weight)
        return edges.where((edges.source != edges.target) & (agreed | np.isin(edges.kind, DIRECTED)))

    def __len__(self) -> int:
        """Return the number of stored edges: symmetric ones count twice."""
        return len(self.source)

    def degrees(self) -> NDArray[np.int64]:
        """Return the number of edges that leave each node (nodes,)."""
        return np.diff(self.starts)

    def where(self, keep: NDArray[np.bool_]) -> GraphEdges:
        """Return the edges with ``keep`` (m,)."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep)
        return self._in_order(
            self.nodes,
            self.source[rows],
            self.target[rows],
            self.kind[rows],
            self.weight[rows],
            self.reinforced[rows],
        )

    def grown_to(self, nodes: int) -> GraphEdges:
        """Return the same edges with room for ``nodes`` nodes."""
        return self._in_order(nodes, self.source, self.target, self.kind, self.weight, self.reinforced)

    def weights_at(self, now: float, half_life: float) -> Floats:
        """Return the weights (m,) as of ``now``: halved for every ``half_life`` days without reinforcement."""
        age = np.where(self.kind == EdgeKind.SIMILARITY, 0.0, np.maximum(now - self.reinforced, 0.0))
        return np.asarray(self.weight * np.exp2(-age / half_life), np.float32)

    @classmethod
    def joined(
        cls,
        nodes: int,
        source: Indices,
        target: Indices,
        kind: NDArray[np.uint8],
        weight: Floats,
        reinforced: NDArray[np.float64],
    ) -> GraphEdges:
        """Return edges in any order as a graph; of duplicates the heaviest weight and the latest moment stay."""
        order = np.lexsort((-weight, target, kind, source))
        source, target, kind = source[order], target[order], kind[order]
        first = _first_of_each(source, kind, target)
        latest = np.maximum.reduceat(reinforced[order], np.flatnonzero(first)) if len(source) else reinforced
        return cls._in_order(nodes, source[first], target[first], kind[first], weight[order[first]], latest)

    def united(self, other: GraphEdges) -> GraphEdges:
        """Return the edges of both; where both have one, the heavier weight and the later moment stay."""
        return self.joined(
            max(self.nodes, other.nodes),
            np.concatenate([self.source, other.source]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.kind, other.kind]),
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.reinforced, other.reinforced]),
        )

    def reinforced_by(
        self, source: Indices, target: Indices, kind: EdgeKind, now: float, half_life: float, *, up: bool = True
    ) -> GraphEdges:
        """Return the edges after one use (``up``) or vain retrieval of each given pair; pairs may repeat.

        A pair without an edge gets one if it is used; its weight starts at 0.
        """
        pairs = GraphEdges.of(self.nodes, source, target, kind, np.zeros(len(source), np.float32), now)
        if not len(pairs):
            return self
        counts = _counts_of(pairs, source, target, symmetric=not kind.directed)
        grown = self.united(dataclasses.replace(pairs, reinforced=np.zeros(len(pairs)))) if up else self
        found = _find(grown, pairs)
        rows, counts = found[found >= 0], counts[found >= 0]
        weight = grown.weights_at(now, half_life)
        kept = (1.0 - RATE) ** counts
        moved = 1.0 - (1.0 - weight[rows]) * kept if up else weight[rows] * kept
        changed, at = grown.weight.copy(), grown.reinforced.copy()
        changed[rows], at[rows] = moved, now
        return dataclasses.replace(grown, weight=changed, reinforced=at)

    def learned(
        self, uses: PairUses, kind: EdgeKind, now: float, half_life: float, *, reverse: bool = False
    ) -> GraphEdges:
        """Return the edges after the uses and vain retrievals of some pairs, as if they had come evenly mixed.

        u uses and d vain retrievals draw a weight w towards t = u / (u + d): to t + (w − t)(1 − η)ᵘ⁺ᵈ. A pair without
        an edge gets one by its first use. ``reverse`` takes the uses back: exactly, but for decay and bounds.
        """
        uses = uses.summed(self.nodes, symmetric=not kind.directed)
        if not len(uses.source):
            return self
        have = _codes(self.nodes, self.source, self.kind, self.target)
        want = _codes(self.nodes, uses.source, np.full(len(uses.source), kind), uses.target)
        found = np.minimum(np.searchsorted(have, want), max(len(have) - 1, 0))
        known = have[found] == want if len(have) else np.zeros(len(want), np.bool_)
        weight = np.zeros(len(want))
        weight[known] = self.weights_at(now, half_life)[found[known]]
        count = (uses.ups + uses.downs).astype(np.float64)
        towards = uses.ups / count
        left = (1.0 - RATE) ** (-count if reverse else count)
        moved = np.clip(towards + (weight - towards) * left, 0.0, 1.0).astype(np.float32)
        changed, at = self.weight.copy(), self.reinforced.copy()
        changed[found[known]], at[found[known]] = moved[known], now
        same = dataclasses.replace(self, weight=changed, reinforced=at)
        new = ~known & (uses.ups > 0)
        if reverse or not new.any():
            return same
        first = GraphEdges._in_order(
            self.nodes,
            uses.source[new],
            uses.target[new],
            np.full(int(new.sum()), kind, np.uint8),
            moved[new],
            np.full(int(new.sum()), now),
        )
        return same.with_new(first)

    def with_new(self, other: GraphEdges) -> GraphEdges:
        """Return the edges of both; of the ``other`` ones, between nodes of this graph, none is here."""
        have = _codes(self.nodes, self.source, self.kind, self.target)
        places = np.searchsorted(have, _codes(self.nodes, other.source, other.kind, other.target))
        return self._in_order(
            self.nodes,
            np.insert(self.source, places, other.source),
            np.insert(self.target, places, other.target),
            np.insert(self.kind, places, other.kind),
            np.insert(self.weight, places, other.weight),
            np.insert(self.reinforced, places, other.reinforced),
        )

    def capped_by_kind(self, degree: int, now: float, half_life: float) -> GraphEdges:
        """Return the ``degree`` heaviest edges of each kind that leave each node; see ``capped``."""
        if not len(self):
            return self
        group = self.source.astype(np.int64) * len(EdgeKind) + self.kind
        starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        lengths = np.diff(np.append(starts, len(self)))
        if int(lengths.max()) <= degree:
            return self
        order = np.lexsort((self.target, -self.weights_at(now, half_life), group))
        place = np.empty(len(self), np.int64)
        place[order] = np.arange(len(self)) - np.repeat(starts, lengths)
        keep = place < degree
        return self.where(keep & self._mirrored(keep))

    def capped(self, degree: int, now: float, half_life: float) -> GraphEdges:
        """Return the ``degree`` heaviest edges of each node as of ``now``; a symmetric edge goes in both directions."""
        if not len(self) or int(self.degrees().max(initial=0)) <= degree:
            return self
        order = np.lexsort((self.target, -self.weights_at(now, half_life), self.source))
        place = np.empty(len(self), np.int64)
        place[order] = np.arange(len(self)) - np.repeat(self.starts[:-1], self.degrees())
        keep = place < degree
        return self.where(keep & self._mirrored(keep))

    def without_weak(self, least: float, now: float, half_life: float) -> GraphEdges:
        """Return the edges that weigh ``least`` or more as of ``now``."""
        return self.where(self.weights_at(now, half_life) >= least)

    def _mirrored(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return for each edge the value of ``keep`` for its opposite; its own where it is directed."""
        code = _codes(self.nodes, self.source, self.kind, self.target)
        mirror = np.searchsorted(code, _codes(self.nodes, self.target, self.kind, self.source))
        directed = np.isin(self.kind, DIRECTED)
        return np.where(directed, keep, keep[np.where(directed, np.arange(len(self)), mirror)])


def _codes(
    nodes: int, source: NDArray[np.integer], kind: NDArray[np.integer], target: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return one number for each edge, rising in the order of storage."""
    return np.asarray((source.astype(np.int64) * len(EdgeKind) + kind) * nodes + target, np.int64)


def _first_of_each(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    first = np.ones(len(columns[0]), bool)
    first[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return first


def _find(edges: GraphEdges, wanted: GraphEdges) -> NDArray[np.int64]:
    """Return the row in ``edges`` of each wanted edge, -1 where there is none."""
    nodes = max(edges.nodes, wanted.nodes)
    have = _codes(nodes, edges.source, edges.kind, edges.target)
    want = _codes(nodes, wanted.source, wanted.kind, wanted.target)
    rows = np.minimum(np.searchsorted(have, want), max(len(have) - 1, 0))
    return np.where(have[rows] == want, rows, -1) if len(have) else np.full(len(want), -1, np.int64)


def _counts_of(pairs: GraphEdges, source: Indices, target: Indices, *, symmetric: bool) -> NDArray[np.int64]:
    """Return how often each of ``pairs`` was named."""
    keep = source != target
    source, target = source[keep].astype(np.int64), target[keep].astype(np.int64)
    if symmetric:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    have = pairs.source.astype(np.int64) * pairs.nodes + pairs.target
    return np.bincount(np.searchsorted(have, source * pairs.nodes + target), minlength=len(pairs))
