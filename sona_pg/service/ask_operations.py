"""Operations that ask: adapt, rank, route, patterns, search; and storing candidates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel, Field

from sona_pg.domain.pattern import LearnedPattern, PatternKind
from sona_pg.domain.verdict import Verdict
from sona_pg.errors import UnknownCandidate
from sona_pg.limits import LONGEST_QUERY, MAX_FEATURES, MAX_LAYERS, MOST_EXPLORATION, MOST_FOUND
from sona_pg.service.asked_context import AskedInContext, context_of
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.record_bodies import Amount, DecisionBody, Id, RankingBody, Share
from sona_pg.service.wire_vectors import STRICT, Asked, Encoding, WireMatrix, embedded, matrix_of, told, vector_of

operations = Operations("ask")

Count = Annotated[int, Field(ge=1, le=1000)]
Found = Annotated[int, Field(ge=1, le=MOST_FOUND)]


class AdaptBody(Asked):
    """A vector, or many, to be adapted."""

    model_config = Asked.model_config | {
        "json_schema_extra": {"anyOf": [{"required": [name]} for name in ("vector", "vectors", "text")]}
    }

    vectors: WireMatrix | None = None
    layer: Annotated[int, Field(ge=0, lt=MAX_LAYERS)] | None = None  # of the base adapter; by default the micro one
    encoding: Encoding = "json"  # of the answer


class AdaptAnswer(BaseModel):
    """The adapted vector or vectors, and the version that adapted them."""

    vector: list[float] | str | None = None
    vectors: list[list[float] | str] | None = None
    version: int


class CandidateColumns(BaseModel):
    """Candidates by id, with their vectors or texts; without either the store knows them."""

    model_config = STRICT

    ids: Annotated[list[Id], Field(min_length=1)]
    vectors: WireMatrix | None = None
    texts: list[Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]] | None = None


class RankBody(Asked):
    """A question, and what can be answered."""

    candidates: CandidateColumns | None = None  # by default all that the store knows
    k: Count = 10
    exploration: Annotated[float, Field(ge=0, le=MOST_EXPLORATION)] = 0.0


class RouteBody(Asked):
    """A question, and the routes that may be taken."""

    candidates: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    query: Annotated[str, Field(max_length=LONGEST_QUERY)] | None = None  # by default `text`
    features: (
        Annotated[list[Annotated[float, Field(ge=-65504, le=65504)]], Field(min_length=1, max_length=MAX_FEATURES)]
        | None
    ) = None
    costs: dict[Id, Amount] | None = None
    budget: Amount | None = None  # mean cost of a decision
    cost_weight: Amount = 0.0
    latency_weight: Amount = 0.0


class PatternsBody(AskedInContext):
    """A question, what it was said after, and which patterns are wanted."""

    k: Count = 5
    min_quality: Share = 0.0
    kind: PatternKind | None = None
    route: Id | None = None
    verdict: Verdict | None = None
    graph: bool = False  # whether to spread activation over the memory graph; a context needs it


class RouteFigures(BaseModel):
    """How a route went in a pattern."""

    size: int
    quality: float | None = None


class PatternAnswer(BaseModel):
    """A cluster of trajectories like what was asked."""

    id: UUID
    similarity: float
    size: int
    quality: float | None = None
    kind: str
    verdict: str | None = None
    typical_queries: list[str]
    routes: dict[str, RouteFigures]
    created_at: datetime | None = None  # null: made by a version that is forgotten
    access_count: int = 0  # how often it was found, on all servers, up to a heartbeat ago
    last_accessed: datetime | None = None


class PatternsAnswer(BaseModel):
    """Patterns, nearest first."""

    patterns: list[PatternAnswer]
    version: int


class SearchBody(Asked):
    """A question, and which stored trajectories are wanted."""

    k: Found = 10
    route: Id | None = None
    min_quality: Share | None = None
    since: datetime | None = None
    exact: bool = False


class FoundAnswer(BaseModel):
    """A stored trajectory."""

    id: UUID
    similarity: float
    route: str | None = None
    query: str | None = None
    quality: float | None = None
    started_at: datetime


class SearchAnswer(BaseModel):
    """Stored trajectories, nearest first."""

    found: list[FoundAnswer]
    complete: bool


class Remembered(BaseModel):
    """How many candidates were taken."""

    candidates: int


@operations.add("POST", "/v1/adapt", scope="read", body=AdaptBody, answer=AdaptAnswer)
async def adapt(call: Call[AdaptBody]) -> Any:
    """Apply the micro adapter, or a layer of the base adapter, to a vector or to many."""
    body = call.body
    engine = await call.engine()
    if body.vectors is None:
        x = await vector_of(call, body)
    else:
        x = _rows(call, body.vectors, engine.dim, "/vectors")
    adapted = engine.apply_micro_lora(x) if body.layer is None else engine.apply_base_lora(body.layer, x)
    answer = told(adapted, body.encoding)
    return {"vector" if body.vectors is None else "vectors": answer, "version": engine.version}


@operations.add("POST", "/v1/rank", scope="read", body=RankBody, answer=RankingBody)
async def rank(call: Call[RankBody]) -> Any:
    """Rank candidates, best first. Send the answer as `ranking` with the trajectory, and the shown one as its route."""
    body = call.body
    engine = await call.engine()
    query = await vector_of(call, body)
    given = body.candidates
    rows = None if given is None else await _candidates(call, given)
    ids = None if given is None else given.ids
    try:
        return engine.rank(query, rows, ids=ids, k=body.k, exploration=body.exploration).as_dict()
    except UnknownCandidate as exc:
        raise field_problem("/candidates/ids", str(exc)) from exc


@operations.add("POST", "/v1/route", scope="read", body=RouteBody, answer=DecisionBody)
async def route(call: Call[RouteBody]) -> Any:
    """Choose one of the candidates. Send the answer as `decision` with the trajectory: its propensity is logged."""
    body = call.body
    engine = await call.engine()
    decision = engine.route(
        await vector_of(call, body),
        body.candidates,
        query=None if body.features is not None else body.query or body.text,
        features=None if body.features is None else np.array(body.features, np.float32),
        costs=body.costs,
        budget=body.budget,
        cost_weight=body.cost_weight,
        latency_weight=body.latency_weight,
    )
    return decision.as_dict()


@operations.add("POST", "/v1/patterns", scope="read", body=PatternsBody, answer=PatternsAnswer)
async def patterns(call: Call[PatternsBody]) -> Any:
    """Find the patterns nearest to what is asked, with what went well in them."""
    body = call.body
    engine = await call.engine()
    x = await vector_of(call, body)
    found = engine.find_patterns(
        x,
        body.k,
        min_quality=body.min_quality,
        kind=body.kind,
        route=body.route,
        verdict=body.verdict,
        graph=body.graph,
        context=await context_of(call, body, engine.dim),
    )
    return {"patterns": [pattern_as_dict(pattern) for pattern in found], "version": engine.version}


@operations.add("POST", "/v1/search", scope="read", body=SearchBody, answer=SearchAnswer, waits=True)
async def search(call: Call[SearchBody]) -> Any:
    """Find stored trajectories like what is asked, nearest first."""
    body = call.body
    engine = await call.engine()
    x = await vector_of(call, body)
    found = await engine.search(
        x, body.k, route=body.route, min_quality=body.min_quality, since=body.since, exact=body.exact
    )
    rows = [
        {name: getattr(one, name) for name in ("id", "similarity", "route", "query", "quality", "started_at")}
        for one in found
    ]
    return {"found": rows, "complete": found.complete}


class CandidatesBody(CandidateColumns):
    """Candidates with their vectors or texts."""

    model_config = STRICT | {"json_schema_extra": {"anyOf": [{"required": ["vectors"]}, {"required": ["texts"]}]}}


@operations.add(
    "POST", "/v1/candidates", scope="record", body=CandidatesBody, answer=Remembered, status=202, idempotent=True
)
async def remember(call: Call[CandidatesBody]) -> Any:
    """Store candidates, so that later calls name them by their ids."""
    engine = await call.engine()
    rows = await _candidates(call, call.body)
    if rows is None:
        raise field_problem("/vectors", "expected vectors or texts of the candidates")
    await engine.remember(call.body.ids, rows)
    return {"candidates": len(call.body.ids)}


def pattern_as_dict(pattern: LearnedPattern) -> dict[str, Any]:
    """Return a found pattern as it is answered."""
    routes = {
        name: {"size": record.size, "quality": record.quality if record.rated else None}
        for name, record in pattern.routes.items()
    }
    return {
        "id": pattern.id,
        "similarity": pattern.similarity,
        "size": pattern.size,
        "quality": pattern.quality if pattern.rated else None,
        "kind": pattern.kind,
        "verdict": pattern.verdict,
        "typical_queries": list(pattern.typical_queries),
        "routes": routes,
        "created_at": pattern.created_at,
        "access_count": pattern.access_count,
        "last_accessed": pattern.last_accessed,
    }


async def _candidates(call: Call[Any], given: CandidateColumns) -> Any:
    """Return the vectors (m, dim) of candidates; None: the store knows them."""
    for name, column in (("vectors", given.vectors), ("texts", given.texts)):
        if column is not None and len(column) != len(given.ids):
            raise field_problem(
                f"/candidates/{name}", f"{len(column)} {name} for {len(given.ids)} ids: expected one each"
            )
    if given.vectors is not None:
        return _rows(call, given.vectors, (await call.engine()).dim, "/candidates/vectors")
    if given.texts is not None:
        return await embedded(call, given.texts, "/candidates/texts")
    return None


def _rows(call: Call[Any], vectors: list[Any], dim: int, pointer: str) -> Any:
    if len(vectors) > call.state.options.most_batch:
        raise field_problem(pointer, f"{len(vectors)} at once: expected at most {call.state.options.most_batch}", 413)
    return matrix_of(vectors, dim, pointer)
