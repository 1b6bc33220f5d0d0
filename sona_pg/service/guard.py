"""What happens to every request before and after its handler: caller, limits, compression, measurement."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sona_pg.errors import SonaError
from sona_pg.service.callers import HERE, Callers
from sona_pg.service.cross_site import refuse_cross_site
from sona_pg.service.problems import ProblemError, of_error
from sona_pg.service.request_figures import RequestFigures
from sona_pg.service.request_spans import current_ids, tell_span
from sona_pg.service.service_options import ServiceOptions
from sona_pg.service.static_pages import is_page

log = logging.getLogger("sona_pg.service")
access = logging.getLogger("sona_pg.service.access")  # a line for each request, where somebody listens

MOST_MEMBERS = 1_000  # of a gzip body
OPEN = ("/health", "/live", "/ready", "/openapi.json")  # without a key: they tell nothing of a space


class Guard:
    """ASGI middleware around the service."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, callers: Callers, figures: RequestFigures) -> None:
        self._app = app
        self._options = options
        self._callers = callers
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        started = False

        async def watch(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                tell_span(scope)
            await send(message)

        try:
            try:
                headers = dict(scope["headers"])
                path = scope["path"].removeprefix(scope.get("root_path", ""))  # where it is mounted
                if path not in OPEN and not is_page(path) and scope["method"] != "OPTIONS":
                    client = scope.get("client")
                    caller = await self._callers.identify(headers, client[0] if client else None)
                    if caller is HERE:
                        refuse_cross_site(scope["method"], headers, self._options.origins)
                    self._callers.spend(caller)
                    scope["sona.caller"] = caller
                await self._app(scope, self._bounded(headers, receive), watch)
            except ProblemError as exc:
                if started:
                    raise
                await exc.response(scope["path"])(scope, receive, watch)
            except SonaError as exc:
                if started:
                    raise
                await of_error(exc).response(scope["path"])(scope, receive, watch)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            failed = ProblemError(500, "the service failed; its log says how")
            await failed.response(scope["path"])(scope, receive, watch)
        finally:
            place, seconds = scope.get("sona.operation", "other"), time.perf_counter() - began
            self._figures.observe(scope["method"], place, status, seconds)
            if access.isEnabledFor(logging.INFO):
                _tell(scope, place, status, seconds)

    def _bounded(self, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """Return ``receive`` that gives no more than is allowed, decompressed."""
        most = self._options.most_body
        length = headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length) > most):
            raise _too_long(most)
        coding = headers.get(b"content-encoding", b"identity").lower()
        if coding not in (b"gzip", b"identity"):
            raise ProblemError(415, "a body is sent as it is, or with Content-Encoding: gzip")
        if length is not None and coding == b"identity":
            return receive
        gzip = _Gzip() if coding == b"gzip" else None
        total = 0

        async def bounded() -> Message:
            nonlocal total
            message = await receive()
            if message["type"] != "http.request":
                return message
            body: bytes = message.get("body", b"")
            if gzip is not None:
                body = gzip.read(body, most + 1 - total)
            total += len(body)
            if total > most:
                raise _too_long(most)
            if gzip is not None and not message.get("more_body", False) and not gzip.is_whole:
                raise ProblemError(400, "the body is gzip that was cut short")
            return {**message, "body": body}

        return bounded


def _tell(scope: Scope, place: str, status: int, seconds: float) -> None:
    """Log a request that was answered, with its trajectory."""
    caller = scope.get("sona.caller")
    told = {
        "method": scope["method"], "operation": place, "status": status, "milliseconds": round(1000 * seconds, 3),
        "caller": None if caller is None else caller.name, "space": scope.get("sona.space"),
        "trajectory": scope.get("sona.trajectory"),
    }  # fmt: skip
    facts = {name: value for name, value in told.items() if value is not None}
    access.info("%s %s: %d", scope["method"], place, status, extra={"figures": facts | current_ids()})


class _Gzip:
    """Reads a gzip body piece by piece; one has one or more members, and nothing after the last."""

    def __init__(self) -> None:
        self._members = 0
        self._inflate: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether the last member has ended."""
        return self._inflate is None or self._inflate.eof

    def read(self, data: bytes, most: int) -> bytes:
        """Return what ``data`` goes on with, at most ``most`` bytes of it."""
        pieces = []
        while data and most > 0:
            if self.is_whole:
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise ProblemError(400, f"the body is gzip of more than {MOST_MEMBERS} members")
                self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                pieces.append(self._inflate.decompress(data, most))
            except zlib.error as exc:
                raise ProblemError(400, f"the body is no gzip: {exc}") from exc
            most -= len(pieces[-1])
            data = self._inflate.unused_data
        return b"".join(pieces)


def _too_long(most: int) -> ProblemError:
    return ProblemError(413, f"a request has at most {most} bytes: send less at once")
