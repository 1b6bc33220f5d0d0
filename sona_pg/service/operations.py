"""Operations: a handler of one call, with the models of its request and its answer, and the scope that it needs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sona_pg.domain.access import AnsweredRequest, Scope
from sona_pg.domain.act import acting_as
from sona_pg.domain.ids import EPOCH
from sona_pg.engine import AsyncSonaEngine, Store
from sona_pg.errors import DatabaseError
from sona_pg.service.callers import Caller, Callers
from sona_pg.service.genai_telemetry import AwaitedTexts
from sona_pg.service.hosted_spaces import HostedSpaces
from sona_pg.service.page_reads import PageReads
from sona_pg.service.problems import ProblemError, field_problem, of_validation
from sona_pg.service.request_figures import RequestFigures
from sona_pg.service.service_options import ServiceOptions
from sona_pg.service.strayed_figures import StrayedFigures

Body = TypeVar("Body", bound=BaseModel)
JSON = "application/json"
MOST_KEY = 200  # characters of an idempotency key
COMMIT_TIMEOUT = 10.0  # seconds that the answer to a request with a key waits for the commit of its records

log = logging.getLogger("sona_pg.service")


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What all handlers of an application share."""

    store: Store
    options: ServiceOptions
    spaces: HostedSpaces
    figures: RequestFigures
    callers: Callers
    pages: PageReads
    proxy: Any = None  # the ChatProxy, where there are upstreams
    awaited: AwaitedTexts = field(default_factory=AwaitedTexts)
    strayed: StrayedFigures = field(default_factory=StrayedFigures)


@dataclass(frozen=True, slots=True)
class Once:
    """Names of the records that a request with an idempotency key makes, and makes again if it is repeated."""

    name: str  # hash of space, caller, key and request
    first: datetime  # when it came first

    def id(self, place: int = 0) -> str:
        """Return the name of one record, from which its id is made."""
        return f"{self.name} {place}"

    @property
    def sequence(self) -> int:
        """Return the sequence number of its feedback: the time in microseconds, as the recorder has it."""
        return (self.first - EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Call(Generic[Body]):
    """A request, read and checked."""

    state: ServiceState
    request: Request
    caller: Caller
    space: str
    body: Body  # without a body: an empty model
    query: Mapping[str, Any] = field(default_factory=dict)
    once: Once | None = None  # of a request with an idempotency key

    async def engine(self) -> AsyncSonaEngine:
        """Return the engine of the space that is asked for."""
        return await self.state.spaces.find(self.space, self.caller.space_id)

    @property
    def path(self) -> Mapping[str, Any]:
        """Return the parameters of the path."""
        return self.request.path_params


class NoBody(BaseModel):
    """Body of a request that has none."""


NOTHING = NoBody()
Handler = Callable[[Call[Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the service."""

    method: str
    path: str
    handler: Handler
    scope: Scope | None  # None: it is open to everybody
    body: type[BaseModel]
    answer: type[BaseModel] | None  # None: the handler makes its own response
    query: type[BaseModel] | None
    status: int
    idempotent: bool
    of_space: bool  # whether it takes ?space=
    media_type: str
    extra: Sequence[int]  # statuses of its own
    reads: Sequence[str]  # media types of a body that the handler reads by itself
    fields: Sequence[str]  # of the body: names that an error may begin with
    waits: bool  # for the database: it is refused at once while that does not answer

    @property
    def name(self) -> str:
        """Return the operation's id."""
        return self.handler.__name__

    async def respond(self, request: Request) -> Response:
        scope = request.scope
        scope["sona.operation"] = self.path
        scope["sona.fields"] = self.fields
        state: ServiceState = request.app.state.service
        caller: Caller = scope.get("sona.caller") or NOBODY
        if self.scope is not None:
            caller.require(self.scope)
        query_text: bytes = scope["query_string"]
        asked = _parameters(query_text) if query_text else {}
        space = scope["sona.space"] = self._space(state, caller, asked)
        query = self._query(asked) if self.query is not None else {}
        raw = await request.body() if self.body is not NoBody else b""
        key = request.headers.get("idempotency-key") if self.idempotent else None
        if key is None:
            call = Call(state, request, caller, space, self._body(request, raw), query)
            answer = await self._handled(call)
            if self.scope == "record":
                scope["sona.trajectory"] = _trajectory_of(request, call.body, answer)
            return self._response(answer)
        return await self._once(Call(state, request, caller, space, self._body(request, raw), query), key, raw)

    async def _handled(self, call: Call[Any]) -> Any:
        if self.waits:
            require_answering(await call.engine())
        with acting_as(call.caller.actor):
            return await self.handler(call)

    def _space(self, state: ServiceState, caller: Caller, asked: Mapping[str, str]) -> str:
        wanted = asked.get("space") if self.of_space else None
        if caller.space is None:
            return wanted or state.options.space
        if wanted is not None and wanted != caller.space:
            raise ProblemError(403, f"this key is bound to the space {caller.space!r}")
        return caller.space

    def _query(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        assert self.query is not None
        try:
            return dict(
                self.query.model_validate({name: asked[name] for name in self.query.model_fields if name in asked})
            )
        except ValidationError as exc:
            raise of_validation(exc) from exc

    def _body(self, request: Request, raw: bytes) -> BaseModel:
        if self.body is NoBody:
            return NOTHING
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:  # also: a form of a page elsewhere cannot send it unasked
            raise ProblemError(415, f"Content-Type is {kind!r:.60}: expected {JSON}")
        try:
            return self.body.model_validate_json(raw)
        except ValidationError as exc:
            raise of_validation(exc) from exc

    def _response(self, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), self.status, media_type=JSON)

    async def _once(self, call: Call[Any], key: str, raw: bytes) -> Response:
        """Answer a request that may come twice: what was answered before is answered again."""
        if not 1 <= len(key) <= MOST_KEY or not all(" " <= letter <= "~" for letter in key):
            raise ProblemError(422, f"Idempotency-Key: expected 1 to {MOST_KEY} printable ASCII characters")
        engine = require_answering(await call.engine())
        keys, space_id = call.state.store.key_store, engine.space_id
        if space_id is None:
            raise ProblemError(503, "the database has not answered yet, which remembers idempotency keys")
        # Each caller's keys are its own: others choose theirs without knowing of them.
        key = hashlib.sha256(f"{call.caller.key_id} {key}".encode()).hexdigest()
        asked = f"{self.method} {call.request.url.path}?{call.request.url.query}\n".encode()
        fingerprint = hashlib.sha256(asked + raw).digest()
        before = await run_in_threadpool(keys.claim_request, space_id, key, fingerprint)
        if isinstance(before, AnsweredRequest):
            if before.fingerprint != fingerprint:
                raise ProblemError(422, "this Idempotency-Key came with another request before: choose a new one")
            if before.status is None:
                raise ProblemError(409, "the request with this key is being answered", headers={"Retry-After": "1"})
            return Response(
                before.answer, before.status, {"Idempotency-Replayed": "true"}, media_type=before.media_type
            )
        name = hashlib.sha256(f"{space_id} {key} {fingerprint.hex()}".encode()).hexdigest()
        try:
            answer = await self._handled(replace(call, once=Once(name, before.first)))
            call.request.scope["sona.trajectory"] = _trajectory_of(call.request, call.body, answer)
            response = self._response(answer)
            # An answer that is repeated for a day must not be about records that a killed process has taken along.
            await run_in_threadpool(engine.engine.flush, COMMIT_TIMEOUT)
        except BaseException:
            await _noted(keys.release_request, space_id, key)
            raise
        told = (response.status_code, response.media_type or JSON, bytes(response.body))
        await _noted(keys.answer_request, space_id, key, *told)
        return response


def _parameters(query_text: bytes) -> dict[str, str]:
    """Return the parameters of an address.

    Raises:
        ProblemError: 422: one has a NUL character, which no text in Postgres can have.
    """
    asked = dict(parse_qsl(query_text.decode("latin-1"), keep_blank_values=True))
    for name, value in asked.items():
        if "\0" in value:
            raise field_problem(f"/{name}", f"{name}: has a NUL character, which no text here can have")
    return asked


def require_answering(engine: AsyncSonaEngine) -> AsyncSonaEngine:
    """Return ``engine``; a problem at once if the database has not answered lately.

    Each request would occupy one of a few threads until it had waited in vain, and others would wait for that.
    """
    if engine.is_cut_off:
        raise ProblemError(503, "the database has not answered lately", headers={"Retry-After": "1"})
    return engine


async def _noted(note: Callable[..., None], *what: Any) -> None:
    """Note how a request ended. A failure is only logged: sent again later, the request makes the same records."""
    try:
        await run_in_threadpool(note, *what)
    except DatabaseError as exc:
        log.warning("the end of a request with an idempotency key is not noted: %s", exc)


def _trajectory_of(request: Request, body: BaseModel, answer: Any) -> Any:
    """Return the id of the trajectory that a request was about, for logs and spans; None if it was none or many."""
    found = request.path_params.get("trajectory") or getattr(body, "trajectory", None)
    if found is None and isinstance(answer, dict):
        found = answer.get("trajectoryId") or answer.get("id")
    elif found is None and isinstance(answer, Response):
        found = answer.headers.get("x-sona-trajectory")
    return found or getattr(body, "trajectory_id", None)


NOBODY = Caller("nobody", frozenset())


def routes(operations: Iterable[Operation]) -> list[Route]:
    """Return a route a path, which answers to exactly its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [_route(path, known) for path, known in by_path.items()]


def _route(path: str, known: Mapping[str, Operation]) -> Route:
    async def answer(request: Request) -> Response:
        return await known["GET" if request.method == "HEAD" else request.method].respond(request)

    return Route(path, answer, methods=list(known), name=next(iter(known.values())).name)


class Operations:
    """Collects the operations of one subject."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Operation] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        answer: type[BaseModel] | None,
        body: type[BaseModel] = NoBody,
        query: type[BaseModel] | None = None,
        status: int = 200,
        idempotent: bool = False,
        of_space: bool = True,
        media_type: str = JSON,
        extra: Sequence[int] = (),
        reads: Sequence[str] = (),
        waits: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Make the decorated handler an operation; its docstring is its description."""

        def added(handler: Handler) -> Handler:
            fields = tuple(body.model_fields)
            self.all.append(
                Operation(
                    method,
                    path,
                    handler,
                    scope,
                    body,
                    answer,
                    query,
                    status,
                    idempotent,
                    of_space,
                    media_type,
                    extra,
                    reads,
                    fields,
                    waits,
                )
            )
            return handler

        return added
