"""Operations of operators: liveness, readiness, and figures for Prometheus."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sona_pg._version import __version__
from sona_pg.service.metrics_text import metrics_text
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import ProblemError
from sona_pg.service.request_figures import MEDIA_TYPE

operations = Operations("operate")


class Alive(BaseModel):
    """The service runs."""

    status: str
    release: str


@operations.add("GET", "/live", scope=None, answer=Alive, of_space=False)
async def live(call: Call[Any]) -> Any:
    """Say that the process runs, whatever the database does: for who restarts it."""
    return {"status": "ok", "release": __version__}


@operations.add("GET", "/ready", scope=None, answer=Alive, of_space=False)
async def ready(call: Call[Any]) -> Any:
    """Say that requests are served with the database behind them: for who sends traffic here; 503 otherwise."""
    engine = call.state.spaces.opened.get(call.state.options.space)
    if engine is None:
        raise ProblemError(503, "the service is starting, or its space was removed")
    if engine.is_cut_off:
        raise ProblemError(503, "the database has not answered lately; recording and serving from memory go on")
    return {"status": "ok", "release": __version__}


@operations.add("GET", "/metrics", scope="read", answer=None, media_type="text/plain", of_space=False)
async def metrics(call: Call[Any]) -> Any:
    """Return figures of requests, and of the key's space or without a key of all, in the text format of Prometheus."""
    text = await run_in_threadpool(metrics_text, call.state, call.caller.space_id)
    return Response(text, media_type=MEDIA_TYPE)
