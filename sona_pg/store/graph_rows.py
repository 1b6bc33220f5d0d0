"""The live tables of the memory graph: ``memory_nodes``, ``memory_edges``, ``memory_standing`` follow the live version.

A version holds its graph as arrays (part ``graph`` of its state). The tables hold that of ``spaces.graph_version``, so
that publishing writes the difference alone; a symmetric edge has a row in each direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, select, update

from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.state import Arrays
from sona_pg.store import standing_rows
from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import as_uuids
from sona_pg.store.edge_copy import copy_edges
from sona_pg.store.reals import Reals
from sona_pg.store.schema import spaces
from sona_pg.store.standing_rows import degrees
from sona_pg.store.stored_arrays import Holder, read_stored

NODE_KINDS = {
    kind: {NodeKind.TRAJECTORY: "query"}.get(kind, kind.name.lower()) for kind in NodeKind
}  # as SQL names them
EDGE_KINDS = {kind: {EdgeKind.CO_ACTIVATION: "co-activation"}.get(kind, kind.name.lower()) for kind in EdgeKind}

ROWS = 10_000  # of one statement
# Embeddings are taken from their source on the server; those of patterns are written before.
UPSERT_NODES = """
INSERT INTO sona.memory_nodes (space_id, dim, node_id, kind, pattern_id, candidate_id, trajectory_id, importance,
    access_count, last_accessed, degree, strength, created_version, updated_at, embedding, indexed)
SELECT %(space)s, %(dim)s, n.node_id, n.kind, p.pattern_id, c.candidate_id,
    CASE WHEN n.kind = 'query' THEN n.node_id END, n.importance, n.access_count,
    to_timestamp(nullif(n.accessed, 0) * 86400), n.degree, n.strength, n.created_version, %(at)s, v.embedding,
    false
FROM unnest(%(ids)s::uuid[], %(kinds)s::text[], %(slots)s::int[], %(places)s::int[], %(importance)s::real[],
    %(accesses)s::bigint[], %(accessed)s::double precision[], %(degrees)s::int[], %(strengths)s::real[],
    %(created)s::bigint[]) AS n (node_id, kind, slot, place, importance, access_count, accessed, degree, strength,
    created_version)
LEFT JOIN sona.patterns p ON p.space_id = %(space)s AND n.kind = 'pattern' AND p.dim = %(dim)s
    AND p.pattern_id = n.node_id
LEFT JOIN sona.candidates c ON c.space_id = %(space)s AND c.slot = n.slot AND n.slot >= 0
CROSS JOIN LATERAL (
    SELECT coalesce(p.centroid, c.embedding::vector, CASE WHEN n.place >= 0 THEN
        ((%(vectors)b)[n.place * %(dim)s + 1 : n.place * %(dim)s + %(dim)s])::vector END) AS embedding
) v
WHERE v.embedding IS NOT NULL
ON CONFLICT (space_id, dim, node_id) DO UPDATE SET
    importance = excluded.importance, access_count = excluded.access_count, last_accessed = excluded.last_accessed,
    degree = excluded.degree, strength = excluded.strength, updated_at = excluded.updated_at
"""
# Of nodes whose embedding stays as it is: to send it again would take eight bytes a number.
UPDATE_NODES = """
UPDATE sona.memory_nodes SET importance = n.importance, access_count = n.access_count,
    last_accessed = to_timestamp(nullif(n.accessed, 0) * 86400), degree = n.degree, strength = n.strength,
    updated_at = %(at)s
FROM unnest(%(ids)s::uuid[], %(importance)s::real[], %(accesses)s::bigint[], %(accessed)s::double precision[],
    %(degrees)s::int[], %(strengths)s::real[]) AS n (node_id, importance, access_count, accessed, degree, strength)
WHERE sona.memory_nodes.space_id = %(space)s AND sona.memory_nodes.dim = %(dim)s
    AND sona.memory_nodes.node_id = n.node_id
"""
DELETE_NODES = """
DELETE FROM sona.memory_nodes USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE sona.memory_nodes.space_id = %(space)s AND sona.memory_nodes.dim = %(dim)s
    AND sona.memory_nodes.node_id = gone.id
"""
UPSERT_EDGES = """
INSERT INTO sona.memory_edges (space_id, source_id, target_id, kind, weight, reinforced_at, created_version)
SELECT %(space)s, e.source_id, e.target_id, e.kind, e.weight, to_timestamp(e.reinforced * 86400), %(version)s
FROM unnest(%(sources)s::uuid[], %(targets)s::uuid[], %(kinds)s::text[], %(weights)s::real[],
    %(reinforced)s::double precision[]) AS e (source_id, target_id, kind, weight, reinforced)
ON CONFLICT (space_id, source_id, target_id, kind) DO UPDATE SET
    weight = excluded.weight, reinforced_at = excluded.reinforced_at
"""
DELETE_EDGES = """
DELETE FROM sona.memory_edges
USING unnest(%(sources)s::uuid[], %(targets)s::uuid[], %(kinds)s::text[]) AS gone (source_id, target_id, kind)
WHERE sona.memory_edges.space_id = %(space)s AND sona.memory_edges.source_id = gone.source_id
    AND sona.memory_edges.target_id = gone.target_id AND sona.memory_edges.kind = gone.kind
"""
# A centroid moves a little in every cycle; each row written again is an insertion into the index, by maintenance.
MOVED = """
UPDATE sona.memory_nodes SET embedding = p.centroid, indexed = false
FROM sona.patterns p
WHERE sona.memory_nodes.space_id = %(space)s AND p.space_id = %(space)s AND sona.memory_nodes.dim = %(dim)s
    AND p.dim = %(dim)s AND p.pattern_id = sona.memory_nodes.node_id
    AND (sona.memory_nodes.embedding <=> p.centroid) > 1e-4
"""
CHANGED = """
UPDATE sona.memory_nodes SET embedding = c.embedding::vector, updated_at = %(at)s, indexed = false
FROM sona.candidates c
WHERE sona.memory_nodes.space_id = %(space)s AND c.space_id = %(space)s AND sona.memory_nodes.dim = %(dim)s
    AND sona.memory_nodes.candidate_id = c.candidate_id AND c.changed_at > sona.memory_nodes.updated_at
"""
CLEAR = (
    "DELETE FROM sona.memory_edges WHERE space_id = %(space)s",
    "DELETE FROM sona.memory_nodes WHERE space_id = %(space)s",
    "DELETE FROM sona.memory_standing WHERE space_id = %(space)s",
)


def follow(
    connection: Connection,
    space_id: int,
    version: int,
    after: Arrays | None,
    at: datetime,
    known: tuple[int, Arrays | None] = (0, None),
) -> None:
    """Bring the tables to the graph ``after`` of the version going live; call it under ``lock_space``.

    Args:
        connection: in the publishing transaction, after patterns and candidates were written.
        space_id: of the space.
        version: that goes live.
        after: arrays of its graph, if it has one.
        at: time of the database.
        known: the live version and its graph; another one is read.
    """
    row = connection.execute(
        select(spaces.c.graph_version, spaces.c.dim, spaces.c.name).where(spaces.c.space_id == space_id)
    ).one()
    if row.graph_version is None and after is None:
        return
    before = known[1] if row.graph_version == known[0] else _stored(connection, space_id, row)
    values = {"space": space_id, "dim": row.dim, "version": version, "at": at}
    driver = driver_connection(connection)
    if before is None or after is None:
        for statement in CLEAR:
            driver.execute(statement, values)
    if after is not None:
        if after is not before:
            change = _Change(before, after)
            for statement, told in change.statements():
                driver.execute(statement, {**values, **told})
            if before is None:
                _copy_edges(driver, space_id, version, after)
        driver.execute(MOVED, values)
        driver.execute(CHANGED, values)
    connection.execute(
        update(spaces).where(spaces.c.space_id == space_id).values(graph_version=None if after is None else version)
    )


def read(connection: Connection, space_id: int, version: int) -> Arrays | None:
    """Return the arrays of a version's graph; None if it has none, or is not kept."""
    holder = Holder(str(space_id), version)
    found = {
        row.name: holder.array(f"part 'graph', array {row.name!r}", row.data, row.dtype, row.shape)
        for row in read_stored(connection, space_id, version, "graph")
    }
    return found or None


def _stored(connection: Connection, space_id: int, row: Any) -> Arrays | None:
    return None if row.graph_version is None else read(connection, space_id, row.graph_version)


def _copy_edges(driver: psycopg.Connection[Any], space_id: int, version: int, graph: Arrays) -> None:
    keys = np.asarray(graph["keys"], np.uint8)
    ends = keys[_sources(graph)], keys[np.asarray(graph["targets"])]
    kinds, weights = np.asarray(graph["edge_kinds"], np.uint8), np.asarray(graph["weights"], np.float32)
    names = {int(kind): name for kind, name in EDGE_KINDS.items()}
    copy_edges(driver, space_id, version, ends, kinds, weights, np.asarray(graph["reinforced"], np.float64), names)


class _Change:
    """Difference of two graphs, as statements."""

    def __init__(self, before: Arrays | None, after: Arrays) -> None:
        self._after = after
        self._names = _names(after)
        self._of_before = np.zeros(0, "S34") if before is None else _names(before)
        order = np.argsort(self._names, kind="stable")
        place = np.searchsorted(self._names, self._of_before, sorter=order)
        place = order[np.minimum(place, max(len(order) - 1, 0))] if len(order) else np.zeros(len(place), np.int64)
        same = self._names[place] == self._of_before if len(order) else np.zeros(len(place), np.bool_)
        self._place = np.where(same, place, -1)  # (n before,) row after, -1: gone
        self._before = before

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the statements in order, with their values, a few rows each; none that would change nothing.

        All values of a million edges at once would take a gigabyte, and longer to prepare than a transaction may idle.
        """
        if self._before is not None:
            for edges in _few(self._gone_edges()):
                yield DELETE_EDGES, _ends(self._before, edges)
            for gone in _few(np.flatnonzero(self._place < 0)):
                ids = {"ids": as_uuids(np.asarray(self._before["keys"], np.uint8)[gone])}
                yield DELETE_NODES, ids
                yield standing_rows.DELETE, ids
        changed, moved = self._changed_nodes(), self._scored_nodes()
        for rows in _few(np.flatnonzero(changed & moved)):
            yield UPDATE_NODES, self._scores(rows)
        for rows in _few(np.flatnonzero(changed & ~moved)):
            yield UPSERT_NODES, {**self._scores(rows), **self._sources(rows)}
        for rows in _few(standing_rows.changed(self._before, self._after, self._place)):
            yield standing_rows.UPSERT, standing_rows.values_of(self._after, rows)
        if self._before is None:
            return  # all edges are copied
        weights, reinforced = np.asarray(self._after["weights"]), np.asarray(self._after["reinforced"])
        for edges in _few(self._changed_edges()):
            told = {"weights": weights[edges].tolist(), "reinforced": reinforced[edges].tolist()}
            yield UPSERT_EDGES, {**_ends(self._after, edges), **told}

    def _changed_nodes(self) -> NDArray[np.bool_]:
        """Return which nodes of the graph after are new or changed."""
        changed = np.ones(len(self._names), np.bool_)
        if self._before is None:
            return changed
        kept = np.flatnonzero(self._place >= 0)
        rows = self._place[kept]
        same = np.ones(len(kept), np.bool_)
        for name in ("importance", "accesses", "accessed"):
            same &= np.asarray(self._before[name])[kept] == np.asarray(self._after[name])[rows]
        (old, was), (new, is_) = degrees(self._before), degrees(self._after)
        same &= (old[kept] == new[rows]) & (was[kept] == is_[rows])
        changed[rows[same]] = False
        return changed

    def _scored_nodes(self) -> NDArray[np.bool_]:
        """Return which nodes of the graph after have their own embedding, and had it before."""
        known = np.zeros(len(self._names), np.bool_)
        known[self._place[self._place >= 0]] = True
        return known & _has_vector(self._after)

    def _scores(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        after = self._after
        degree, strength = degrees(after)
        return {
            "ids": as_uuids(np.asarray(after["keys"], np.uint8)[rows]),
            "importance": np.asarray(after["importance"])[rows].tolist(),
            "accesses": np.asarray(after["accesses"])[rows].tolist(),
            "accessed": np.asarray(after["accessed"])[rows].tolist(),
            "degrees": degree[rows].tolist(),
            "strengths": strength[rows].tolist(),
        }

    def _sources(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        after = self._after
        kinds, own = np.asarray(after["kinds"]), _has_vector(after)
        chosen = rows[own[rows]]
        places = np.full(len(kinds), -1)
        places[chosen] = np.arange(len(chosen))
        vectors = np.asarray(after["vectors"])[(np.cumsum(own) - 1)[chosen]].astype(np.float32)
        return {
            "kinds": [NODE_KINDS[NodeKind(kind)] for kind in kinds[rows].tolist()],
            "slots": np.asarray(after["slots"])[rows].tolist(),
            "places": places[rows].tolist(),
            "created": np.asarray(after["created"])[rows].tolist(),
            "vectors": Reals(vectors),
        }

    def _gone_edges(self) -> NDArray[np.int64]:
        """Return the edges of the graph before that the one after lacks."""
        assert self._before is not None
        codes, lost = self._codes_before()
        after = _codes(self._after)  # rising
        rows = np.minimum(np.searchsorted(after, codes), max(len(after) - 1, 0))
        return np.flatnonzero(lost | (after[rows] != codes) if len(after) else np.ones(len(codes), np.bool_))

    def _changed_edges(self) -> NDArray[np.int64]:
        """Return the edges of the graph after that are new, or have another weight or moment."""
        assert self._before is not None
        codes = _codes(self._after)  # rising
        changed = np.ones(len(codes), np.bool_)
        old, lost = self._codes_before()
        kept = np.flatnonzero(~lost)
        rows = np.searchsorted(codes, old[kept])
        there = rows < len(codes)
        kept, rows = kept[there], rows[there]
        there = codes[rows] == old[kept]
        kept, rows = kept[there], rows[there]
        same = np.ones(len(kept), np.bool_)
        for name in ("weights", "reinforced"):
            same &= np.asarray(self._before[name])[kept] == np.asarray(self._after[name])[rows]
        changed[rows[same]] = False
        return np.flatnonzero(changed)

    def _codes_before(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the edges before as codes by the rows after, and which of them have lost an end."""
        assert self._before is not None
        source, target = _sources(self._before), np.asarray(self._before["targets"])
        ends = self._place[source], self._place[target]
        lost = (ends[0] < 0) | (ends[1] < 0)
        kinds = np.asarray(self._before["edge_kinds"], np.int64)
        return (ends[0] * len(EdgeKind) + kinds) * len(self._names) + ends[1], lost


def _few(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield ``rows`` in parts of a statement each."""
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))


def _names(graph: Arrays) -> NDArray[Any]:
    """Return kind and key of each node (n,) as comparable values."""
    whole = np.concatenate([np.asarray(graph["kinds"])[:, None], np.asarray(graph["keys"])], axis=1)
    hexadecimal = np.ascontiguousarray(whole, np.uint8).tobytes().hex()
    return np.array([hexadecimal[start : start + 34] for start in range(0, len(hexadecimal), 34)], "S34")


def _has_vector(graph: Arrays) -> NDArray[np.bool_]:
    """Return which nodes (n,) have an embedding of their own: those of patterns and candidates are beside them."""
    kinds = np.asarray(graph["kinds"])
    return np.asarray((kinds != NodeKind.PATTERN) & (kinds != NodeKind.CANDIDATE), np.bool_)


def _sources(graph: Arrays) -> NDArray[np.int64]:
    starts = np.asarray(graph["starts"], np.int64)
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def _codes(graph: Arrays) -> NDArray[np.int64]:
    """Return one number for each edge, rising in the order of storage."""
    source, target = _sources(graph), np.asarray(graph["targets"], np.int64)
    kinds = np.asarray(graph["edge_kinds"], np.int64)
    return np.asarray((source * len(EdgeKind) + kinds) * (len(np.asarray(graph["starts"])) - 1) + target, np.int64)


def _ends(graph: Arrays, edges: NDArray[np.int64]) -> dict[str, Any]:
    keys, starts = np.asarray(graph["keys"], np.uint8), np.asarray(graph["starts"])
    return {
        "sources": as_uuids(keys[np.searchsorted(starts, edges, side="right") - 1]),
        "targets": as_uuids(keys[np.asarray(graph["targets"])[edges]]),
        "kinds": [EDGE_KINDS[EdgeKind(kind)] for kind in np.asarray(graph["edge_kinds"])[edges].tolist()],
    }
