"""Similarity edges of the nodes that have none yet: to their nearest nodes, a block of rows at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import LEAST_SIMILARITY, NEIGHBOURS, MemoryGraph
from sona_pg.learning.graph.node_vectors import Embeddings

ROWS = 256  # nodes linked at once
COLUMNS = 16_384  # compared with them at once: 16 MB

Rows = NDArray[np.int64]


def unlinked(graph: MemoryGraph) -> Rows:
    """Return the rows of the nodes without a similarity edge, except abstractions."""
    edges = graph.edges
    linked = np.zeros(len(graph), bool)
    linked[edges.source[edges.kind == EdgeKind.SIMILARITY]] = True
    return np.flatnonzero(~linked & (graph.kinds != NodeKind.ABSTRACTION))


def similar_to(graph: MemoryGraph, rows: Rows, now: float) -> GraphEdges:
    """Return edges from each of ``rows`` to its nearest nodes, weighed by cosine above ``LEAST_SIMILARITY``."""
    nearest, cosines = _nearest(graph.embeddings, rows, min(NEIGHBOURS, len(graph) - 1))
    close = cosines >= LEAST_SIMILARITY
    source = np.broadcast_to(rows[:, None], nearest.shape)[close].astype(np.int32)
    target = nearest[close].astype(np.int32)
    return GraphEdges.of(len(graph), source, target, EdgeKind.SIMILARITY, cosines[close], now)


def _nearest(embeddings: Embeddings, rows: Rows, count: int) -> tuple[Rows, NDArray[np.float32]]:
    """Return the ``count`` nearest other nodes (len(rows), count) of each row, and their cosines; ties by row."""
    best = np.full((len(rows), 0), -np.inf, np.float32)
    found = np.zeros((len(rows), 0), np.int64)
    own_rows = embeddings[rows]
    for start in range(0, len(embeddings), COLUMNS):
        cosines = own_rows @ embeddings[start : start + COLUMNS].T
        own = np.flatnonzero((rows >= start) & (rows < start + cosines.shape[1]))
        cosines[own, rows[own] - start] = -np.inf
        kept = min(count, cosines.shape[1])
        chosen = np.argpartition(cosines, cosines.shape[1] - max(kept, 1), axis=1)[:, cosines.shape[1] - kept :]
        best = np.concatenate([best, np.take_along_axis(cosines, chosen, 1)], axis=1)
        found = np.concatenate([found, chosen + start], axis=1)
        order = np.lexsort((found, -best), axis=1)[:, :count]
        best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
    return found, np.minimum(best, np.float32(1.0))
