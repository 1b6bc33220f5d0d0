"""Candidates: ids, embeddings and slots."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import ColumnElement, Connection, cast, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from sona_pg.domain.catalog import Catalog
from sona_pg.limits import LARGEST_TABLE
from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import Spec, copy_arrays
from sona_pg.store.leases import now
from sona_pg.store.reals import Reals
from sona_pg.store.schema import candidates

# Locked in the order of the key, as recorders do, so that they cannot deadlock.
LOCK_NEW = """
SELECT candidate_id FROM sona.candidates WHERE space_id = %(space)s AND slot IS NULL
ORDER BY candidate_id FOR NO KEY UPDATE
"""
# Without statistics of a table that has just grown, the planner may choose a nested loop over another index than the
# key, which reads the whole space for each candidate. With nested loops off it reads the space once, or sorts both
# sides.
NO_NESTED_LOOPS = "SET LOCAL enable_nestloop = off"
FEW = 1000  # up to so many candidates, single look-ups by key are faster
ASSIGN_SLOTS = """
UPDATE sona.candidates SET slot = placed.slot
FROM unnest(%(ids)s::text[], %(slots)s::int[]) AS placed (candidate_id, slot)
WHERE sona.candidates.space_id = %(space)s AND sona.candidates.candidate_id = placed.candidate_id
"""
# Sets above the size limit of learning stand for all candidates: their ids are not read. In the order of the key, as
# above.
PUT_IN = """
INSERT INTO sona.candidates (space_id, candidate_id, slot, recorded_at, retired_at, embedding)
SELECT %(space)s, given.id, given.slot, %(at)s,
    CASE WHEN given.id = ANY(%(retired)s::text[]) THEN %(retired_at)s::timestamptz END,
    ((%(embeddings)b)[(given.place - 1) * %(dim)s + 1 : given.place * %(dim)s])::halfvec
FROM unnest(%(ids)s::text[], %(slots)s::int[]) WITH ORDINALITY AS given (id, slot, place)
ORDER BY given.place
ON CONFLICT (space_id, candidate_id) DO UPDATE SET slot = excluded.slot
"""
READ_SETS = """
SELECT s.set_id, CASE WHEN cardinality(s.candidate_ids) <= %(most)s THEN s.candidate_ids ELSE '{}' END
FROM unnest(%(ids)s::bigint[]) AS wanted (id)
JOIN sona.candidate_sets s ON s.space_id = %(space)s AND s.set_id = wanted.id
"""
NEW = sql.SQL("""
SELECT slot, candidate_id, embedding FROM sona.candidates WHERE space_id = {space} AND slot >= {slot} AND slot < {end}
ORDER BY slot
""")
CHANGED_AND_NEW = sql.SQL("""
SELECT slot, candidate_id, embedding FROM (
    SELECT * FROM sona.candidates WHERE space_id = {space} AND slot < {slot} AND changed_at >= {since}
    UNION ALL
    SELECT * FROM sona.candidates WHERE space_id = {space} AND slot >= {slot} AND slot < {end}
) AS told ORDER BY slot
""")
NEVER = datetime.max.replace(tzinfo=UTC)


class CandidateSignal(NamedTuple):
    """Values that change with the candidates of a space."""

    slots: int = 0  # given
    unplaced: int = 0  # candidates without a slot
    changed: datetime | None = None  # when an embedding or a group was changed last
    retired: datetime | None = None  # when a candidate was retired or restored last


BYTES_AT_ONCE = 16 << 20  # of embeddings decoded at once
# Changes of embeddings up to this long before a catalog was read are read again: they may have been uncommitted then.
OVERLAP = timedelta(minutes=2)


def assign_slots(connection: Connection, space_id: int) -> int:
    """Assign the next free slots to candidates without one, in order of id; return their number.

    Call it under ``lock_space``, in a separate transaction: it may turn nested loops off.
    """
    driver = driver_connection(connection)
    ids = [row[0] for row in driver.execute(LOCK_NEW, {"space": space_id}).fetchall()]
    if not ids:
        return 0
    used = connection.scalar(select(func.max(candidates.c.slot)).where(candidates.c.space_id == space_id))
    first = 0 if used is None else int(used) + 1
    if len(ids) > FEW:
        driver.execute(NO_NESTED_LOOPS)
    values = {"space": space_id, "ids": ids, "slots": list(range(first, first + len(ids)))}
    return driver.execute(ASSIGN_SLOTS, values).rowcount


def has_new(connection: Connection, space_id: int) -> bool:
    """Return whether a candidate of the space has no slot yet."""
    new = exists().where(candidates.c.space_id == space_id, candidates.c.slot.is_(None))
    return bool(connection.scalar(select(new)))


def read_catalog(
    connection: Connection, space_id: int, dim: int, known: Catalog | None = None, at: datetime | None = None
) -> Catalog:
    """Return all candidates with a slot; for those in ``known``, only changed embeddings are read.

    ``at`` is the time by the database's clock, if it was read just now.
    """
    at = at or now(connection)
    known = usable(known, dim)
    catalog, more = known, []
    for slots, ids, halves in _blocks(connection, space_id, dim, len(known), since(known)):
        old = int(np.count_nonzero(slots < len(known)))  # they come first
        if old:
            catalog = catalog.changed(Catalog.of(ids[:old], halves[:old]))
        if old < len(ids):
            more.append(Catalog.of(ids[old:], halves[old:]))
    if more:
        added = _stacked(more)
        catalog = catalog.followed_by(added) if len(catalog) else added
    return catalog.as_of(at)


def usable(known: Catalog | None, dim: int) -> Catalog:
    """Return a catalog that was read from the store; an empty one in place of any other."""
    if known is None or known.read_at is None or known.dim != dim:
        return Catalog.of([], np.zeros((0, dim), np.float16))
    return known


def since(known: Catalog) -> datetime:
    """Return the time from which on embeddings may have changed that a catalog does not have."""
    return NEVER if known.read_at is None else known.read_at - OVERLAP


def _blocks(
    connection: Connection, space_id: int, dim: int, slot: int, since: datetime
) -> Iterator[tuple[NDArray[np.int32], list[str], NDArray[np.float16]]]:
    """Yield slots, ids and embeddings of candidates from ``slot`` on in parts, because decoding doubles their memory.

    The first part has also those of the slots before it that were changed ``since``.
    """
    size = max(256, BYTES_AT_ONCE // (4 * dim))
    spec: Spec = [("slot", "int4"), ("candidate_id", "text"), ("embedding", "halfvec", dim)]
    query = CHANGED_AND_NEW
    while True:
        told = query.format(space=space_id, since=since, slot=slot, end=slot + size)
        values, _ = copy_arrays(connection, told, spec)
        if len(values["slot"]):
            yield values["slot"], values["candidate_id"].tolist(), values["embedding"]
        if np.count_nonzero(values["slot"] >= slot) < size:
            return
        slot, query = slot + size, NEW


def _stacked(blocks: Sequence[Catalog]) -> Catalog:
    ids = [name for block in blocks for name in block.ids]
    return Catalog.of(ids, np.concatenate([block.halves for block in blocks]))


def _read(connection: Connection, dim: int, condition: ColumnElement[bool]) -> Catalog:
    query = select(candidates.c.candidate_id, candidates.c.embedding).where(condition).order_by(candidates.c.slot)
    values, _ = copy_arrays(connection, query, [("candidate_id", "text"), ("embedding", "halfvec", dim)])
    return Catalog.of(values["candidate_id"].tolist(), values["embedding"])


def put_in(
    connection: Connection, space_id: int, loaded: Catalog, retired: Collection[str], at: datetime, retired_at: datetime
) -> NDArray[np.int32]:
    """Store the missing candidates of a loaded version, those of ``retired`` as retired; return (m,) the slot of each.

    Existing ones keep embedding and slot, and whether they are retired. Call it under ``lock_space``.
    """
    query = select(candidates.c.candidate_id, candidates.c.slot).where(
        candidates.c.space_id == space_id, candidates.c.slot.is_not(None)
    )
    slots = {row.candidate_id: int(row.slot) for row in connection.execute(query)}
    free = max(slots.values(), default=-1) + 1
    new = [name for name in loaded.ids if name not in slots]
    slots.update(zip(new, range(free, free + len(new)), strict=True))
    in_order = sorted(new)
    for start in range(0, len(in_order), FEW):
        names = in_order[start : start + FEW]
        embeddings = loaded.halves[loaded.slots(names)].astype(np.float32)
        driver_connection(connection).execute(PUT_IN, {
            "space": space_id, "ids": names, "slots": [slots[name] for name in names], "at": at,
            "retired": [name for name in names if name in retired], "retired_at": retired_at,
            "dim": loaded.dim, "embeddings": Reals(embeddings),
        })  # fmt: skip
    return np.array([slots[name] for name in loaded.ids], np.int32)


def signal(connection: Connection, space_id: int) -> CandidateSignal:
    """Return values, from indexes, that change with new candidates, slots, embeddings, groups and retired ones."""
    of_space = candidates.c.space_id == space_id
    newest = select(func.max(candidates.c.slot)).where(of_space).scalar_subquery()
    waiting = select(func.count()).select_from(candidates).where(of_space, candidates.c.slot.is_(None))
    changed = select(func.max(candidates.c.changed_at)).where(of_space).scalar_subquery()
    latest = func.coalesce(candidates.c.restored_at, candidates.c.retired_at)
    retired = select(func.max(latest)).where(of_space, candidates.c.retired_at.is_not(None)).scalar_subquery()
    row = connection.execute(select(newest, waiting.scalar_subquery(), changed, retired)).one()
    return CandidateSignal(0 if row[0] is None else int(row[0]) + 1, int(row[1]), row[2], row[3])


def read_new(connection: Connection, space_id: int, slots: int) -> list[str]:
    """Return the ids of candidates outside a catalog of ``slots`` candidates, in order of id."""
    query = select(candidates.c.candidate_id).where(
        candidates.c.space_id == space_id, candidates.c.slot.is_(None) | (candidates.c.slot >= slots)
    )
    return list(connection.scalars(query.order_by(candidates.c.candidate_id)))


def read_order(connection: Connection, space_id: int) -> list[tuple[str, str, int]]:
    """Return id, group and position of every candidate in a group, by group and position."""
    query = select(candidates.c.candidate_id, candidates.c.group_name, candidates.c.position).where(
        candidates.c.space_id == space_id, candidates.c.group_name.is_not(None)
    )
    in_order = query.order_by(candidates.c.group_name, candidates.c.position, candidates.c.candidate_id)
    return [(row.candidate_id, row.group_name, int(row.position)) for row in connection.execute(in_order)]


def read_named(connection: Connection, space_id: int, dim: int, ids: Sequence[str]) -> Catalog:
    """Return those of ``ids`` that are stored, in any order, with their embeddings."""
    size = max(256, BYTES_AT_ONCE // (4 * dim))
    blocks = []
    for start in range(0, len(ids), size):
        # A single literal for any number of ids; a percent sign is doubled as in a query with parameters.
        told = literal(json.dumps(list(ids[start : start + size])).replace("%", "\\u0025"))
        wanted = select(func.jsonb_array_elements_text(cast(told, JSONB)))
        condition = (candidates.c.space_id == space_id) & candidates.c.candidate_id.in_(wanted)
        blocks.append(_read(connection, dim, condition))
    return _stacked(blocks) if blocks else Catalog.of([], np.zeros((0, dim), np.float16))


def read_changed(connection: Connection, space_id: int, dim: int, since: datetime | None) -> Catalog:
    """Return the candidates that were changed since then, and ``OVERLAP`` before, with their embeddings."""
    changed = candidates.c.changed_at
    recently = changed.is_not(None) if since is None else changed >= since - OVERLAP
    return _read(connection, dim, (candidates.c.space_id == space_id) & recently)


def read_sets(connection: Connection, space_id: int, set_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """Return the candidate ids of each stored set, except of sets that stand for all candidates."""
    values = {"space": space_id, "ids": list(set_ids), "most": LARGEST_TABLE}
    return dict(driver_connection(connection).execute(READ_SETS, values).fetchall())
