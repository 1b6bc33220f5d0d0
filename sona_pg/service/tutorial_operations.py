"""Operations of SONA's Node tutorial, under its paths and names."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from sona_pg._version import __version__
from sona_pg.errors import ConfigError
from sona_pg.limits import LONGEST_ID, LONGEST_QUERY
from sona_pg.service.ask_operations import PatternAnswer, pattern_as_dict
from sona_pg.service.learn_operations import Cycle, Stats
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.record_bodies import Label, Share
from sona_pg.service.wire_vectors import STRICT

operations = Operations("tutorial")


class QueryBody(BaseModel):
    """A question in words."""

    model_config = STRICT

    query: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]
    context: list[Label] = Field(default_factory=list, max_length=100)
    route: Annotated[str, Field(min_length=1, max_length=LONGEST_ID)] | None = None


class QueryAnswer(BaseModel):
    """What is known of the like, and the trajectory that feedback names."""

    trajectory_id: UUID = Field(alias="trajectoryId")
    route: str | None = None
    quality: float | None = None
    confidence: float
    patterns: list[PatternAnswer]
    version: int


class ThumbBody(BaseModel):
    """How good an answer was."""

    model_config = STRICT

    trajectory_id: UUID = Field(alias="trajectoryId")
    quality: Share


class ThumbAnswer(BaseModel):
    """The fact was taken."""

    success: bool
    sequence: int


class Health(BaseModel):
    """The service runs."""

    status: str
    release: str


@operations.add("POST", "/api/query", scope="record", body=QueryBody, answer=QueryAnswer)
async def ask(call: Call[QueryBody]) -> Any:
    """Embed a text, record it as a trajectory, and say what is known of its like."""
    body = call.body
    engine = await call.engine()
    try:
        response = await engine.process(body.query, body.context, route=body.route)
    except ConfigError as exc:
        raise field_problem("/query", str(exc)) from exc
    return {
        "trajectoryId": response.trajectory_id,
        "route": response.route,
        "quality": response.quality,
        "confidence": response.confidence,
        "patterns": [pattern_as_dict(pattern) for pattern in response.patterns],
        "version": response.version,
    }


@operations.add("POST", "/api/feedback", scope="record", body=ThumbBody, answer=ThumbAnswer)
async def thumb(call: Call[ThumbBody]) -> Any:
    """Say how good the answer to a query was."""
    engine = await call.engine()
    sequence = engine.feedback(call.body.trajectory_id, call.body.quality, source=call.caller.name)
    return {"success": True, "sequence": sequence}


@operations.add("POST", "/api/learn", scope="learn", answer=Cycle, waits=True)
async def learn_now(call: Call[Any]) -> Any:
    """Learn now from everything recorded so far."""
    return (await (await call.engine()).force_learn()).as_dict()


@operations.add("GET", "/api/stats", scope="read", answer=Stats)
async def api_stats(call: Call[Any]) -> Any:
    """Return figures of the space and of this server."""
    return await (await call.engine()).metrics(fresh=False)


@operations.add("GET", "/health", scope=None, answer=Health, of_space=False)
async def health(call: Call[Any]) -> Any:
    """Say that the process runs."""
    return {"status": "ok", "release": __version__}
