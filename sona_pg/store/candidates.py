"""Candidates: what can be chosen, kept by id with its embedding, each with a fixed slot in the learned state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

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


def read_sets(connection: Connection, space_id: int, set_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """Return the candidate ids of each of the sets that are there."""
    driver = driver_connection(connection)
    return dict(driver.execute(READ_SETS, {"space": space_id, "ids": list(set_ids)}).fetchall())
