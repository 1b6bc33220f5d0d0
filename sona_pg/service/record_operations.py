"""Operations that record: trajectories whole, in batches, or begun and ended apart; and feedback."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from sona_pg.domain.answer import Decision, Ranking
from sona_pg.engine import AsyncSonaEngine
from sona_pg.errors import DatabaseUnavailable, InvalidValue
from sona_pg.recorder import Trajectory
from sona_pg.service.operations import Call, Once, Operations
from sona_pg.service.problems import ProblemError, field_problem, of_error
from sona_pg.service.recall_operations import require_few
from sona_pg.service.record_bodies import (
    BatchBody,
    Begun,
    ColumnsBody,
    EndBody,
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

log = logging.getLogger("sona_pg.service")

operations = Operations("record")
FloatRow = np.ndarray[Any, np.dtype[np.float32]]  # (dim,)

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
    handle = _filled(engine, body, vector, "", call.once)
    _end(engine, handle, body)
    if handle.refused:
        raise ProblemError(503, "the buffer is full, so the trajectory is not recorded: send it again")
    return {"id": handle.id}


@operations.add(
    "POST", "/v1/trajectories/batch", scope="record", body=BatchBody, answer=RecordedBatch, status=202, idempotent=True
)
async def record_trajectories(call: Call[BatchBody]) -> Any:
    """Record many whole trajectories: none of them if one is refused, which the problem names."""
    rows = call.body.trajectories
    require_few(call, len(rows), "/trajectories")
    engine = await call.engine()
    texts = [place for place, row in enumerate(rows) if row.vector is None]
    made = {}
    if texts:
        vectors = await embedded(call, [rows[place].text for place in texts], "/trajectories")
        made = dict(zip(texts, vectors, strict=True))

    def begin(place: int, id: UUID | None) -> Trajectory:
        pointer = f"/trajectories/{place}"
        vector = made.get(place)
        if vector is None:
            given = rows[place].vector
            assert given is not None
            vector = require_dim(given, engine.dim, f"{pointer}/vector")
        return _filled(engine, rows[place], vector, pointer, call.once, place, id)

    return {"ids": await _record_all(engine, len(rows), begin, lambda place, handle: _end(engine, handle, rows[place]))}


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
    """Record many trajectories given by columns: none of them if one is refused, which the problem names."""
    body = call.body
    n = len(body.vectors)
    require_few(call, n, "/vectors")
    engine = await call.engine()
    for name, column in (("qualities", body.qualities), ("routes", body.routes)):
        if column is not None and len(column) != n:
            raise field_problem(f"/{name}", f"{len(column)} {name} for {n} vectors: expected one each")
    require_dims(body.vectors, engine.dim, "/vectors")
    vectors, routes, qualities, once = body.vectors, body.routes, body.qualities, call.once
    recorder = engine.engine

    def begin(place: int, id: UUID | None) -> Trajectory:
        try:
            vector = row_of(vectors[place])
            if id is not None:
                handle = recorder.begin_trajectory(vector, id=id)
            elif once is not None:
                handle = recorder.begin_trajectory(vector, id=once.id(place), started_at=once.first)
            else:
                handle = recorder.begin_trajectory(vector)
            if routes is not None and (route := routes[place]) is not None:
                recorder.set_trajectory_route(handle, route)
        except InvalidValue as exc:
            raise field_problem(f"/vectors/{place}", str(exc)) from exc
        return handle

    def end(place: int, handle: Trajectory) -> None:
        recorder.end_trajectory(handle, None if qualities is None else qualities[place], latency=UNKNOWN)

    return {"ids": await _record_all(engine, n, begin, end)}


@operations.add(
    "POST",
    "/v1/trajectories/begin",
    scope="record",
    body=Begun,
    answer=Recorded,
    status=201,
    idempotent=True,
    waits=True,
)
async def begin_trajectory(call: Call[Begun]) -> Any:
    """Begin a trajectory that any server of the space goes on with and ends. It is stored when this returns."""
    engine = await call.engine()
    vector = await vector_of(call, call.body)
    handle = _begun(engine, call.body, vector, "", call.once)
    return {"id": await engine.share_trajectory(handle)}


@operations.add(
    "POST",
    "/v1/trajectories/{trajectory}/steps",
    scope="record",
    body=StepBody,
    answer=Recorded,
    status=201,
    idempotent=True,
    waits=True,
)
async def add_step(call: Call[StepBody]) -> Any:
    """Add a step to a trajectory that was begun on whichever server."""
    engine, step = await call.engine(), call.body
    id_ = _id(call)
    once = None if call.once is None else call.once.name
    what = (step.activations, step.attention_weights, step.reward)
    await engine.add_shared_step(id_, *what, once=once)
    return {"id": id_}


@operations.add(
    "POST",
    "/v1/trajectories/{trajectory}/end",
    scope="record",
    body=EndBody,
    answer=Recorded,
    status=202,
    idempotent=True,
    waits=True,
)
async def end_trajectory(call: Call[EndBody]) -> Any:
    """End a trajectory that was begun on whichever server; it is recorded from then on."""
    engine, body = await call.engine(), call.body
    id_ = _id(call)
    if body.route is not None:
        await engine.in_thread(engine.set_trajectory_route, id_, body.route)
    await engine.in_thread(engine.end_trajectory, id_, body.quality, latency=body.latency, cost=body.cost)
    return {"id": id_}


def _begun(
    engine: AsyncSonaEngine,
    body: Begun,
    vector: FloatRow,
    pointer: str,
    once: Once | None,
    place: int = 0,
    id: UUID | None = None,
) -> Trajectory:
    """Begin what ``body`` says, under ``id`` if it is begun once more."""
    name: UUID | str | None = body.id
    started_at = body.started_at
    if id is not None:
        name, started_at = id, None
    elif once is not None and name is None:
        name, started_at = once.id(place), started_at or once.first
    try:
        if name is None and started_at is None and body.decision is None and body.ranking is None:
            handle = engine.begin_trajectory(vector, query=body.query or body.text)
        else:
            handle = engine.begin_trajectory(
                vector,
                query=body.query or body.text,
                decision=None if body.decision is None else Decision.from_dict(body.decision.model_dump()),
                ranking=None if body.ranking is None else Ranking.from_dict(body.ranking.model_dump()),
                id=name,
                started_at=started_at,
            )
        for label in body.context:
            engine.add_trajectory_context(handle, label)
    except InvalidValue as exc:
        raise refusal(pointer, exc, type(body)) from exc
    return handle


def _filled(
    engine: AsyncSonaEngine,
    body: TrajectoryBody,
    vector: FloatRow,
    pointer: str,
    once: Once | None,
    place: int = 0,
    id: UUID | None = None,
) -> Trajectory:
    """Begin a whole trajectory and add everything but its end, which the checked body cannot make fail."""
    handle = _begun(engine, body, vector, pointer, once, place, id)
    try:
        if body.route is not None:
            engine.set_trajectory_route(handle, body.route)
        for step in body.steps:
            engine.add_step(handle, step.activations, step.attention_weights, step.reward)
        if body.parameters:
            engine.set_trajectory_parameters(handle, body.parameters)
    except InvalidValue as exc:
        raise refusal(pointer, exc, type(body)) from exc
    return handle


def _end(engine: AsyncSonaEngine, handle: Trajectory, body: TrajectoryBody) -> None:
    latency = UNKNOWN if body.latency is None else body.latency
    engine.end_trajectory(handle, body.quality, latency=latency, cost=body.cost)


async def _record_all(
    engine: AsyncSonaEngine,
    n: int,
    begin: Callable[[int, UUID | None], Trajectory],
    end: Callable[[int, Trajectory], None],
) -> list[UUID]:
    """Record ``n`` trajectories, which are checked by ``begin`` before the first is recorded; return their ids."""
    handles: list[Trajectory] = []
    try:
        for place in range(n):
            if place % AT_ONCE == 0:
                await asyncio.sleep(0)
            handles.append(begin(place, None))
        for place, handle in enumerate(handles):
            try:
                if place % AT_ONCE == 0:
                    await make_room(engine)
                end(place, handle)
                if handle.refused:  # the buffer is full: once there is room, under the same id
                    await engine.flush(10.0)
                    handle = begin(place, handle.id)
                    end(place, handle)
                if handle.refused:
                    raise DatabaseUnavailable("the buffer is full")
            except DatabaseUnavailable as exc:
                log.warning("%d of %d trajectories of a batch are recorded: %s", place, n, exc)
                told = f"the buffer is full: rows from {place} on are not recorded, send them again"
                raise ProblemError(503, told) from exc
    finally:
        for handle in handles:
            if not handle.ended:
                engine.engine.let_go(handle)
    return [handle.id for handle in handles]


def refusal(pointer: str, exc: InvalidValue, body: type[BaseModel]) -> ProblemError:
    """Return a refusal of the recorder as the problem of a field of the body at ``pointer``."""
    problem = of_error(exc, (*body.model_fields, "embedding"))
    place = problem.errors[0]["pointer"].replace("/embedding", "/vector") if problem.errors else ""
    return field_problem(f"{pointer}{place}", problem.detail)


def _id(call: Call[Any]) -> UUID:
    try:
        return UUID(call.path["trajectory"])
    except ValueError as exc:
        raise ProblemError(404, "no trajectory has such an id: expected a UUID") from exc


async def make_room(engine: AsyncSonaEngine) -> None:
    """Let other requests go on; wait for the writer where the buffer fills up."""
    await asyncio.sleep(0)
    if engine.waiting > 0.8 * engine.capacity:
        await engine.flush(10.0)
