"""Judged queries of the ledger: what servers weigh before a cycle has learned it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, bindparam, func, or_, select, union

from sona_pg.domain.judged import Fact, JudgedQuery
from sona_pg.store.candidates import read_sets
from sona_pg.store.claims import later_than
from sona_pg.store.copying import Spec, among, as_ids, copy_arrays, is_number_of, keys_of
from sona_pg.store.schema import batches, feedback, spaces, trajectories
from sona_pg.store.trajectory_rows import SESSION

MOST_BATCHES = 512  # that are looked at for what waits: the newest


class Waiting(NamedTuple):
    """Batches that no cycle has learned from, in one snapshot with the live version."""

    live: int  # version
    batches: list[int]  # the newest ``MOST_BATCHES``, oldest first


# Built once: each server of a fleet reads it for each version.
WAITING = select(
    spaces.c.live_version,
    func.array(
        select(batches.c.batch)
        .where(batches.c.space_id == bindparam("space"), batches.c.cycle_id.is_(None), batches.c.left_out_by.is_(None))
        .order_by(batches.c.recorded_at.desc(), batches.c.batch.desc())
        .limit(MOST_BATCHES)
        .scalar_subquery()
    ),
).where(spaces.c.space_id == bindparam("space"))


def waiting_batches(connection: Connection, space_id: int) -> Waiting:
    """Return the newest batches that no cycle has learned from."""
    live, found = connection.execute(WAITING, {"space": space_id}).one()
    return Waiting(live, found[::-1])


def read_judged(
    connection: Connection,
    space_id: int,
    dim: int,
    version: int,
    numbers: Sequence[int],
    ids: NDArray[np.uint8],
    most: int,
) -> list[JudgedQuery]:
    """Return judged queries that are stored, with all that is said of each, oldest first.

    Args:
        connection: to the store.
        space_id: of the space.
        dim: of the space's embeddings; trajectories of another dimension are left out.
        version: new is what it has not learned, unless a rollback has left it out.
        numbers: of the batches, in which something is judged.
        ids: (n, 16) of other trajectories that are asked for.
        most: of those in the batches, the newest so many.
    """
    about = {*_judged_in(connection, space_id, numbers, most), *keys_of(ids)}
    if not about:
        return []
    wanted = as_ids(sorted(about))
    rows = _trajectories(connection, space_id, dim, wanted)
    facts = _facts(connection, space_id, wanted)
    told = {row["batch"] for row in rows} | {batch for said in facts.values() for _, batch in said}
    new = _new(connection, space_id, version, sorted(told))
    sets = _sets(connection, space_id, rows)
    found = []
    for row in rows:
        said = facts.get(row["id"], [])
        if not (row["is_ranking"] or row["decided"]) and all(fact.correction is None for fact, _ in said):
            continue
        found.append(
            JudgedQuery(
                trajectory=row["id"],
                query=row["embedding"],
                route=row["route"],
                quality=row["quality"],
                quality_is_new=row["batch"] in new,
                facts=tuple(fact._replace(new=batch in new) for fact, batch in said),
                is_ranking=row["is_ranking"],
                decided=row["decided"],
                features=row["features"],
                session=row["session"],
                candidate_set=row["candidate_set"],
                among=sets.get(row["candidate_set"]),
            )
        )
    return found


def _judged_in(connection: Connection, space_id: int, numbers: Sequence[int], most: int) -> list[bytes]:
    if not numbers:
        return []
    spans = select(batches.c.first_id, batches.c.last_id).where(
        batches.c.space_id == space_id, is_number_of(batches.c.batch, numbers), batches.c.first_id.is_not(None)
    )
    ends = connection.execute(spans).all()
    said = select(feedback.c.trajectory_id.label("id")).where(
        feedback.c.space_id == space_id, is_number_of(feedback.c.batch, numbers)
    )
    named = said.subquery()
    if ends:
        ranked = select(trajectories.c.id.label("id")).where(
            trajectories.c.space_id == space_id,
            trajectories.c.id.between(min(first for first, _ in ends), max(last for _, last in ends)),
            is_number_of(trajectories.c.batch, numbers),
            or_(trajectories.c.candidate_set.is_not(None), trajectories.c.propensity.is_not(None)),
            trajectories.c.quality.is_not(None),
        )
        named = union(said, ranked).subquery()
    return [row.bytes for row in connection.scalars(select(named.c.id).order_by(named.c.id.desc()).limit(most))]


def _trajectories(connection: Connection, space_id: int, dim: int, ids: NDArray[np.uint8]) -> list[dict[str, Any]]:
    table = trajectories.c
    is_ranking = and_(table.candidate_set.is_not(None), table.propensity.is_(None))
    query = (
        select(
            table.id, table.batch, table.quality, table.route, is_ranking.label("is_ranking"),
            table.propensity.is_not(None).label("decided"),
            func.array_to_string(table.features, ",").label("features"), SESSION, table.candidate_set, table.embedding,
        )
        .where(table.space_id == space_id, among(table.id, ids), func.vector_dims(table.embedding) == dim)
        .order_by(table.id)
    )  # fmt: skip
    spec: Spec = [
        ("id", "uuid"), ("batch", "int8"), ("quality", "float4"), ("route", "text"), ("is_ranking", "bool"),
        ("decided", "bool"), ("features", "text"), ("session", "text"), ("candidate_set", "int8"),
        ("embedding", "halfvec", dim),
    ]  # fmt: skip
    values, nulls = copy_arrays(connection, query, spec)
    halves = values["embedding"].astype(np.float16)
    return [
        {
            "id": key,
            "batch": int(values["batch"][row]),
            "quality": None if nulls["quality"][row] else float(values["quality"][row]),
            "route": values["route"][row],
            "is_ranking": bool(values["is_ranking"][row]),
            "decided": bool(values["decided"][row]),
            "features": _features(values["features"][row]),
            "session": values["session"][row],
            "candidate_set": int(values["candidate_set"][row]),
            "embedding": halves[row],
        }
        for row, key in enumerate(keys_of(values["id"]))
    ]


def _sets(connection: Connection, space_id: int, rows: Sequence[dict[str, Any]]) -> dict[int, tuple[str, ...]]:
    """Return the candidate sets that answered in sessions, which the memory graph counts."""
    named = sorted({row["candidate_set"] for row in rows if row["session"] is not None and row["candidate_set"]})
    found = read_sets(connection, space_id, named) if named else {}
    return {number: tuple(found.get(number, ())) for number in named}


def _features(text: str | None) -> NDArray[np.float32] | None:
    return np.array(text.split(","), np.float32) if text else None


def _facts(connection: Connection, space_id: int, ids: NDArray[np.uint8]) -> dict[bytes, list[tuple[Fact, int]]]:
    """Return all feedback on some trajectories, with the batch of each fact."""
    table = feedback.c
    query = select(
        table.trajectory_id, table.source, table.sequence, table.quality, table.correction, table.batch, table.paid
    ).where(table.space_id == space_id, among(table.trajectory_id, ids))  # fmt: skip
    said: dict[bytes, list[tuple[Fact, int]]] = defaultdict(list)
    for trajectory, source, sequence, quality, correction, batch, paid in connection.execute(query):
        said[trajectory.bytes].append((Fact(source, sequence, quality, correction, True, paid), batch))
    return said


def _new(connection: Connection, space_id: int, version: int, numbers: Sequence[int]) -> frozenset[int]:
    """Return which batches a version has not learned, and no rollback has left out."""
    query = select(batches.c.batch).where(
        batches.c.space_id == space_id,
        is_number_of(batches.c.batch, numbers),
        batches.c.left_out_by.is_(None),
        later_than(space_id, version),
    )
    return frozenset(connection.scalars(query))
