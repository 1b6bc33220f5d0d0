"""Stored trajectories and their steps, read into arrays by binary COPY."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, Text, case, exists, func, literal_column, select

from sona_pg.domain.ledger_slice import Steps, Trajectories
from sona_pg.limits import LONGEST_READ_QUERY, MAX_PARAMETER
from sona_pg.store.claims import Claim, Horizon
from sona_pg.store.copying import Spec, among, copy_arrays, is_number_of, keys_of
from sona_pg.store.schema import batches, set_aside, steps, trajectories

# The last label of a session; a row without labels costs nothing.
SESSION = literal_column(
    """
    CASE WHEN sona.trajectories.context IS NOT NULL THEN (
        SELECT label FROM unnest(sona.trajectories.context) WITH ORDINALITY AS given (label, place)
        WHERE starts_with(label, 'session:') ORDER BY place DESC LIMIT 1) END
    """,
    Text,
).label("session")

Unreadable = list[tuple[UUID, str]]  # trajectories that cannot be learned from, with the reason


def read_claimed(
    connection: Connection, space_id: int, dim: int, claim: Claim
) -> tuple[Trajectories, Unreadable]:  # fmt: skip
    """Return the trajectories of the claimed batches; their span of ids lets the planner skip partitions."""
    if not claim.spans:
        return no_trajectories(dim), []
    query = select(trajectories).where(
        trajectories.c.space_id == space_id,
        is_number_of(trajectories.c.batch, claim.batches),
        trajectories.c.id.between(min(first for first, _ in claim.spans), max(last for _, last in claim.spans)),
    )
    read, _, unreadable = _read(connection, query, dim)
    return read, unreadable


def read_by_id(
    connection: Connection, space_id: int, dim: int, ids: NDArray[np.uint8], horizon: Horizon
) -> Trajectories:
    """Return the stored, readable trajectories among ``ids`` (n, 16) whose batch is visible."""
    if not len(ids):
        return no_trajectories(dim)
    condition = (trajectories.c.space_id == space_id) & among(trajectories.c.id, ids)
    read, numbers, _ = _read(connection, select(trajectories).where(condition), dim)
    seen = horizon.sees(connection, space_id, numbers)
    return read if seen.all() else read.take(np.flatnonzero(seen))


def read_seen(connection: Connection, space_id: int, ids: NDArray[np.uint8], horizon: Horizon) -> frozenset[bytes]:
    """Return the trajectories among ``ids`` (n, 16) in a visible batch, or in one that a rollback has left out."""
    condition = (trajectories.c.space_id == space_id) & among(trajectories.c.id, ids)
    rows = connection.execute(select(trajectories.c.id, trajectories.c.batch).where(condition)).all()
    numbers = np.array([row.batch for row in rows], np.int64)
    left_out = select(batches.c.batch).where(
        batches.c.space_id == space_id,
        is_number_of(batches.c.batch, np.unique(numbers).tolist()),
        batches.c.left_out_by.is_not(None),
    )
    seen = horizon.sees(connection, space_id, numbers) | np.isin(numbers, list(connection.scalars(left_out)))
    return frozenset(row.id.bytes for row, known in zip(rows, seen.tolist(), strict=True) if known)


def read_missing(connection: Connection, space_id: int, ids: NDArray[np.uint8]) -> frozenset[bytes]:
    """Return the trajectories among ``ids`` (n, 16) that are not stored."""
    condition = (trajectories.c.space_id == space_id) & among(trajectories.c.id, ids)
    stored = {id_.bytes for id_ in connection.scalars(select(trajectories.c.id).where(condition))}
    return frozenset(keys_of(ids)) - stored


def count_stored(connection: Connection, space_id: int, ids: NDArray[np.uint8]) -> int:
    """Return how many of the distinct ``ids`` (n, 16) are stored."""
    if not len(ids):
        return 0
    condition = (trajectories.c.space_id == space_id) & among(trajectories.c.id, ids)
    return int(connection.scalar(select(func.count()).select_from(trajectories).where(condition)) or 0)


def read_steps(connection: Connection, space_id: int, ids: NDArray[np.uint8], dim: int) -> Steps:
    """Return the steps of the trajectories ``ids`` (n, 16)."""
    fits = func.vector_dims(steps.c.activations) == dim
    query = (
        select(steps.c.trajectory_id, steps.c.reward, case((fits, steps.c.activations)).label("activations"))
        .where(steps.c.space_id == space_id, among(steps.c.trajectory_id, ids))
        .order_by(steps.c.trajectory_id, steps.c.ordinal)
    )
    spec: Spec = [("trajectory_id", "uuid"), ("reward", "float4"), ("activations", "halfvec", dim)]
    values, nulls = copy_arrays(connection, query, spec)
    rows = {trajectory: row for row, trajectory in enumerate(keys_of(ids))}
    return Steps(
        trajectory=np.array([rows[key] for key in keys_of(values["trajectory_id"])], np.int64),
        reward=values["reward"].astype(np.float64),
        activations=values["activations"],
        usable=~nulls["activations"],
    )


def no_trajectories(dim: int) -> Trajectories:
    """Return no trajectories."""
    nothing = np.zeros(0)
    return Trajectories(
        np.zeros((0, 16), np.uint8), np.zeros((0, dim), np.float32), nothing, nothing, nothing,
        np.zeros(0, np.int64), nothing, np.zeros((0, 0), np.float32), [], [], nothing, [], nothing, [],
    )  # fmt: skip


def no_steps(dim: int) -> Steps:
    """Return no steps."""
    return Steps(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, dim), np.float32), np.zeros(0, np.bool_))


def _read(
    connection: Connection, wanted: Select[Any], dim: int
) -> tuple[Trajectories, NDArray[np.int64], Unreadable]:  # fmt: skip
    """Return the wanted trajectories by id, their batches, and those of another dimension."""
    dims = func.vector_dims(trajectories.c.embedding)
    aside = exists().where(
        set_aside.c.space_id == trajectories.c.space_id, set_aside.c.trajectory_id == trajectories.c.id
    )
    query = (
        wanted.where(~aside)
        .with_only_columns(
            trajectories.c.id,
            trajectories.c.batch,
            trajectories.c.quality,
            trajectories.c.latency_us,
            trajectories.c.propensity,
            trajectories.c.candidate_set,
            trajectories.c.cost,
            trajectories.c.paid,
            func.array_to_string(trajectories.c.features, ",").label("features"),
            trajectories.c.route,
            func.left(trajectories.c.query, LONGEST_READ_QUERY).label("query"),
            trajectories.c.lowest_reward,
            trajectories.c.parameters.cast(Text).label("parameters"),
            SESSION,
            dims.label("dims"),
            case((dims == dim, trajectories.c.embedding)).label("embedding"),
        )
        .order_by(trajectories.c.id)
    )
    spec: Spec = [
        ("id", "uuid"), ("batch", "int8"), ("quality", "float4"), ("latency_us", "int4"), ("propensity", "float4"),
        ("candidate_set", "int8"), ("cost", "float4"), ("paid", "float4"),
        ("features", "text"), ("route", "text"), ("query", "text"),
        ("lowest_reward", "float4"), ("parameters", "text"), ("session", "text"),
        ("dims", "int4"), ("embedding", "halfvec", dim),
    ]  # fmt: skip
    values, nulls = copy_arrays(connection, query, spec)
    wrong = nulls["embedding"]
    reasons = [
        (
            UUID(bytes=values["id"][row].tobytes()),
            f"its embedding has {int(values['dims'][row])} dimensions, the space {dim}",
        )
        for row in np.flatnonzero(wrong)
    ]
    keep = np.flatnonzero(~wrong) if reasons else slice(None)
    read = Trajectories(
        ids=values["id"][keep],
        embeddings=values["embedding"][keep],
        quality=_nan_where(values["quality"], nulls["quality"])[keep],
        latency_us=_nan_where(values["latency_us"], nulls["latency_us"])[keep],
        propensity=_nan_where(values["propensity"], nulls["propensity"])[keep],
        candidate_sets=values["candidate_set"][keep],
        cost=_nan_where(values["cost"], nulls["cost"])[keep],
        features=_features(values["features"][keep]),
        routes=values["route"][keep].tolist(),
        queries=values["query"][keep].tolist(),
        lowest_reward=_nan_where(values["lowest_reward"], nulls["lowest_reward"])[keep],
        parameters=[None if text is None else _parameters(text) for text in values["parameters"][keep].tolist()],
        paid=_nan_where(values["paid"], nulls["paid"])[keep],
        sessions=values["session"][keep].tolist(),
    )
    return read, values["batch"][keep], reasons


def _nan_where(values: NDArray[Any], nulls: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(nulls, np.nan, values.astype(np.float64))


def _features(texts: NDArray[Any]) -> NDArray[np.float32]:
    """Return (n, f) float32 of comma-separated numbers, padded with NaN."""
    rows = {
        row: np.array(text.split(",") if text else [], np.float32)
        for row, text in enumerate(texts.tolist())
        if text is not None
    }
    table = np.full((len(texts), max(map(len, rows.values()), default=0)), np.nan, np.float32)
    for row, values in rows.items():
        table[row, : len(values)] = values
    return table


def _parameters(text: str) -> dict[str, float]:
    """Return the parameters that are numbers within the recorder's limits."""
    given = json.loads(text, parse_int=float)  # int() refuses numbers of very many digits
    return {
        name: float(value)
        for name, value in given.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_PARAMETER
    }
