"""Operations that record: trajectories whole, in batches, or begun and ended apart; and feedback."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from sona_pg.domain.answer import Decision, Ranking
from sona_pg.engine import AsyncSonaEngine
from sona_pg.errors import InvalidValue
from sona_pg.recorder import Trajectory
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import ProblemError, field_problem, of_error
from sona_pg.service.record_bodies import (
    BatchBody,
    Begun,
    ColumnsBody,
    EndBody,
    FeedbackBatch,
    FeedbackBody,
    Noted,
    NotedBatch,
    Recorded,
    RecordedBatch,
    StepBody,
    TrajectoryBody,
)
from sona_pg.service.wire_vectors import (
    embedded,
    require_dim,
    require_dims,
    row_of,
    vector_of,
)

operations = Operations("record")

AT_ONCE = 250  # trajectories of a batch between two looks at other requests
UNKNOWN = math.nan  # latency: the trajectory did not run in this process


@operations.add(
    "POST", "/v1/trajectories", scope="record", body=TrajectoryBody, answer=Recorded, status=202, idempotent=True
)
async def record_trajectory(call: Call[TrajectoryBody]) -> Any:
    """Record a whole trajectory. It is committed within the flush interval of the service, a tenth of a second."""
    body = call.body
    engine = await call.engine()
    vector = await vector_of(call, body)
    return {"id": _record(engine, body, vector, "")}


@operations.add(
    "POST", "/v1/trajectories/batch", scope="record", body=BatchBody, answer=RecordedBatch, status=202, idempotent=True
)
async def record_trajectories(call: Call[BatchBody]) -> Any:
    """Record many whole trajectories. Where one is refused, those before it are recorded, and the problem names it."""
    rows = call.body.trajectories
    _require_few(call, len(rows), "/trajectories")
    engine = await call.engine()
    texts = [place for place, row in enumerate(rows) if row.vector is None]
    made = {}
    if texts:
        vectors = await embedded(call, [rows[place].text for place in texts], "/trajectories")
        made = dict(zip(texts, vectors, strict=True))
    ids = []
    for place, row in enumerate(rows):
        if place % AT_ONCE == 0:
            await _make_room(engine)
        pointer = f"/trajectories/{place}"
        vector = made.get(place)
        if vector is None:
            assert row.vector is not None
            vector = require_dim(row.vector, engine.dim, f"{pointer}/vector")
        ids.append(_record(engine, row, vector, pointer))
    return {"ids": ids}


@operations.add(
    "POST",
    "/v1/trajectories/columns",
    scope="record",
    body=ColumnsBody,
    answer=RecordedBatch,
    status=202,
    idempotent=True,
)
async def record_columns(call: Call[ColumnsBody]) -> Any:
    """Record many trajectories given by columns; none of them if a vector has another dimension than the space."""
    body = call.body
    n = len(body.vectors)
    _require_few(call, n, "/vectors")
    engine = await call.engine()
    for name, column in (("qualities", body.qualities), ("routes", body.routes)):
        if column is not None and len(column) != n:
            raise field_problem(f"/{name}", f"{len(column)} {name} for {n} vectors: expected one each")
    require_dims(body.vectors, engine.dim, "/vectors")
    none = [None] * n
    ids = []
    for start in range(0, n, AT_ONCE):
        await _make_room(engine)
        chunk = slice(start, start + AT_ONCE)
        rows = zip(body.vectors[chunk], (body.routes or none)[chunk], (body.qualities or none)[chunk], strict=True)
        for place, (vector, route, quality) in enumerate(rows, start):
            refused = engine.dropped_count
            try:
                id_ = _record_row(engine, row_of(vector), route, quality)
                if engine.dropped_count != refused:  # the buffer is full: once there is room, under the same id
                    await engine.flush(10.0)
                    refused = engine.dropped_count
                    _record_row(engine, row_of(vector), route, quality, id_)
            except InvalidValue as exc:
                raise field_problem(f"/vectors/{place}", str(exc)) from exc
            if engine.dropped_count != refused:
                raise ProblemError(503, f"the buffer is full: rows from {place} on are not recorded, send them again")
            ids.append(id_)
    return {"ids": ids}


@operations.add(
    "POST", "/v1/trajectories/begin", scope="record", body=Begun, answer=Recorded, status=201, idempotent=True
)
async def begin_trajectory(call: Call[Begun]) -> Any:
    """Begin a trajectory that any server of the space goes on with and ends. It is stored when this returns."""
    engine = await call.engine()
    vector = await vector_of(call, call.body)
    handle = _begun(engine, call.body, vector, "")
    return {"id": await engine.share_trajectory(handle)}


@operations.add(
    "POST", "/v1/trajectories/{trajectory}/steps", scope="record", body=StepBody, answer=Recorded, status=201
)
async def add_step(call: Call[StepBody]) -> Any:
    """Add a step to a trajectory that was begun on whichever server."""
    engine, step = await call.engine(), call.body
    id_ = _id(call)
    await engine.in_thread(engine.add_step, id_, step.activations, step.attention_weights, step.reward)
    return {"id": id_}


@operations.add("POST", "/v1/trajectories/{trajectory}/end", scope="record", body=EndBody, answer=Recorded, status=202)
async def end_trajectory(call: Call[EndBody]) -> Any:
    """End a trajectory that was begun on whichever server; it is recorded from then on."""
    engine, body = await call.engine(), call.body
    id_ = _id(call)
    if body.route is not None:
        await engine.in_thread(engine.set_trajectory_route, id_, body.route)
    await engine.in_thread(engine.end_trajectory, id_, body.quality, latency=body.latency, cost=body.cost)
    return {"id": id_}


@operations.add("POST", "/v1/feedback", scope="record", body=FeedbackBody, answer=Noted, status=202, idempotent=True)
async def give_feedback(call: Call[FeedbackBody]) -> Any:
    """Say how good a trajectory was, or what would have been right; its source is the key's name.

    It may come before its trajectory, weeks later, from any server, and again: of each source the latest counts.
    """
    return {"sequence": _feedback(await call.engine(), call, call.body, "")}


@operations.add(
    "POST", "/v1/feedback/batch", scope="record", body=FeedbackBatch, answer=NotedBatch, status=202, idempotent=True
)
async def give_feedbacks(call: Call[FeedbackBatch]) -> Any:
    """Give many facts of feedback."""
    facts = call.body.feedback
    _require_few(call, len(facts), "/feedback")
    engine = await call.engine()
    sequences = []
    for place, fact in enumerate(facts):
        if place % AT_ONCE == 0:
            await _make_room(engine)
        sequences.append(_feedback(engine, call, fact, f"/feedback/{place}"))
    return {"sequences": sequences}


def _begun(
    engine: AsyncSonaEngine, body: Begun, vector: np.ndarray[Any, np.dtype[np.float32]], pointer: str
) -> Trajectory:
    """Begin what ``body`` says."""
    try:
        if body.id is None and body.started_at is None and body.decision is None and body.ranking is None:
            handle = engine.begin_trajectory(vector, query=body.query or body.text)
        else:
            handle = engine.begin_trajectory(
                vector,
                query=body.query or body.text,
                decision=None if body.decision is None else Decision.from_dict(body.decision.model_dump()),
                ranking=None if body.ranking is None else Ranking.from_dict(body.ranking.model_dump()),
                id=body.id,
                started_at=body.started_at,
            )
        for label in body.context:
            engine.add_trajectory_context(handle, label)
    except InvalidValue as exc:
        raise _in(pointer, exc, type(body)) from exc
    return handle


def _record(
    engine: AsyncSonaEngine, body: TrajectoryBody, vector: np.ndarray[Any, np.dtype[np.float32]], pointer: str
) -> UUID:
    handle = _begun(engine, body, vector, pointer)
    refused = engine.dropped_count
    try:
        if body.route is not None:
            engine.set_trajectory_route(handle, body.route)
        for step in body.steps:
            engine.add_step(handle, step.activations, step.attention_weights, step.reward)
        if body.parameters:
            engine.set_trajectory_parameters(handle, body.parameters)
        engine.end_trajectory(
            handle, body.quality, latency=UNKNOWN if body.latency is None else body.latency, cost=body.cost
        )
    except InvalidValue as exc:
        raise _in(pointer, exc, type(body)) from exc
    if engine.dropped_count != refused:
        raise ProblemError(503, "the buffer is full, so the trajectory is not recorded: send it again")
    return handle.id


def _record_row(
    engine: AsyncSonaEngine,
    vector: np.ndarray[Any, np.dtype[np.float32]],
    route: str | None,
    quality: float | None,
    id_: UUID | None = None,
) -> UUID:
    handle = engine.begin_trajectory(vector, id=id_)
    if route is not None:
        engine.set_trajectory_route(handle, route)
    engine.end_trajectory(handle, quality, latency=UNKNOWN)
    return handle.id


def _feedback(engine: AsyncSonaEngine, call: Call[Any], fact: FeedbackBody, pointer: str) -> int:
    of_cost = fact.quality is None and fact.correction is None and not fact.retract
    try:
        return engine.feedback(
            fact.trajectory, fact.quality, source=None if of_cost else call.caller.name, correction=fact.correction,
            retract=fact.retract, sequence=fact.sequence, cost=fact.cost,
        )  # fmt: skip
    except InvalidValue as exc:
        raise _in(pointer, exc, FeedbackBody) from exc


def _in(pointer: str, exc: InvalidValue, body: type[BaseModel]) -> ProblemError:
    """Return a refusal of the recorder as the problem of a field of the body at ``pointer``."""
    problem = of_error(exc, (*body.model_fields, "embedding"))
    place = problem.errors[0]["pointer"].replace("/embedding", "/vector") if problem.errors else ""
    return field_problem(f"{pointer}{place}", problem.detail)


def _id(call: Call[Any]) -> UUID:
    try:
        return UUID(call.path["trajectory"])
    except ValueError as exc:
        raise ProblemError(404, "no trajectory has such an id: expected a UUID") from exc


def _require_few(call: Call[Any], n: int, pointer: str) -> None:
    most = call.state.options.most_batch
    if n > most:
        raise field_problem(pointer, f"{n} at once: expected at most {most}", 413)


async def _make_room(engine: AsyncSonaEngine) -> None:
    """Let other requests go on; wait for the writer where the buffer fills up."""
    await asyncio.sleep(0)
    if engine.waiting > 0.8 * engine.capacity:
        await engine.flush(10.0)
