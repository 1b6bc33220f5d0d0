"""Candidates: what can be chosen, kept by id with its embedding, each with a fixed slot in the learned state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, cast, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import copy_arrays
from sona_pg.store.schema import candidates

# Locked in the order of the key: recorders lock the candidates they change in the same order.
ASSIGN_SLOTS = """
WITH waiting AS (
    SELECT candidate_id FROM sona.candidates WHERE space_id = %(space)s AND slot IS NULL
    ORDER BY candidate_id FOR NO KEY UPDATE
), placed AS (
    SELECT candidate_id, %(last)s + row_number() OVER (ORDER BY candidate_id) AS slot FROM waiting
)
UPDATE sona.candidates SET slot = placed.slot
FROM placed WHERE sona.candidates.space_id = %(space)s AND sona.candidates.candidate_id = placed.candidate_id
"""
READ_SETS = """
SELECT s.set_id, s.candidate_ids FROM unnest(%(ids)s::bigint[]) AS wanted (id)
JOIN sona.candidate_sets s ON s.space_id = %(space)s AND s.set_id = wanted.id
"""


def assign_slots(connection: Connection, space_id: int) -> int:
    """Give every candidate that has none the next free slot, in order of id; return how many were given.

    Call it under ``lock_space``.
    """
    driver = driver_connection(connection)
    used = connection.scalar(select(func.max(candidates.c.slot)).where(candidates.c.space_id == space_id))
    return driver.execute(ASSIGN_SLOTS, {"space": space_id, "last": -1 if used is None else int(used)}).rowcount


def read_candidates(connection: Connection, space_id: int, dim: int) -> tuple[list[str], NDArray[np.float32]]:
    """Return ids and embeddings (m, dim) float32 of all candidates with a slot, in order of slot."""
    query = (
        select(candidates.c.candidate_id, candidates.c.embedding)
        .where(candidates.c.space_id == space_id, candidates.c.slot.is_not(None))
        .order_by(candidates.c.slot)
    )
    values, _ = copy_arrays(connection, query, [("candidate_id", "text"), ("embedding", "halfvec", dim)])
    return list(values["candidate_id"]), values["embedding"]


def signal(connection: Connection, space_id: int) -> tuple[int, int]:
    """Return how many slots have been given, and how many candidates have none yet: new candidates change it.

    Both are read from an index.
    """
    of_space = candidates.c.space_id == space_id
    newest = select(func.max(candidates.c.slot)).where(of_space).scalar_subquery()
    waiting = select(func.count()).select_from(candidates).where(of_space, candidates.c.slot.is_(None))
    row = connection.execute(select(newest, waiting.scalar_subquery())).one()
    return 0 if row[0] is None else int(row[0]) + 1, int(row[1])


def read_new(connection: Connection, space_id: int, slots: int) -> list[str]:
    """Return the ids of candidates that are in no catalog of ``slots`` candidates, in order of id."""
    query = select(candidates.c.candidate_id).where(
        candidates.c.space_id == space_id, candidates.c.slot.is_(None) | (candidates.c.slot >= slots)
    )
    return list(connection.scalars(query.order_by(candidates.c.candidate_id)))


def read_embeddings(
    connection: Connection, space_id: int, dim: int, ids: Sequence[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """Return those of ``ids`` that are stored, with their embeddings (m, dim) float32."""
    # One literal, however many they are; a percent sign would be doubled as in a query with parameters.
    told = literal(json.dumps(list(ids)).replace("%", "\\u0025"))
    wanted = select(func.jsonb_array_elements_text(cast(told, JSONB)))
    query = select(candidates.c.candidate_id, candidates.c.embedding).where(
        candidates.c.space_id == space_id, candidates.c.candidate_id.in_(wanted)
    )
    values, _ = copy_arrays(connection, query, [("candidate_id", "text"), ("embedding", "halfvec", dim)])
    return list(values["candidate_id"]), values["embedding"]


def read_sets(connection: Connection, space_id: int, set_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """Return the candidate ids of each of the sets that are there."""
    driver = driver_connection(connection)
    return dict(driver.execute(READ_SETS, {"space": space_id, "ids": list(set_ids)}).fetchall())
