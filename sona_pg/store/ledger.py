"""The ledger: claiming what no cycle has learned from, and reading it into arrays by binary COPY."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    Text,
    Uuid,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    select,
)

from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.limits import LONGEST_READ_QUERY, MAX_PARAMETER
from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import (
    Spec,
    as_uuids,
    copy_arrays,
    is_no_number_of,
    is_number_of,
    is_one_of,
    keys_of,
)
from sona_pg.store.schema import batches, cycles, feedback, set_aside, steps, trajectories

# A join: a condition on an array would be looked through for each row.
MARK = """
UPDATE sona.batches SET cycle_id = %(cycle)s
FROM unnest(%(claimed)s::bigint[]) AS claimed (batch)
WHERE sona.batches.space_id = %(space)s AND sona.batches.batch = claimed.batch AND sona.batches.cycle_id IS NULL
"""


def claim(connection: Connection, space_id: int, dim: int) -> LedgerSlice:
    """Read everything of a space that was committed and that no cycle has learned from.

    Which facts count is decided by the batches listed first, not by when each statement runs: what is committed
    meanwhile waits for the next cycle. A fact is folded exactly once because ``mark`` refuses batches that are marked.
    """
    waiting = _batches(connection, space_id, batches.c.cycle_id.is_(None))
    return _slice(connection, space_id, dim, waiting, unclaimed([row.batch for row in waiting]))


def claimed_by(connection: Connection, space_id: int, dim: int, cycle_id: UUID, version: int) -> LedgerSlice:
    """Read again what cycle ``cycle_id`` claimed to make ``version``, as the ledger was at that time."""
    return _slice(
        connection, space_id, dim, _batches(connection, space_id, batches.c.cycle_id == cycle_id), later_than(version)
    )


def later_than(version: int) -> ColumnElement[bool]:
    """Return the condition on ``batches``: not yet claimed when ``version`` was made.

    Batches in which a cycle found nothing to learn from are in no version, and hide nothing.
    """
    by_later_cycle = exists().where(
        cycles.c.space_id == batches.c.space_id, cycles.c.cycle_id == batches.c.cycle_id, cycles.c.version > version
    )
    return batches.c.cycle_id.is_(None) | by_later_cycle


def unclaimed(claimed: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition on ``batches``: by no cycle, and not ``claimed`` in this transaction."""
    return batches.c.cycle_id.is_(None) & is_no_number_of(batches.c.batch, claimed)


def _batches(connection: Connection, space_id: int, condition: ColumnElement[bool]) -> Sequence[Any]:
    return connection.execute(
        select(batches.c.batch, batches.c.first_id, batches.c.last_id)
        .where(batches.c.space_id == space_id, condition)
        .order_by(batches.c.batch)
    ).all()


def _slice(
    connection: Connection, space_id: int, dim: int, claim: Sequence[Any], hidden: ColumnElement[bool]
) -> LedgerSlice:
    """Return what the batches of ``claim`` hold; batches for which ``hidden`` holds are not there yet."""
    claimed = [row.batch for row in claim]
    spans = [(row.first_id, row.last_id) for row in claim if row.first_id is not None]
    read, unreadable = _read_trajectories(connection, _in_claim(space_id, claimed, spans), dim)
    facts = _facts(connection, space_id, claimed, read.ids, hidden)
    new = {trajectory for trajectory, said in facts.items() if any(fact.new for fact in said)}
    skipped = {trajectory.bytes for trajectory, _ in unreadable}
    earlier = sorted(new - set(keys_of(read.ids)) - skipped)
    revised = read_by_id(connection, space_id, dim, _as_rows(earlier), hidden)
    learned = {key: [fact for fact in facts[key] if not fact.new] for key in keys_of(revised.ids)}
    return LedgerSlice(
        batches=claimed,
        fresh=read,
        steps=_read_steps(connection, space_id, read.ids, dim),
        outcomes=_outcomes(read, facts),
        revised=revised,
        before=_outcomes(revised, learned),
        after=_outcomes(revised, facts),
        feedback=sum(fact.new for said in facts.values() for fact in said),
        waiting=len(earlier) - len(revised),
        unreadable=unreadable,
    )


def mark(connection: Connection, space_id: int, claimed: Sequence[int], cycle_id: UUID) -> bool:
    """Say that ``cycle_id`` has learned from the claimed batches; return False if one of them waits no longer."""
    values = {"space": space_id, "cycle": cycle_id, "claimed": list(claimed)}
    return driver_connection(connection).execute(MARK, values).rowcount == len(claimed)


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
    connection: Connection, space_id: int, dim: int, ids: NDArray[np.uint8], hidden: ColumnElement[bool]
) -> Trajectories:
    """Return those of ``ids`` (n, 16) that are stored and readable, and whose batch is not ``hidden``."""
    if not len(ids):
        return _no_trajectories(dim)
    condition = (trajectories.c.space_id == space_id) & is_one_of(trajectories.c.id, ids)
    condition &= ~exists().where(batches.c.space_id == space_id, batches.c.batch == trajectories.c.batch, hidden)
    return _read_trajectories(connection, select(trajectories).where(condition), dim)[0]


def count_stored(connection: Connection, space_id: int, ids: NDArray[np.uint8]) -> int:
    """Return how many of ``ids`` (n, 16), ascending and each once, are stored."""
    if not len(ids):
        return 0
    # Join rather than `= ANY`: pruning partitions per id costs more than the query.
    wanted = func.unnest(cast(literal(as_uuids(ids)), ARRAY(Uuid))).column_valued("wanted")
    first, last = UUID(bytes=ids[0].tobytes()), UUID(bytes=ids[-1].tobytes())
    stored = trajectories.c.id
    counted = select(func.count()).where(
        trajectories.c.space_id == space_id, stored == wanted, stored.between(first, last)
    )
    return int(connection.scalar(counted) or 0)


def read_outcomes(
    connection: Connection, space_id: int, stored: Trajectories, hidden: ColumnElement[bool]
) -> list[Outcome]:
    """Return the outcome of each stored trajectory by all feedback whose batch is not ``hidden``."""
    if not len(stored):
        return []
    about = (feedback.c.space_id == space_id) & is_one_of(feedback.c.trajectory_id, stored.ids)
    return _outcomes(stored, _read_facts(connection, about & ~_in_batch(space_id, hidden), ()))


def _in_claim(space_id: int, claimed: Sequence[int], spans: Sequence[tuple[UUID, UUID]]) -> Select[Any]:
    """Select the claimed trajectories; the span of ids lets the planner skip partitions and use the key."""
    query = select(trajectories).where(
        trajectories.c.space_id == space_id, is_number_of(trajectories.c.batch, claimed if spans else [])
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
        trajectories.c.cost,
        func.array_to_string(trajectories.c.features, ",").label("features"),
        trajectories.c.route,
        func.left(trajectories.c.query, LONGEST_READ_QUERY).label("query"),
        trajectories.c.lowest_reward,
        trajectories.c.parameters.cast(Text).label("parameters"),
        dims.label("dims"),
        case((dims == dim, trajectories.c.embedding)).label("embedding"),
    ).order_by(trajectories.c.id)
    spec: Spec = [
        ("id", "uuid"), ("quality", "float4"), ("latency_us", "int4"), ("propensity", "float4"),
        ("candidate_set", "int8"), ("cost", "float4"), ("features", "text"), ("route", "text"), ("query", "text"),
        ("lowest_reward", "float4"), ("parameters", "text"), ("dims", "int4"), ("embedding", "halfvec", dim),
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
    keep = np.flatnonzero(~wrong)
    return (
        Trajectories(
            ids=values["id"][keep],
            embeddings=values["embedding"][keep],
            quality=_nan_where(values["quality"], nulls["quality"])[keep],
            latency_us=_nan_where(values["latency_us"], nulls["latency_us"])[keep],
            propensity=_nan_where(values["propensity"], nulls["propensity"])[keep],
            candidate_sets=values["candidate_set"][keep],
            cost=_nan_where(values["cost"], nulls["cost"])[keep],
            features=_features(values["features"][keep]),
            routes=[values["route"][row] for row in keep],
            queries=[values["query"][row] for row in keep],
            lowest_reward=_nan_where(values["lowest_reward"], nulls["lowest_reward"])[keep],
            parameters=[_parameters(values["parameters"][row]) for row in keep],
        ),
        reasons,
    )


def _read_steps(connection: Connection, space_id: int, ids: NDArray[np.uint8], dim: int) -> Steps:
    fits = func.vector_dims(steps.c.activations) == dim
    query = (
        select(steps.c.trajectory_id, steps.c.reward, case((fits, steps.c.activations)).label("activations"))
        .where(steps.c.space_id == space_id, is_one_of(steps.c.trajectory_id, ids))
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


class _Fact(NamedTuple):
    """One row of the ledger of feedback."""

    source: str
    sequence: int
    quality: float | None
    correction: str | None
    new: bool  # whether the cycle claims it


Facts = Mapping[bytes, Sequence[_Fact]]  # by the trajectory's id


def _facts(
    connection: Connection,
    space_id: int,
    claimed: Sequence[int],
    fresh: NDArray[np.uint8],
    hidden: ColumnElement[bool],
) -> Facts:
    """Return all feedback on ``fresh`` (n, 16), and on what has new feedback; never what is ``hidden``."""
    arrived, _ = copy_arrays(
        connection,
        select(feedback.c.trajectory_id).where(
            feedback.c.space_id == space_id, is_number_of(feedback.c.batch, claimed)
        ),
        [("trajectory_id", "uuid")],
    )
    about = sorted({*keys_of(arrived["trajectory_id"]), *keys_of(fresh)})
    condition = (feedback.c.space_id == space_id) & is_one_of(feedback.c.trajectory_id, _as_rows(about))
    return _read_facts(connection, condition & ~_in_batch(space_id, hidden), claimed)


def _in_batch(space_id: int, which: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(batches.c.space_id == space_id, batches.c.batch == feedback.c.batch, which)


def _read_facts(
    connection: Connection, condition: ColumnElement[bool], claimed: Sequence[int]
) -> dict[bytes, list[_Fact]]:
    query = select(
        feedback.c.trajectory_id,
        feedback.c.source,
        feedback.c.sequence,
        feedback.c.quality,
        feedback.c.correction,
        feedback.c.batch,
    ).where(condition)
    spec: Spec = [
        ("trajectory_id", "uuid"), ("source", "text"), ("sequence", "int8"), ("quality", "float4"),
        ("correction", "text"), ("batch", "int8"),
    ]  # fmt: skip
    values, nulls = copy_arrays(connection, query, spec)
    rows = zip(
        values["source"],
        values["sequence"].tolist(),
        _none_where(nulls["quality"], values["quality"]),
        values["correction"],
        np.isin(values["batch"], claimed).tolist(),
        strict=True,
    )
    facts: dict[bytes, list[_Fact]] = defaultdict(list)
    for key, row in zip(keys_of(values["trajectory_id"]), rows, strict=True):
        facts[key].append(_Fact(*row))
    return facts


def _outcomes(stored: Trajectories, facts: Facts) -> list[Outcome]:
    """Return each trajectory's outcome, as the view ``sona.outcomes`` defines it."""
    at_end = _none_where(np.isnan(stored.quality), stored.quality)
    outcomes = [Outcome(quality) for quality in at_end]
    if facts:
        for row, key in enumerate(keys_of(stored.ids)):
            if said := facts.get(key):
                outcomes[row] = _outcome(stored.routes[row], at_end[row], said)
    return outcomes


def _outcome(route: str | None, at_end: float | None, facts: Sequence[_Fact]) -> Outcome:
    """Return the outcome that ``facts``, of which there are some, make of a trajectory."""
    said: dict[str, list[float]] = {}  # by source, oldest first, since it last took something back
    corrections: dict[str, str | None] = {}
    for fact in sorted(facts, key=lambda fact: (fact.source, fact.sequence)):  # in one order: sums depend on it
        corrections[fact.source] = fact.correction
        if fact.correction is not None:
            said.setdefault(fact.source, []).append(float(fact.correction == route))
        elif fact.quality is not None:
            said.setdefault(fact.source, []).append(fact.quality)
        else:
            said.pop(fact.source, None)
    if not said:
        return Outcome(at_end)
    earlier = [quality for history in said.values() for quality in history[:-1]]
    if at_end is not None:
        earlier.append(at_end)
    return Outcome(
        quality=float(np.mean([history[-1] for history in said.values()])),
        correction=max((name for name in corrections.values() if name is not None), default=None),
        worst=min(earlier, default=None),
    )


def _nan_where(values: NDArray[Any], nulls: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(nulls, np.nan, values.astype(np.float64))


def _features(texts: NDArray[Any]) -> NDArray[np.float32]:
    """Return (n, f) float32 of comma-separated numbers, NaN behind the shorter and where there are none."""
    rows = [np.array([] if text is None else text.split(","), np.float32) for text in texts]
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan, np.float32)
    for row, values in enumerate(rows):
        table[row, : len(values)] = values
    return table


def _parameters(text: str | None) -> dict[str, float] | None:
    """Return the settings that are numbers within what the recorder lets through."""
    if text is None:
        return None
    given = json.loads(text, parse_int=float)  # int() refuses numbers of very many digits
    return {
        name: float(value)
        for name, value in given.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_PARAMETER
    }


def _none_where(missing: NDArray[np.bool_], values: NDArray[Any]) -> list[float | None]:
    listed: list[float | None] = values.tolist()
    for row in np.flatnonzero(missing):
        listed[row] = None
    return listed


def _as_rows(ids: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)


def _no_trajectories(dim: int) -> Trajectories:
    nothing = np.zeros(0)
    return Trajectories(
        np.zeros((0, 16), np.uint8), np.zeros((0, dim), np.float32), nothing, nothing, nothing,
        np.zeros(0, np.int64), nothing, np.zeros((0, 0), np.float32), [], [], nothing, [],
    )  # fmt: skip
