"""One worker of the HTTP service, and beside it a bare FastAPI application that parses and echoes the same bodies."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.server import DIM
from sona_pg.service import ServiceOptions, create_app


class Row(BaseModel):
    """A vector and what was said of it, as an application would declare them."""

    vector: list[float] | str
    route: str | None = None
    quality: float | None = None


class Batch(BaseModel):
    """Many of them by columns."""

    vectors: list[list[float] | str]
    routes: list[str] | None = None
    qualities: list[float] | None = None


def bare_app() -> FastAPI:
    """Return an application that parses a body and echoes it, and does nothing else."""
    app = FastAPI()

    @app.post("/bare/row")
    async def row(body: Row) -> Row:
        return body

    @app.post("/bare/batch")
    async def batch(body: Batch) -> Batch:
        return body

    return app


def beside(service: ASGIApp, bare: ASGIApp) -> Any:
    """Return an application of both, by path."""

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = bare if scope["type"] == "http" and scope["path"].startswith("/bare/") else service
        await chosen(scope, receive, send)

    return both


def main() -> None:
    """Serve the database of the first argument on the port of the second."""
    url, port = sys.argv[1], int(sys.argv[2])
    app = beside(create_app(url, ServiceOptions(dim=DIM)), bare_app())
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
