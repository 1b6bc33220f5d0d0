"""OTLP receiver: the telemetry of an instrumented application becomes trajectories and feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sona_pg.domain.ids import uuid7
from sona_pg.domain.telemetry_keys import TelemetryClaim
from sona_pg.engine import AsyncSonaEngine
from sona_pg.errors import ConfigError, InvalidValue
from sona_pg.service.genai_telemetry import EvaluationFact, ToldTrajectory, told_by
from sona_pg.service.operations import Call, Operations
from sona_pg.service.otlp_decoding import JSON, PROTOBUF, Signal, answered, decoded
from sona_pg.service.problems import ProblemError

operations = Operations("otlp")

TYPES = (JSON, PROTOBUF)


@operations.add("POST", "/v1/otlp/v1/traces", scope="record", answer=None, reads=TYPES)
async def export_traces(call: Call[Any]) -> Any:
    """Take spans of OpenTelemetry: each inference of a model or agent is a trajectory, its evaluations are feedback.

    Other spans are ignored. A span without the text of the user's message is rejected with a reason.
    """
    return await _exported(call, "traces")


@operations.add("POST", "/v1/otlp/v1/logs", scope="record", answer=None, reads=TYPES)
async def export_logs(call: Call[Any]) -> Any:
    """Take log records of OpenTelemetry: events `gen_ai.evaluation.result` are feedback, details trajectories."""
    return await _exported(call, "logs")


async def _exported(call: Call[Any], signal: Signal) -> Response:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    spans, events = await run_in_threadpool(decoded, signal, kind, await call.request.body())
    trajectories, facts, refused = told_by(
        spans, events, call.state.options.evaluation_scales, call.space, call.state.awaited
    )
    most = call.state.options.most_batch
    if len(trajectories) + len(facts) > most:
        raise ProblemError(
            413, f"{len(trajectories) + len(facts)} spans and evaluations at once: expected at most {most}"
        )
    doubts: list[str] = []
    if trajectories or facts:
        engine = await call.engine()
        claims = await _claims(call, engine, [*trajectories, *facts])
        refused += await _record(engine, trajectories, claims)
        doubts += [claim.doubt for claim in claims[: len(trajectories)] if claim.doubt]
        for fact, claim in zip(facts, claims[len(trajectories) :], strict=True):
            if claim.id is None:
                refused.append(claim.doubt)
                continue
            try:
                source = f"{call.caller.name}:{fact.source}"
                engine.feedback(claim.id, fact.quality, source=source, sequence=fact.at // 1000 or None)
            except InvalidValue as exc:
                refused.append(str(exc))
    return Response(answered(signal, kind, len(refused), next(iter([*refused, *doubts]), "")), media_type=kind)


async def _claims(
    call: Call[Any], engine: AsyncSonaEngine, told: Sequence[ToldTrajectory | EvaluationFact]
) -> list[TelemetryClaim]:
    """Return the trajectories that are told of; a new one has the time of what told of it first."""
    wanted = []
    for one in told:
        began = one.began if isinstance(one, ToldTrajectory) else one.at
        wanted.append((one.keys, uuid7(min(max(began // 1_000_000, 0), (1 << 48) - 1) if began else None)))
    space_id = engine.space_id
    if space_id is None:
        raise ProblemError(503, "the database has not answered yet, which knows the trajectories of spans")
    return await run_in_threadpool(call.state.store.telemetry.claim, space_id, wanted)


async def _record(
    engine: AsyncSonaEngine, told: Sequence[ToldTrajectory], claims: Sequence[TelemetryClaim]
) -> list[str]:
    """Record trajectories; return the reasons of those that are refused."""
    if not told:
        return []
    try:
        vectors = await engine.embed([one.text for one in told])
    except ConfigError as exc:
        raise ProblemError(422, str(exc)) from exc
    refused = []
    for one, claim, vector in zip(told, claims, vectors, strict=False):
        if claim.again:  # two instrumentations tell of one call: the first is recorded
            continue
        if not vector.any():
            refused.append("a message has no word that the space's embedder knows")
            continue
        try:
            handle = engine.begin_trajectory(vector, query=one.text, id=claim.id)
            if one.route is not None:
                engine.set_trajectory_route(handle, one.route)
            for label in one.labels:
                engine.add_trajectory_context(handle, label)
            if one.parameters:
                engine.set_trajectory_parameters(handle, one.parameters)
            engine.end_trajectory(handle, one.quality, latency=one.latency)
        except InvalidValue as exc:
            refused.append(str(exc))
            continue
        if handle.refused:
            raise ProblemError(503, "the buffer is full: send the request again")
    return refused
