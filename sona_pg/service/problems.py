"""Errors as problem details (RFC 9457): what was wrong, where in the request, and when to try again."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sona_pg.errors import (
    Conflict,
    DamagedVersion,
    DatabaseError,
    DatabaseRefused,
    InvalidValue,
    LearningError,
    NotFound,
    SchemaError,
    SonaError,
    StorageError,
    TrajectoryError,
    Unavailable,
    UnknownFormat,
)

log = logging.getLogger("sona_pg.service")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "1"  # seconds
AWAY = "the database does not answer now: send the request again later"
LACKING = "the service's login of the database lacks a privilege ({}): an administrator can grant it, see docs/roles.md"
REFUSED = "the database refuses this, now and later, until an administrator mends it: the service's log says why"
NO_PATH = "there is nothing at {!r:.200}: /docs lists the operations; of OpenAI's, /v1/chat/completions and /v1/models"
# Asked by OpenAI's clients as well, whose exceptions show the member ``error.message`` alone.
OPENAI_PATHS = ("/v1/chat/completions", "/v1/models", "/v1/feedback")
# The first that fits, in this order: an unknown candidate is a value of the body, and not found as well.
STATUS: Sequence[tuple[type[SonaError], int]] = (
    (InvalidValue, 422),
    (Unavailable, 503),
    (NotFound, 404),
    (Conflict, 409),
    (TrajectoryError, 409),
    (LearningError, 409),
    (DatabaseRefused, 500),
    (SchemaError, 500),
    (UnknownFormat, 500),
    (DamagedVersion, 500),
    (DatabaseError, 503),
    (StorageError, 503),
)


TOLD_EVERY = 30.0  # seconds between two lines of the log that tell of the same trouble

SCHEMAS = ("list[", "str", "bytes", "function-", "json-", "constrained-")  # parts of a place that are no field


class Trouble:
    """Log of requests that are answered by 503: the first of a kind at once, then how many there have been."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[type[SonaError], float] = {}
        self._more: Counter[type[SonaError]] = Counter()

    def note(self, exc: SonaError) -> None:
        """Log the error, unless one of its kind was logged lately."""
        kind, now = type(exc), self._clock()
        if now - self._told.get(kind, -TOLD_EVERY) < TOLD_EVERY:
            self._more[kind] += 1
            return
        self._told[kind] = now
        more = self._more.pop(kind, 0)
        log.warning("answered by 503%s: %s", f" ({more} more since the last line)" if more else "", exc)


trouble = Trouble()


class ProblemError(Exception):
    """A request that is answered with problem details."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        for_openai: bool = False,
    ) -> None:
        super().__init__(detail)
        self.for_openai = for_openai
        self.status = status
        self.detail = detail
        self.errors = errors  # each with the JSON pointer of a field, and what is wrong with it
        self.headers = dict(headers or {})

    def response(self, path: str = "") -> Response:
        """Return the answer to a request of ``path``."""
        title = HTTPStatus(self.status).phrase
        told: dict[str, Any] = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        if self.errors:
            told["errors"] = list(self.errors)
        if self.for_openai or path.endswith(OPENAI_PATHS):
            told["error"] = {"message": self.detail, "type": title, "param": None, "code": None}
        if self.status == 503:
            self.headers.setdefault("Retry-After", RETRY_AFTER)
        return Response(orjson.dumps(told), self.status, self.headers, media_type=MEDIA_TYPE)


def field_problem(pointer: str, detail: str, status: int = 422) -> ProblemError:
    """Return the problem of one field, named by its JSON pointer."""
    return ProblemError(status, detail, errors=[{"pointer": pointer, "detail": detail}])


def of_error(exc: SonaError, fields: Sequence[str] = ()) -> ProblemError:
    """Return an error of the engine as a problem; its message begins with the argument that is wrong."""
    status = next((status for kind, status in STATUS if isinstance(exc, kind)), 500)
    if status == 503:  # its message names the database's address, or files
        trouble.note(exc)
        return ProblemError(503, AWAY)
    if isinstance(exc, DatabaseRefused) and exc.lacks:
        log.error("answered by 403: %s", exc)
        return ProblemError(403, LACKING.format(exc.lacks))
    if isinstance(exc, DatabaseError) and status == 500:  # its message may name the address, too
        log.error("answered by 500: %s", exc)
        return ProblemError(500, REFUSED)
    said = str(exc)
    named = re.match(r"[a-z_]+", said)
    if isinstance(exc, InvalidValue) and named is not None and named.group() in fields:
        return field_problem(f"/{named.group()}", said, status)
    return ProblemError(status, said)


def of_validation(exc: ValidationError) -> ProblemError:
    """Return what is wrong with a body, field by field."""
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return ProblemError(400, f"the body cannot be read: {found[0]['msg']}")
    errors = []
    for error in found[:20]:
        place = [str(part) for part in error["loc"] if not str(part).startswith(SCHEMAS)]
        pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in place)
        errors.append({"pointer": pointer, "detail": error["msg"].removeprefix("Value error, ")})
    first = errors[0]
    return ProblemError(422, f"{first['pointer'] or 'the body'}: {first['detail']}", errors=errors)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with problem details."""

    async def problem(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, ProblemError)
        return exc.response(request.url.path)

    async def sona_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, SonaError)
        return of_error(exc, request.scope.get("sona.fields", ())).response(request.url.path)

    async def http_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        if exc.status_code == 404:  # raised by the router alone: our own are problems already
            return ProblemError(404, NO_PATH.format(request.url.path), for_openai=True).response()
        return ProblemError(exc.status_code, str(exc.detail), headers=exc.headers).response(request.url.path)

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(SonaError, sona_error)
    app.add_exception_handler(HTTPException, http_error)
