"""Candidates: what can be chosen, kept by id with its embedding, each with a fixed slot in the learned state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB

from sona_pg.store.copying import copy_arrays
from sona_pg.store.schema import candidate_sets, candidates


def assign_slots(connection: Connection, space_id: int) -> int:
    """Give every candidate that has none the next free slot, in order of id; return how many slots there are.

    Call it under ``lock_space``.
    """
    used = connection.scalar(select(func.max(candidates.c.slot)).where(candidates.c.space_id == space_id))
    first = 0 if used is None else int(used) + 1
    new = connection.scalars(
        select(candidates.c.candidate_id)
        .where(candidates.c.space_id == space_id, candidates.c.slot.is_(None))
        .order_by(candidates.c.candidate_id)
        .with_for_update(key_share=True)
    ).all()
    if new:
        connection.execute(
            update(candidates)
            .where(candidates.c.space_id == space_id, candidates.c.candidate_id == bindparam("of_id"))
            .values(slot=bindparam("its_slot")),
            [{"of_id": name, "its_slot": first + index} for index, name in enumerate(new)],
        )
    return first + len(new)


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
    """Return the candidate ids of each of the sets."""
    if not set_ids:
        return {}
    rows = connection.execute(
        select(candidate_sets.c.set_id, candidate_sets.c.candidate_ids).where(
            candidate_sets.c.space_id == space_id, candidate_sets.c.set_id.in_(list(set_ids))
        )
    )
    return {row.set_id: row.candidate_ids for row in rows}
