"""Operations about spaces: list and make them; and their live events."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from sona_pg.engine import AsyncSonaEngine
from sona_pg.errors import DatabaseUnavailable
from sona_pg.limits import LONGEST_SPACE_NAME, MAX_DIM
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import ProblemError, field_problem
from sona_pg.service.wire_vectors import STRICT

operations = Operations("spaces")

LOOK_EVERY = 0.25  # seconds between two looks at the engine, in memory
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"  # no control characters
SILENT_FOR = 15.0  # seconds after which a comment keeps the connection open
EVENT_STREAM = "text/event-stream"


class SpaceAnswer(BaseModel):
    """A space."""

    name: str
    dim: int
    live_version: int
    trajectories: int
    feedback: int
    waiting: int


class SpacesAnswer(BaseModel):
    """Spaces by name, the scopes of who asks, and the name under which its feedback is recorded."""

    spaces: list[SpaceAnswer]
    source: str
    scopes: list[str]


class SpaceBody(BaseModel):
    """A space to be made."""

    model_config = STRICT

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_SPACE_NAME, pattern=NAME_PATTERN)]
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]


class SpaceMade(BaseModel):
    """A space that is open."""

    name: str
    dim: int


class EventsQuery(BaseModel):
    """How many events to wait for."""

    events: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # by default until the client leaves


@operations.add("GET", "/v1/spaces", scope="read", answer=SpacesAnswer, of_space=False)
async def spaces(call: Call[Any]) -> Any:
    """List the spaces; with a key, the one that it is bound to. Say which scopes and name the caller has."""
    found = await run_in_threadpool(call.state.store.spaces)
    number = call.caller.space_id
    own = None if number is None else await call.state.spaces.name_of(number) or ""
    names = ("name", "dim", "live_version", "trajectories", "feedback", "waiting")
    seen = [{name: getattr(space, name) for name in names} for space in found if own in (None, space.name)]
    return {"spaces": seen, "source": call.caller.name, "scopes": sorted(call.caller.scopes)}


@operations.add("POST", "/v1/spaces", scope="admin", body=SpaceBody, answer=SpaceMade, status=201, of_space=False)
async def make_space(call: Call[SpaceBody]) -> Any:
    """Make a space, unless it is there; a key is bound to one and cannot make others."""
    body, options = call.body, call.state.options
    if call.caller.space is not None:
        raise ProblemError(403, "a key is bound to its space: make spaces on the server's own machine")
    if body.dim > options.most_dim:
        raise field_problem("/dim", f"dim={body.dim}: this service takes at most {options.most_dim}")
    engine = await call.state.spaces.make(body.name, body.dim)
    return {"name": body.name, "dim": engine.dim}


@operations.add("GET", "/v1/events", scope="read", query=EventsQuery, answer=None, media_type=EVENT_STREAM)
async def events(call: Call[Any]) -> Any:
    """Follow the space: a `version` event now and at each new version, a `recorded` event as this server records.

    Who reconnects with `Last-Event-ID`, as browsers do, is told what came meanwhile, and nothing twice.
    """
    engine = await call.engine()
    told = _events(engine, call)
    return StreamingResponse(told, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})


async def _events(engine: AsyncSonaEngine, call: Call[Any]) -> AsyncIterator[bytes]:
    version, recorded = _known(engine, call.request.headers.get("last-event-id", ""))
    most, service = call.query["events"], call.request.app.state
    sent, said = 0, time.monotonic()
    while not (engine.is_closed or service.is_stopping):
        found: list[tuple[str, int, dict[str, Any]]] = []
        if engine.version != version:
            version = engine.version
            found.append(("version", recorded, {"version": version}))
        total = engine.recorded_count
        if total != recorded:
            found.append(("recorded", total, {"records": total - recorded, "total": total}))
            recorded = total
        for name, told, data in found:
            sent, said = sent + 1, time.monotonic()
            head = f"id: {engine.server_id}:{version}:{told}\nevent: {name}\n"
            yield b"%sdata: %s\n\n" % (head.encode(), orjson.dumps(data))
            if sent == most:
                return
        if time.monotonic() - said > SILENT_FOR:
            said = time.monotonic()
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_EVERY)
        if not await _is_allowed(call):
            return


async def _is_allowed(call: Call[Any]) -> bool:
    """Whether the caller may still read the space: its key may have been revoked since. Keys are known from memory."""
    scope = call.request.scope
    client = scope.get("client")
    try:
        caller = await call.state.callers.identify(dict(scope["headers"]), client[0] if client else None)
    except ProblemError:
        return False
    except DatabaseUnavailable:  # a key that was good goes on while the database is away
        return True
    return caller.space_id == call.caller.space_id and "read" in caller.scopes


def _known(engine: AsyncSonaEngine, last: str) -> tuple[int, int]:
    """Return version and number of records as of the event of id ``last``; of another server's, its version."""
    found = re.fullmatch(r"([0-9a-f-]{36}):(\d{1,18}):(\d{1,18})", last)
    if found is None:
        return -1, engine.recorded_count
    of_this = found[1] == str(engine.server_id) and int(found[3]) <= engine.recorded_count
    return int(found[2]), int(found[3]) if of_this else engine.recorded_count
