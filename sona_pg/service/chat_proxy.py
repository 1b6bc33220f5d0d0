"""Upstreams of the proxy: attempts at them, each a trajectory, and the passing on of their answers."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import orjson
from starlette.responses import Response, StreamingResponse

from sona_pg.domain.answer import Decision
from sona_pg.engine import AsyncSonaEngine
from sona_pg.service.operations import JSON
from sona_pg.service.problems import ProblemError
from sona_pg.service.service_options import ServiceOptions, Upstream

log = logging.getLogger("sona_pg.service")

EVENT_STREAM = "text/event-stream"
# Statuses by which an upstream fails, whatever the request: its key or model is wrong, or it has too much to do.
FAILED = (401, 402, 403, 404, 408, 429)


class ChatProxy:
    """Sends chats to upstreams over one pool of connections."""

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options
        self._client = httpx.AsyncClient()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def choose(self, engine: AsyncSonaEngine, vector: Any, text: str, routes: Sequence[str]) -> Decision:
        """Return the router's choice among these upstreams, within the budget."""
        costs = {name: cost for name in routes if (cost := self._options.upstreams[name].cost) is not None}
        whole = costs if len(costs) == len(routes) else None
        return engine.route(vector, routes, query=text, costs=whole, budget=self._options.budget)

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


class UpstreamFailure(Exception):
    """An upstream gave no answer; ``answer`` is for the client, if no other upstream is left."""

    def __init__(self, told: str, answer: Response | ProblemError) -> None:
        super().__init__(told)
        self.answer = answer


class Attempt:
    """One attempt at one upstream: a trajectory of its own, which ends with it."""

    def __init__(
        self, engine: AsyncSonaEngine, vector: Any, text: str, route: str, decision: Decision | None,
        failed: Sequence[str],
    ) -> None:  # fmt: skip
        """Begin the trajectory of ``route``; ``failed`` names the upstreams that were tried before it."""
        self._engine = engine
        self._handle = engine.begin_trajectory(vector, query=text, decision=decision)
        if decision is None:
            engine.set_trajectory_route(self._handle, route)
        self._began = time.perf_counter()
        self._about: dict[str, Any] = {"trajectory": str(self._handle.id), "route": route}
        self._about["propensity"] = None if decision is None else decision.propensity
        if failed:
            self._about["failed"] = list(failed)
        self._headers = {"x-sona-trajectory": str(self._handle.id), "x-sona-route": route}

    async def answered(self, proxy: ChatProxy, upstream: Upstream, body: Mapping[str, Any]) -> Response:
        """Return the upstream's answer.

        Raises:
            UpstreamFailure: it gave none; the trajectory has ended badly.
        """
        try:
            answer = await proxy.send(upstream, body)
        except ProblemError as exc:
            self._fail()
            raise UpstreamFailure(exc.detail, exc) from exc
        if answer.status_code >= 400:
            return await self._refused(answer)
        if body.get("stream"):
            return StreamingResponse(self._stream(answer), headers=self._headers, media_type=EVENT_STREAM)
        try:
            content = await answer.aread()
            found = orjson.loads(content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as exc:
            self._fail()
            problem = ProblemError(502, f"the upstream's answer cannot be read: {exc!r}")
            raise UpstreamFailure(problem.detail, problem) from exc
        finally:
            await answer.aclose()
        self._engine.end_trajectory(self._handle, latency=time.perf_counter() - self._began)
        return Response(orjson.dumps({**found, "sona": self._about}), 200, self._headers, media_type=JSON)

    async def _refused(self, answer: httpx.Response) -> Response:
        """Return the upstream's refusal of a request, which another one would refuse too.

        Raises:
            UpstreamFailure: the refusal is about the upstream, not the request.
        """
        try:
            content = await answer.aread()
        except httpx.HTTPError as exc:
            content = orjson.dumps({"error": {"message": f"the upstream's answer cannot be read: {exc!r}"}})
        finally:
            await answer.aclose()
        kind = answer.headers.get("content-type", JSON)
        passed_on = Response(content, answer.status_code, self._headers, media_type=kind)
        if answer.status_code >= 500 or answer.status_code in FAILED:
            self._fail()
            raise UpstreamFailure(f"it answers {answer.status_code}", passed_on)
        return passed_on

    async def _stream(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Pass a stream on; the trajectory ends with it, also where the client leaves or the upstream breaks off."""
        first = math.nan
        try:
            async for piece in answer.aiter_raw():
                if math.isnan(first):
                    first = time.perf_counter() - self._began
                yield piece
        except httpx.HTTPError as exc:
            facts = {"trajectory": self._about["trajectory"], "route": self._about["route"]}
            log.warning(
                "an upstream broke off its stream for trajectory %s: %r", facts["trajectory"], exc,
                extra={"figures": facts},
            )  # fmt: skip
            self._fail()
        finally:
            await answer.aclose()
            if not self._handle.ended:
                self._engine.end_trajectory(self._handle, latency=time.perf_counter() - self._began)

    def _fail(self) -> None:
        """End the trajectory of an upstream that gave no answer: that went badly."""
        self._engine.end_trajectory(self._handle, 0.0, latency=time.perf_counter() - self._began)
