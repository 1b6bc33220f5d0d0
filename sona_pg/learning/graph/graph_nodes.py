"""Nodes that leave the memory graph, or that another one takes the place of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN
from sona_pg.domain.memory import NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.learned_graph import LearnedGraph, has_vector

Rows = NDArray[np.int64]


def with_patterns(graph: LearnedGraph, patterns: Sequence[LearnedPattern]) -> LearnedGraph:
    """Return the graph without nodes of patterns that are gone; those merged into another one leave it their edges."""
    there = {pattern.id.bytes for pattern in patterns}
    rows = np.flatnonzero(graph.kinds == NodeKind.PATTERN)
    gone = [row for row in rows.tolist() if graph.keys[row].tobytes() not in there]
    if not gone:
        return graph
    into = {merged.bytes: pattern.id.bytes for pattern in patterns for merged in pattern.merged_from}
    row_of = {graph.keys[row].tobytes(): row for row in rows.tolist()}
    keys, place = graph.keys.copy(), np.arange(len(graph))
    for row in gone:
        heir = into.get(graph.keys[row].tobytes())
        if heir is None:
            place[row] = UNKNOWN
        elif heir in row_of:
            place[row] = row_of[heir]
        else:
            keys[row] = np.frombuffer(heir, np.uint8)
            row_of[heir] = row
    return selected(dataclasses.replace(graph, keys=keys), place)


def selected(graph: LearnedGraph, place: Rows) -> LearnedGraph:
    """Return the nodes whose ``place`` (n,) is their own row; edges and uses of others go to the node at ``place``.

    A node with the place ``UNKNOWN`` goes with its edges.
    """
    stay = np.flatnonzero(place == np.arange(len(graph)))
    row = np.full(len(graph) + 1, UNKNOWN, np.int32)  # the last one is that of no place
    row[stay] = np.arange(len(stay), dtype=np.int32)
    row[:-1] = row[place]
    accesses, accessed = np.zeros(len(stay), np.int64), graph.accessed[stay].copy()
    moved = np.flatnonzero(row[:-1] != UNKNOWN)
    np.add.at(accesses, row[moved], graph.accesses[moved])
    np.maximum.at(accessed, row[moved], graph.accessed[moved])
    edges = graph.edges
    source, target = row[edges.source], row[edges.target]
    keep = (source != UNKNOWN) & (target != UNKNOWN) & (source != target)
    return LearnedGraph(
        kinds=graph.kinds[stay],
        keys=graph.keys[stay],
        slots=graph.slots[stay],
        importance=graph.importance[stay],
        accesses=accesses,
        accessed=accessed,
        created=graph.created[stay],
        communities=graph.communities[stay],
        vectors=graph.vectors[np.isin(np.flatnonzero(has_vector(graph.kinds)), stay)],
        edges=GraphEdges.joined(
            len(stay), source[keep], target[keep], edges.kind[keep], edges.weight[keep], edges.reinforced[keep]
        ),
    )
