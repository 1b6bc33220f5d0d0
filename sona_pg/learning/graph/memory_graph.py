"""The memory graph as one frozen value: nodes as arrays, their edges, and how both are made from embeddings and order.

Similarity edges join each node to its nearest ones; sequence edges join successive nodes of one group (a conversation,
a document); co-activation edges come from use, dream edges from dreams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind, MemoryEdge, MemoryNode, NodeKind
from sona_pg.errors import DimensionMismatch, MemoryGraphError
from sona_pg.learning.graph.edges import Floats, GraphEdges, Indices
from sona_pg.learning.graph.node_vectors import Embeddings, followed_by
from sona_pg.learning.vectors import unit

NEIGHBOURS = 8  # nearest nodes that a similarity edge goes to
LEAST_SIMILARITY = 0.3  # below it two nodes are not alike
SEQUENCE_WEIGHT = 1.0  # order is a fact, not an estimate
BLOCK = 2048  # rows of one product of embeddings
COLUMNS = 16_384  # and its columns: 128 MB


@dataclass(frozen=True, slots=True, eq=False)
class MemoryGraph:
    """Nodes and edges of one space."""

    ids: tuple[str, ...]
    embeddings: Embeddings  # (n, dim) of length one
    importance: Floats  # (n,) in [0, 1]
    kinds: NDArray[np.uint8]  # (n,) NodeKind
    groups: Indices  # (n,) place in `group_names`, -1 without a group
    group_names: tuple[str, ...]
    accesses: NDArray[np.int64]  # (n,)
    accessed: NDArray[np.float64]  # (n,) days
    edges: GraphEdges

    @classmethod
    def empty(cls, dim: int) -> MemoryGraph:
        """Return a graph without nodes."""
        return cls(
            ids=(),
            embeddings=np.zeros((0, dim), np.float32),
            importance=np.zeros(0, np.float32),
            kinds=np.zeros(0, np.uint8),
            groups=np.zeros(0, np.int32),
            group_names=(),
            accesses=np.zeros(0, np.int64),
            accessed=np.zeros(0, np.float64),
            edges=GraphEdges.empty(0),
        )

    @classmethod
    def of(cls, nodes: Sequence[MemoryNode], dim: int) -> MemoryGraph:
        """Return a graph of ``nodes`` without edges; see ``extended``."""
        return cls.empty(dim).extended(nodes)

    def extended(self, nodes: Sequence[MemoryNode]) -> MemoryGraph:
        """Return the graph with ``nodes`` after its own; no edge leads to them yet.

        Raises:
            DimensionMismatch: an embedding is of another dimension.
            MemoryGraphError: an id is taken, or an embedding has no direction.
        """
        dim, taken = self.embeddings.shape[1], set(self.ids)
        for node in nodes:
            if node.id in taken:
                raise MemoryGraphError(f"node {node.id!r} is there already: give every node an id of its own")
            taken.add(node.id)
            if np.shape(node.embedding) != (dim,):
                raise DimensionMismatch(dim, int(np.size(node.embedding)))
            if not np.isfinite(node.embedding).all() or not np.any(node.embedding):
                raise MemoryGraphError(
                    f"the embedding of node {node.id!r} has no direction: expected finite numbers that are not all 0"
                )
        embeddings = unit(np.array([node.embedding for node in nodes], np.float32).reshape(len(nodes), dim))
        numbers = {name: row for row, name in enumerate(self.group_names)}
        groups = [numbers.setdefault(node.group, len(numbers)) if node.group else -1 for node in nodes]
        total = len(self) + len(nodes)
        return MemoryGraph(
            ids=(*self.ids, *(node.id for node in nodes)),
            embeddings=followed_by(self.embeddings, embeddings),
            importance=_followed_by(self.importance, [min(max(node.importance, 0.0), 1.0) for node in nodes]),
            kinds=_followed_by(self.kinds, [node.kind for node in nodes]),
            groups=_followed_by(self.groups, groups),
            group_names=tuple(numbers),
            accesses=_followed_by(self.accesses, [node.access_count for node in nodes]),
            accessed=_followed_by(self.accessed, [node.last_accessed for node in nodes]),
            edges=self.edges.grown_to(total),
        )

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.ids)

    def node(self, row: int) -> MemoryNode:
        """Return one node as a value."""
        group = int(self.groups[row])
        return MemoryNode(
            id=self.ids[row],
            embedding=self.embeddings[row],
            importance=float(self.importance[row]),
            kind=NodeKind(int(self.kinds[row])),
            group=None if group < 0 else self.group_names[group],
            access_count=int(self.accesses[row]),
            last_accessed=float(self.accessed[row]),
        )

    def used(self, rows: Indices, now: float) -> MemoryGraph:
        """Return the graph with one more use of each of ``rows`` at ``now``; rows may repeat."""
        accesses, accessed = self.accesses.copy(), self.accessed.copy()
        np.add.at(accesses, rows, 1)
        np.maximum.at(accessed, rows, now)
        return dataclasses.replace(self, accesses=accesses, accessed=accessed)

    def with_edges(self, edges: GraphEdges) -> MemoryGraph:
        """Return the same nodes with other ``edges``."""
        return dataclasses.replace(self, edges=edges)

    def listed(self, now: float, half_life: float) -> list[MemoryEdge]:
        """Return all edges with their weights as of ``now``, symmetric ones once."""
        weights = self.edges.weights_at(now, half_life)
        return [
            MemoryEdge(self.ids[source], self.ids[target], EdgeKind(kind), float(weight), float(at))
            for source, target, kind, weight, at in zip(
                self.edges.source.tolist(),
                self.edges.target.tolist(),
                self.edges.kind.tolist(),
                weights.tolist(),
                self.edges.reinforced.tolist(),
                strict=True,
            )
            if source < target or EdgeKind(kind).directed
        ]

    def sequence_edges(self, now: float) -> GraphEdges:
        """Return an edge from each node to the next one of its group, in the order of the nodes."""
        order = np.argsort(self.groups, kind="stable")
        first, second = order[:-1], order[1:]
        follow = (self.groups[first] == self.groups[second]) & (self.groups[first] >= 0)
        source, target = first[follow].astype(np.int32), second[follow].astype(np.int32)
        weight = np.full(len(source), SEQUENCE_WEIGHT, np.float32)
        return GraphEdges.of(len(self), source, target, EdgeKind.SEQUENCE, weight, now)

    def similarity_edges(self, now: float, neighbours: int = NEIGHBOURS) -> GraphEdges:
        """Return edges to the ``neighbours`` nearest nodes of each, weighed by cosine above ``LEAST_SIMILARITY``."""
        sources, targets, weights = [], [], []
        embeddings = np.asarray(self.embeddings)
        for start in range(0, len(self), BLOCK):
            rows, cosines = nearest_nodes(embeddings, start, min(start + BLOCK, len(self)), neighbours)
            close = cosines >= LEAST_SIMILARITY
            sources.append(np.broadcast_to(np.arange(start, start + len(rows))[:, None], rows.shape)[close])
            targets.append(rows[close])
            weights.append(cosines[close])
        if not sources:
            return GraphEdges.empty(0)
        return GraphEdges.of(
            len(self),
            np.concatenate(sources).astype(np.int32),
            np.concatenate(targets).astype(np.int32),
            EdgeKind.SIMILARITY,
            np.concatenate(weights).astype(np.float32),
            now,
        )


def nearest_nodes(
    embeddings: NDArray[np.float32], start: int, stop: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ``count`` nearest other rows of rows ``start`` to ``stop``, and their cosines; ties by row."""
    total = len(embeddings)
    count = min(count, total - 1)
    best = np.full((stop - start, 0), -np.inf, np.float32)
    rows = np.zeros((stop - start, 0), np.int64)
    for column in range(0, total, COLUMNS):
        end = min(column + COLUMNS, total)
        cosines = embeddings[start:stop] @ embeddings[column:end].T
        own = np.arange(max(start, column), min(stop, end))
        cosines[own - start, own - column] = -np.inf
        kept = min(count, end - column)
        chosen = np.argpartition(-cosines, max(kept - 1, 0), axis=1)[:, :kept]
        best = np.concatenate([best, np.take_along_axis(cosines, chosen, 1)], axis=1)
        rows = np.concatenate([rows, chosen + column], axis=1)
        order = np.lexsort((rows, -best), axis=1)[:, :count]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows, best


def _followed_by(values: NDArray[Any], more: Sequence[float]) -> NDArray[Any]:
    return np.concatenate([values, np.array(more, values.dtype)])
