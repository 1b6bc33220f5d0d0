"""Rows of ``memory_standing``: strength and community of each node of the live memory graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import Arrays
from sona_pg.store.copying import as_uuids

UPSERT = """
INSERT INTO sona.memory_standing (space_id, node_id, strength, community)
SELECT %(space)s, n.node_id, n.strength, nullif(n.community, 0)
FROM unnest(%(ids)s::uuid[], %(strengths)s::real[], %(communities)s::int[]) AS n (node_id, strength, community)
ON CONFLICT (space_id, node_id) DO UPDATE SET strength = excluded.strength, community = excluded.community
"""
DELETE = """
DELETE FROM sona.memory_standing USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE sona.memory_standing.space_id = %(space)s AND sona.memory_standing.node_id = gone.id
"""

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


def changed(before: Arrays | None, after: Arrays, place: Rows) -> Rows:
    """Return the nodes of the graph ``after`` that are new, or have another strength or community.

    ``place`` (n before,) is the row of each node in the graph after, -1 of one that is gone.
    """
    differs = np.ones(len(np.asarray(after["kinds"])), np.bool_)
    if before is not None:
        kept = np.flatnonzero(place >= 0)
        rows = place[kept]
        same = degrees(before)[1][kept] == degrees(after)[1][rows]
        same &= _communities(before)[kept] == _communities(after)[rows]
        differs[rows[same]] = False
    return np.flatnonzero(differs)


def values_of(graph: Arrays, rows: Rows) -> dict[str, Any]:
    """Return the values of ``UPSERT`` for some nodes."""
    return {
        "ids": as_uuids(np.asarray(graph["keys"], np.uint8)[rows]),
        "strengths": degrees(graph)[1][rows].tolist(),
        "communities": _communities(graph)[rows].tolist(),
    }


def degrees(graph: Arrays) -> tuple[Rows, Floats]:
    """Return the number of edges that leave each node, and the sum of their weights."""
    starts = np.asarray(graph["starts"], np.int64)
    sources = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    strength = np.bincount(sources, np.asarray(graph["weights"], np.float64), len(starts) - 1)
    return np.diff(starts), strength.astype(np.float32)


def _communities(graph: Arrays) -> NDArray[np.int32]:
    return np.asarray(graph.get("communities", np.zeros(len(np.asarray(graph["kinds"])))), np.int32)
