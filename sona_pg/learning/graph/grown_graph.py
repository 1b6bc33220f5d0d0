"""Nodes that the sessions of a slice add to the memory graph, and the similarity edges of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.edges import Floats, GraphEdges
from sona_pg.learning.graph.learned_graph import NO_COMMUNITY, LearnedGraph, key_of_candidate
from sona_pg.learning.graph.memory_graph import LEAST_SIMILARITY, NEIGHBOURS
from sona_pg.learning.graph.session_events import SessionEvents

MOST_NEW = 4096  # candidates that become nodes in one cycle: each is inserted into an index at 0.4 ms
FIRST_IMPORTANCE = 0.5
BLOCK = 1024  # nodes compared with all others at once


def grown(
    graph: LearnedGraph, events: SessionEvents, patterns: Sequence[LearnedPattern], catalog: Catalog, version: int
) -> LearnedGraph:
    """Return the graph with the patterns activated, and the candidates used most that have no node yet."""
    every = (*events.activations, *events.revised)
    counts = Counter(activation.used for activation in every)
    known = {UNKNOWN, *graph.slots.tolist()}
    fresh = sorted((slot for slot in counts if slot not in known), key=lambda slot: (-counts[slot], slot))
    slots = sorted(fresh[:MOST_NEW])
    there = {key.tobytes() for key in graph.keys[graph.kinds == NodeKind.PATTERN]}
    activated = sorted({activation.pattern for activation in every} - {UNKNOWN})
    new = [patterns[place] for place in activated if patterns[place].id.bytes not in there]
    keys = [pattern.id.bytes for pattern in new]
    keys += [key_of_candidate(catalog.ids[slot]) for slot in slots]
    more = len(keys)
    if not more:
        return graph
    kinds = [NodeKind.PATTERN] * len(new) + [NodeKind.CANDIDATE] * len(slots)
    return LearnedGraph(
        kinds=_followed_by(graph.kinds, np.array(kinds, np.uint8)),
        keys=_followed_by(graph.keys, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)),
        slots=_followed_by(graph.slots, np.array([UNKNOWN] * len(new) + slots, np.int32)),
        importance=_followed_by(graph.importance, np.full(more, FIRST_IMPORTANCE, np.float32)),
        accesses=_followed_by(graph.accesses, np.zeros(more, np.int64)),
        accessed=_followed_by(graph.accessed, np.zeros(more)),
        created=_followed_by(graph.created, np.full(more, version, np.int64)),
        communities=_followed_by(graph.communities, np.full(more, NO_COMMUNITY, np.int32)),
        vectors=graph.vectors,
        edges=graph.edges.grown_to(len(graph) + more),
    )


def similarities(embeddings: Floats, first_new: int, now: float) -> GraphEdges:
    """Return edges from each node of ``embeddings`` (n, dim) from ``first_new`` on to the nodes nearest to it."""
    count, found = len(embeddings), []
    if count == first_new:
        return GraphEdges.empty(count)
    for start in range(first_new, count, BLOCK):
        cosines = embeddings[start : start + BLOCK] @ embeddings.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -1.0
        nearest = min(NEIGHBOURS, count)
        near = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        heavy = np.take_along_axis(cosines, near, 1)
        source = np.broadcast_to(start + own[:, None], near.shape)
        close = heavy >= LEAST_SIMILARITY
        found.append((source[close], near[close], heavy[close]))
    sources, targets, weights = (np.concatenate(column) for column in zip(*found, strict=True))
    ends = sources.astype(np.int32), targets.astype(np.int32)
    return GraphEdges.of(count, *ends, EdgeKind.SIMILARITY, weights.astype(np.float32), now)


def _followed_by(values: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values, more.astype(values.dtype)])
