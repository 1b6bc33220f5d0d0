"""An OpenAI-compatible proxy: each request goes to the upstream that the learned router chooses, and is a trajectory.

The client takes the trajectory's id from the header ``x-sona-trajectory``, or from ``sona`` in the body, and gives
feedback for it with ``/v1/feedback``. Streams are passed on as they come.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sona_pg.limits import LONGEST_QUERY
from sona_pg.service.chat_proxy import Attempt, ChatProxy, UpstreamFailure
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import ProblemError, field_problem
from sona_pg.service.wire_vectors import embedded

log = logging.getLogger("sona_pg.service")

operations = Operations("chat")

AUTOMATIC = "auto"  # the model by which a client leaves the choice to the router
MOST_ATTEMPTS = 3  # upstreams that a request of `auto` may try


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


@operations.add("POST", "/v1/chat/completions", scope="record", body=ChatBody, answer=ChatAnswer, extra=(502,))
async def chat(call: Call[ChatBody]) -> Any:
    """Answer a chat by the upstream that the router chooses, or by the one that `model` names.

    Each attempt is recorded as a trajectory; the id of the last is in the header `x-sona-trajectory` and in the body as
    `sona`. Where the router chose and the upstream fails before its first byte, up to two others are tried.
    """
    proxy: ChatProxy = call.state.proxy
    upstreams, body = call.state.options.upstreams, call.body
    if not upstreams:
        raise ProblemError(404, "this service has no upstreams: start it with --upstreams")
    named = None if body.model == AUTOMATIC else body.model
    if named is not None and named not in upstreams:
        there = ", ".join((AUTOMATIC, *upstreams))
        raise field_problem("/model", f"there is no model {named!r:.60}: expected one of {there}", 404)
    engine = await call.engine()
    text = _asked(body)
    vector = (await embedded(call, [text], "/messages"))[0]
    told = body.model_dump(exclude_unset=True)
    failed: list[str] = []
    while True:
        left = [name for name in upstreams if name not in failed]
        decision = proxy.choose(engine, vector, text, left) if named is None else None
        route = decision.route if decision is not None else str(named)
        attempt = Attempt(engine, vector, text, route, decision, failed)
        try:
            return await attempt.answered(proxy, upstreams[route], told)
        except UpstreamFailure as exc:
            failed.append(route)
            log.warning("upstream %s failed: %s", route, exc)
            if named is None and len(failed) < min(MOST_ATTEMPTS, len(upstreams)):
                continue
            if isinstance(exc.answer, ProblemError):
                raise exc.answer from exc
            return exc.answer


@operations.add("GET", "/v1/models", scope="read", answer=ModelsAnswer, of_space=False)
async def models(call: Call[Any]) -> Any:
    """List the upstreams, as OpenAI lists models; `auto` leaves the choice to the router."""
    upstreams = call.state.options.upstreams
    names = (AUTOMATIC, *upstreams) if upstreams else ()
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "sona-pg"} for name in names]}


def _asked(body: ChatBody) -> str:
    """Return the text of the last message of a user that has one."""
    for message in reversed(body.messages):
        if message.role == "user":
            text = _text_of(message.content)[:LONGEST_QUERY]
            if text.strip():
                return text
    raise field_problem(
        "/messages", "no message of a user has a text, which the router reads: add one beside the image or the file"
    )


def _text_of(content: Any) -> str:
    """Return the text of a message, which may have parts of other kinds as well."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
