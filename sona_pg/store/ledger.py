"""The ledger: claiming what no cycle has learned from, and reading it into arrays by binary COPY."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Executable, Select, case, exists, func, insert, select, update

from sona_pg import kernels
from sona_pg.domain.ledger import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.store.connect import copy_query, driver_connection
from sona_pg.store.schema import batches, feedback, set_aside, steps, trajectories

Spec = Sequence[tuple[str, str] | tuple[str, str, int]]


def claim(connection: Connection, space_id: int, dim: int) -> LedgerSlice:
    """Read everything of a space that was committed and that no cycle has learned from.

    Call it under ``lock_space``, and ``mark`` the batches in the same transaction: then a fact is folded exactly
    once, whatever crashes. Which facts count is decided by the batches listed first, not by when each statement
    runs: what is committed meanwhile waits for the next cycle.
    """
    waiting = connection.execute(
        select(batches.c.batch, batches.c.first_id, batches.c.last_id).where(
            batches.c.space_id == space_id, batches.c.cycle_id.is_(None)
        )
    ).all()
    claimed = [row.batch for row in waiting]
    spans = [(row.first_id, row.last_id) for row in waiting if row.first_id is not None]
    in_claim = _in_claim(space_id, claimed, spans)
    read, unreadable = _read_trajectories(connection, in_claim, dim)
    facts = _facts(connection, space_id, claimed, in_claim)
    new = {trajectory for trajectory, rows in facts.items() if any(row["new"] for row in rows)}
    fresh_ids = read.uuids()
    skipped = {trajectory for trajectory, _ in unreadable}
    earlier = sorted(new - set(fresh_ids) - skipped)
    revised = read_by_id(connection, space_id, dim, earlier, learned_only=True)
    revised_ids = revised.uuids()
    return LedgerSlice(
        batches=claimed,
        fresh=read,
        steps=_read_steps(connection, in_claim, fresh_ids, dim),
        outcomes=_outcomes(read, fresh_ids, facts),
        revised=revised,
        before=_outcomes(
            revised, revised_ids, {key: [row for row in facts[key] if not row["new"]] for key in revised_ids}
        ),
        after=_outcomes(revised, revised_ids, facts),
        feedback=sum(row["new"] for rows in facts.values() for row in rows),
        waiting=len(earlier) - len(revised_ids),
        unreadable=unreadable,
    )


def mark(connection: Connection, space_id: int, claimed: Sequence[int], cycle_id: UUID) -> None:
    """Say that ``cycle_id`` has learned from the claimed batches."""
    connection.execute(
        update(batches).where(batches.c.space_id == space_id, batches.c.batch.in_(claimed)).values(cycle_id=cycle_id)
    )


def waiting_count(connection: Connection, space_id: int) -> int:
    """Return how many trajectories of the space wait to be learned from."""
    waiting = select(func.coalesce(func.sum(batches.c.trajectories), 0)).where(
        batches.c.space_id == space_id, batches.c.cycle_id.is_(None)
    )
    return int(connection.scalar(waiting) or 0)


def put_aside(connection: Connection, space_id: int, cycle_id: UUID, reasons: Sequence[tuple[UUID, str]]) -> None:
    """Record the trajectories that a cycle could not learn from."""
    if reasons:
        connection.execute(
            insert(set_aside),
            [
                {"space_id": space_id, "trajectory_id": trajectory, "cycle_id": cycle_id, "reason": reason}
                for trajectory, reason in reasons
            ],
        )


def read_by_id(
    connection: Connection, space_id: int, dim: int, ids: Sequence[UUID], *, learned_only: bool = False
) -> Trajectories:
    """Return those of ``ids`` that are stored, and readable; ``learned_only`` leaves out what no cycle has claimed."""
    if not ids:
        return _no_trajectories(dim)
    condition = (trajectories.c.space_id == space_id) & trajectories.c.id.in_(list(ids))
    if learned_only:
        unclaimed = exists().where(
            batches.c.space_id == space_id,
            batches.c.batch == trajectories.c.batch,
            batches.c.cycle_id.is_(None),
        )
        condition &= ~unclaimed
    return _read_trajectories(connection, select(trajectories).where(condition), dim)[0]


def read_outcomes(connection: Connection, space_id: int, stored: Trajectories) -> list[Outcome]:
    """Return the outcome of each stored trajectory by all feedback that is committed now."""
    ids = stored.uuids()
    if not ids:
        return []
    rows = connection.execute(
        select(feedback).where(feedback.c.space_id == space_id, feedback.c.trajectory_id.in_(ids))
    )
    facts: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.mappings():
        facts[row["trajectory_id"]].append({**row, "new": False})
    return _outcomes(stored, ids, facts)


def has_trajectory(connection: Connection, space_id: int, trajectory: UUID) -> bool:
    """Whether the trajectory is stored."""
    wanted = exists().where(trajectories.c.space_id == space_id, trajectories.c.id == trajectory)
    return bool(connection.scalar(select(wanted)))


def _in_claim(space_id: int, claimed: Sequence[int], spans: Sequence[tuple[UUID, UUID]]) -> Select[Any]:
    """Select the claimed trajectories; the span of ids lets the planner skip partitions and use the key."""
    query = select(trajectories).where(
        trajectories.c.space_id == space_id, trajectories.c.batch.in_(claimed if spans else [])
    )
    if spans:
        query = query.where(
            trajectories.c.id >= min(first for first, _ in spans),
            trajectories.c.id <= max(last for _, last in spans),
        )
    return query


def _read_trajectories(
    connection: Connection, wanted: Select[Any], dim: int
) -> tuple[Trajectories, list[tuple[UUID, str]]]:
    dims = func.vector_dims(trajectories.c.embedding)
    query = wanted.with_only_columns(
        trajectories.c.id,
        trajectories.c.quality,
        trajectories.c.latency_us,
        trajectories.c.propensity,
        trajectories.c.candidate_set,
        trajectories.c.route,
        trajectories.c.query,
        dims.label("dims"),
        case((dims == dim, trajectories.c.embedding)).label("embedding"),
    ).order_by(trajectories.c.id)
    spec: Spec = [
        ("id", "uuid"), ("quality", "float4"), ("latency_us", "int4"), ("propensity", "float4"),
        ("candidate_set", "int8"), ("route", "text"), ("query", "text"), ("dims", "int4"),
        ("embedding", "halfvec", dim),
    ]  # fmt: skip
    values, nulls = _copy(connection, query, spec)
    wrong = nulls["embedding"]
    reasons = [
        (
            UUID(bytes=values["id"][row].tobytes()),
            f"its embedding has {int(values['dims'][row])} dimensions, the space {dim}",
        )
        for row in np.flatnonzero(wrong)
    ]
    keep = np.flatnonzero(~wrong)
    return (
        Trajectories(
            ids=values["id"][keep],
            embeddings=values["embedding"][keep],
            quality=_nan_where(values["quality"], nulls["quality"])[keep],
            latency_us=_nan_where(values["latency_us"], nulls["latency_us"])[keep],
            propensity=_nan_where(values["propensity"], nulls["propensity"])[keep],
            candidate_sets=values["candidate_set"][keep],
            routes=[values["route"][row] for row in keep],
            queries=[values["query"][row] for row in keep],
        ),
        reasons,
    )


def _read_steps(connection: Connection, in_claim: Select[Any], ids: Sequence[UUID], dim: int) -> Steps:
    claimed = in_claim.subquery()
    fits = func.vector_dims(steps.c.activations) == dim
    query = (
        select(steps.c.trajectory_id, steps.c.reward, case((fits, steps.c.activations)).label("activations"))
        .join(claimed, (claimed.c.space_id == steps.c.space_id) & (claimed.c.id == steps.c.trajectory_id))
        .order_by(steps.c.trajectory_id, steps.c.ordinal)
    )
    spec: Spec = [("trajectory_id", "uuid"), ("reward", "float4"), ("activations", "halfvec", dim)]
    values, nulls = _copy(connection, query, spec)
    rows = {trajectory.bytes: row for row, trajectory in enumerate(ids)}
    owner = np.array([rows.get(key.tobytes(), -1) for key in values["trajectory_id"]], np.int64)
    keep = np.flatnonzero(owner >= 0)
    return Steps(
        trajectory=owner[keep],
        reward=values["reward"][keep].astype(np.float64),
        activations=values["activations"][keep],
        usable=~nulls["activations"][keep],
    )


def _facts(
    connection: Connection, space_id: int, claimed: Sequence[int], in_claim: Select[Any]
) -> Mapping[UUID, list[dict[str, Any]]]:
    """Return all feedback on fresh trajectories, and on those with new feedback; never what is not yet claimed."""
    arrived = select(feedback.c.trajectory_id).where(feedback.c.space_id == space_id, feedback.c.batch.in_(claimed))
    fresh = in_claim.with_only_columns(trajectories.c.id)
    later = exists().where(
        batches.c.space_id == space_id,
        batches.c.batch == feedback.c.batch,
        batches.c.cycle_id.is_(None),
        batches.c.batch.not_in(claimed),
    )
    facts: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    new = set(claimed)
    for about in (arrived, fresh):
        rows = connection.execute(
            select(feedback).where(feedback.c.space_id == space_id, feedback.c.trajectory_id.in_(about), ~later)
        ).mappings()
        found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            found[row["trajectory_id"]].append({**row, "new": row["batch"] in new})
        facts.update(found)
    return facts


def _outcomes(
    stored: Trajectories, ids: Sequence[UUID], facts: Mapping[UUID, Iterable[Mapping[str, Any]]]
) -> list[Outcome]:
    """Return each trajectory's outcome, as the view ``sona.outcomes`` defines it."""
    at_end = [None if np.isnan(value) else float(value) for value in stored.quality]
    return [
        _outcome(route, quality, facts.get(trajectory, ()))
        for trajectory, route, quality in zip(ids, stored.routes, at_end, strict=True)
    ]


def _outcome(route: str | None, at_end: float | None, facts: Iterable[Mapping[str, Any]]) -> Outcome:
    latest: dict[str, Mapping[str, Any]] = {}
    for fact in facts:
        if fact["source"] not in latest or fact["sequence"] > latest[fact["source"]]["sequence"]:
            latest[fact["source"]] = fact
    said = [
        fact["quality"] if fact["correction"] is None else float(fact["correction"] == route)
        for fact in latest.values()
        if fact["correction"] is not None or fact["quality"] is not None
    ]
    corrections = [fact["correction"] for fact in latest.values() if fact["correction"] is not None]
    return Outcome(float(np.mean(said)) if said else at_end, max(corrections, default=None))


def _copy(
    connection: Connection, query: Executable, spec: Spec
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
    decoder = kernels.CopyDecoder(spec)
    with driver_connection(connection).cursor().copy(copy_query(connection, query)) as copy:
        for chunk in copy:
            decoder.feed(chunk)
    return decoder.finish(), decoder.null_masks


def _nan_where(values: NDArray[Any], nulls: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(nulls, np.nan, values.astype(np.float64))


def _no_trajectories(dim: int) -> Trajectories:
    nothing = np.zeros(0)
    return Trajectories(
        np.zeros((0, 16), np.uint8), np.zeros((0, dim), np.float32), nothing, nothing, nothing,
        np.zeros(0, np.int64), [], [],
    )  # fmt: skip
