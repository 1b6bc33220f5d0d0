"""Fate of dreamt edges: use confirms them, the others die.

A dreamt edge is confirmed when its two nodes are used together after the dream: then it is as fresh as that use. One
that no use has confirmed for ``DREAM_LIFE`` goes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.edges import GraphEdges

DREAM_LIFE = 28.0  # days: four weekly cycles


def settled(edges: GraphEdges, now: float) -> tuple[GraphEdges, int, int]:
    """Return the edges after confirmed dreams were refreshed and stale ones removed, and the numbers of both."""
    dreamt = np.flatnonzero(edges.kind == EdgeKind.DREAM)
    used = np.flatnonzero(edges.kind == EdgeKind.CO_ACTIVATION)
    if not len(dreamt):
        return edges, 0, 0
    reinforced = edges.reinforced.copy()
    confirmed = np.zeros(0, np.int64)
    if len(used):
        names = edges.source.astype(np.int64) * edges.nodes + edges.target  # rising among edges of one kind
        at = np.minimum(np.searchsorted(names[used], names[dreamt]), len(used) - 1)
        since = np.where(names[used][at] == names[dreamt], edges.reinforced[used[at]], -np.inf)
        confirmed = dreamt[since > edges.reinforced[dreamt]]
        reinforced[confirmed] = since[since > edges.reinforced[dreamt]]
    stale = np.zeros(len(edges), bool)
    stale[dreamt] = now - reinforced[dreamt] > DREAM_LIFE
    kept = dataclasses.replace(edges, reinforced=reinforced).where(~stale)
    return kept, _pairs(edges, confirmed), _pairs(edges, np.flatnonzero(stale))


def _pairs(edges: GraphEdges, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
    return int((edges.source[rows] < edges.target[rows]).sum())
