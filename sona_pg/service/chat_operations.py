"""An OpenAI-compatible proxy: each request goes to the upstream that the learned router chooses, and is a trajectory.

The client takes the trajectory's id from the header ``x-sona-trajectory``, or from ``sona`` in the body, and gives
feedback for it with ``/v1/feedback``. Streams are passed on as they come.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from sona_pg.domain.answer import Decision
from sona_pg.engine import AsyncSonaEngine
from sona_pg.limits import LONGEST_QUERY
from sona_pg.recorder import Trajectory
from sona_pg.service.operations import JSON, Call, Operations
from sona_pg.service.problems import ProblemError, field_problem
from sona_pg.service.service_options import ServiceOptions, Upstream
from sona_pg.service.wire_vectors import embedded

log = logging.getLogger("sona_pg.service")

operations = Operations("chat")

AUTOMATIC = "auto"  # the model by which a client leaves the choice to the router
EVENT_STREAM = "text/event-stream"


class ChatMessage(BaseModel):
    """One message; what the upstream understands beyond this is passed on."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: Any = None


class ChatBody(BaseModel):
    """A request as OpenAI's chat completions take it; all of it is passed on, but for the model."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1)] = AUTOMATIC  # auto, or the name of an upstream
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False


class ChatAnswer(BaseModel):
    """The upstream's answer, with ``sona``: the trajectory, the route and its propensity."""

    model_config = ConfigDict(extra="allow")

    sona: dict[str, Any]


class ModelsAnswer(BaseModel):
    """The upstreams, as OpenAI lists models."""

    object: str
    data: list[dict[str, Any]]


class ChatProxy:
    """Sends chats to upstreams over one pool of connections."""

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options
        self._client = httpx.AsyncClient()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def choose(self, engine: AsyncSonaEngine, vector: Any, text: str) -> Decision:
        """Return the router's choice among the upstreams, within the budget."""
        upstreams = self._options.upstreams
        costs = {name: known.cost for name, known in upstreams.items() if known.cost is not None}
        whole = costs if len(costs) == len(upstreams) else None
        return engine.route(vector, list(upstreams), query=text, costs=whole, budget=self._options.budget)

    def upstream(self, name: str) -> Upstream:
        """Return an upstream; the problem of the model where there is none of that name."""
        known = self._options.upstreams.get(name)
        if known is None:
            there = ", ".join((AUTOMATIC, *self._options.upstreams))
            raise field_problem("/model", f"there is no model {name!r:.60}: expected one of {there}", 404)
        return known

    async def send(self, upstream: Upstream, body: Mapping[str, Any]) -> httpx.Response:
        """Send a chat; return the answer, whose body is still to be read.

        Raises:
            ProblemError: the upstream cannot be reached.
        """
        headers = {} if upstream.key is None else {"Authorization": f"Bearer {upstream.key}"}
        request = self._client.build_request(
            "POST",
            f"{upstream.url.rstrip('/')}/chat/completions",
            content=orjson.dumps({**body, "model": upstream.model}),
            headers={**headers, "Content-Type": JSON},
            timeout=upstream.timeout,
        )
        try:
            return await self._client.send(request, stream=True)
        except httpx.HTTPError as exc:
            raise ProblemError(502, f"the upstream cannot be reached: {exc!r}") from exc


@operations.add("POST", "/v1/chat/completions", scope="record", body=ChatBody, answer=ChatAnswer, extra=(502,))
async def chat(call: Call[ChatBody]) -> Any:
    """Answer a chat by the upstream that the router chooses, or by the one that `model` names.

    The request is recorded as a trajectory; its id is in the header `x-sona-trajectory` and in the body as `sona`.
    """
    proxy: ChatProxy = call.state.proxy
    body = call.body
    if not call.state.options.upstreams:
        raise ProblemError(404, "this service has no upstreams: start it with --upstreams")
    named = None if body.model == AUTOMATIC else body.model
    upstream = None if named is None else proxy.upstream(named)
    engine = await call.engine()
    text = _asked(body)
    vector = (await embedded(call, [text], "/messages"))[0]
    decision = proxy.choose(engine, vector, text) if named is None else None
    route = decision.route if decision is not None else str(named)
    handle = engine.begin_trajectory(vector, query=text, decision=decision)
    if decision is None:
        engine.set_trajectory_route(handle, route)
    began = time.perf_counter()
    told = body.model_dump(exclude_unset=True)
    try:
        answer = await proxy.send(upstream or proxy.upstream(route), told)
    except ProblemError:
        _failed(engine, handle, began)
        raise
    about: dict[str, Any] = {"trajectory": str(handle.id), "route": route}
    about["propensity"] = None if decision is None else decision.propensity
    headers = {"x-sona-trajectory": str(handle.id), "x-sona-route": route}
    if answer.status_code >= 400:
        content = await answer.aread()
        await answer.aclose()
        if answer.status_code >= 500 or answer.status_code == 429:
            _failed(engine, handle, began)
        return Response(content, answer.status_code, headers, media_type=answer.headers.get("content-type", JSON))
    if body.stream:
        passed_on = _stream(engine, handle, answer, began, about)
        return StreamingResponse(passed_on, headers=headers, media_type=EVENT_STREAM)
    try:
        content = await answer.aread()
        found = orjson.loads(content)
    except (httpx.HTTPError, orjson.JSONDecodeError) as exc:
        _failed(engine, handle, began)
        raise ProblemError(502, f"the upstream's answer cannot be read: {exc!r}") from exc
    finally:
        await answer.aclose()
    engine.end_trajectory(handle, latency=time.perf_counter() - began)
    return Response(orjson.dumps({**found, "sona": about}), 200, headers, media_type=JSON)


@operations.add("GET", "/v1/models", scope="read", answer=ModelsAnswer, of_space=False)
async def models(call: Call[Any]) -> Any:
    """List the upstreams, as OpenAI lists models; `auto` leaves the choice to the router."""
    upstreams = call.state.options.upstreams
    names = (AUTOMATIC, *upstreams) if upstreams else ()
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "sona-pg"} for name in names]}


async def _stream(
    engine: AsyncSonaEngine, handle: Trajectory, answer: httpx.Response, began: float, about: Mapping[str, Any]
) -> AsyncIterator[bytes]:
    """Pass a stream on; the trajectory ends with it, also where the client leaves or the upstream breaks off."""
    first = math.nan
    try:
        async for piece in answer.aiter_raw():
            if math.isnan(first):
                first = time.perf_counter() - began
            yield piece
    except httpx.HTTPError as exc:
        facts = {"trajectory": about["trajectory"], "route": about["route"]}
        log.warning(
            "an upstream broke off its stream for trajectory %s: %r", facts["trajectory"], exc, extra={"figures": facts}
        )
        _failed(engine, handle, began)
    finally:
        await answer.aclose()
        if not handle.ended:
            engine.end_trajectory(handle, latency=time.perf_counter() - began)


def _failed(engine: AsyncSonaEngine, handle: Trajectory, began: float) -> None:
    """End a trajectory whose upstream gave no answer: that went badly."""
    engine.end_trajectory(handle, 0.0, latency=time.perf_counter() - began)


def _asked(body: ChatBody) -> str:
    """Return the text of the last message of a user."""
    for message in reversed(body.messages):
        if message.role == "user":
            if isinstance(message.content, str):
                return message.content[:LONGEST_QUERY]
            if isinstance(message.content, list):
                parts = (part.get("text") for part in message.content if isinstance(part, Mapping))
                return "\n".join(part for part in parts if isinstance(part, str))[:LONGEST_QUERY]
    raise field_problem("/messages", "no message of a user has a text, by which a model could be chosen")
