"""The application: operations, the guard around them, and the store behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from sona_pg._version import __version__
from sona_pg.engine import Store
from sona_pg.service import (
    adapter_operations,
    ask_operations,
    budget_operations,
    candidate_operations,
    chat_operations,
    dashboard_operations,
    erasure_operations,
    evaluate_operations,
    feedback_operations,
    learn_operations,
    map_operations,
    otlp_operations,
    probe_operations,
    problems,
    recall_operations,
    record_operations,
    space_operations,
    topic_operations,
    tutorial_operations,
)
from sona_pg.service.callers import Callers
from sona_pg.service.chat_proxy import ChatProxy
from sona_pg.service.guard import Guard
from sona_pg.service.hosted_spaces import HostedSpaces
from sona_pg.service.openapi_document import document
from sona_pg.service.operations import ServiceState, routes
from sona_pg.service.page_reads import PageReads
from sona_pg.service.request_figures import RequestFigures
from sona_pg.service.request_spans import is_probe
from sona_pg.service.service_options import ServiceOptions
from sona_pg.service.static_pages import page_routes
from sona_pg.text.embedder import Embedder

SUBJECTS = (
    record_operations.operations,
    feedback_operations.operations,
    ask_operations.operations,
    recall_operations.operations,
    candidate_operations.operations,
    learn_operations.operations,
    budget_operations.operations,
    evaluate_operations.operations,
    topic_operations.operations,
    space_operations.operations,
    adapter_operations.operations,
    dashboard_operations.operations,
    map_operations.operations,
    erasure_operations.operations,
    tutorial_operations.operations,
    chat_operations.operations,
    otlp_operations.operations,
    probe_operations.operations,
)


def create_app(
    store: Store | str | None = None, options: ServiceOptions | None = None, *, embedder: Embedder | None = None
) -> FastAPI:
    """Return the HTTP service as an ASGI application, for uvicorn or inside of another application.

    Args:
        store: an open store, which stays its owner's; or a database's URL; else ``SONA_PG_URL``, else the embedded
            Postgres. Of a URL, a store is opened when the application starts, and closed when it ends.
        options: the space that is served by default, limits, and the proxy's upstreams.
        embedder: of texts, for spaces of its dimension; by default that of extra ``text``.
    """
    options = options or ServiceOptions()
    figures = RequestFigures()
    callers = Callers(options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = store if isinstance(store, Store) else await run_in_threadpool(Store, store)
        spaces = HostedSpaces(opened, options, embedder)
        callers.ask(opened)
        proxy = ChatProxy(options)
        pages = PageReads(lambda: app.state.is_stopping)
        try:
            await spaces.open_default()
            app.state.service = ServiceState(opened, options, spaces, figures, callers, pages, proxy)
            yield
        finally:
            pages.close()
            await proxy.close()
            await spaces.close()
            if opened is not store:
                await run_in_threadpool(opened.close)

    middleware = [Middleware(GZipMiddleware, minimum_size=4096, compresslevel=5)]
    if options.origins:
        cors: dict[str, Any] = {"allow_origins": list(options.origins), "allow_methods": ["*"], "allow_headers": ["*"]}
        middleware.insert(0, Middleware(CORSMiddleware, **cors, expose_headers=["Date", "ETag", "Retry-After"]))
    middleware.append(Middleware(Guard, options=options, callers=callers, figures=figures))
    telemetry: Any = {"exclude": is_probe, "operation_spans": False}  # what an older FastAPI ignores
    app = FastAPI(
        title="sona-pg", version=__version__, lifespan=lifespan, middleware=middleware, telemetry=telemetry,
        docs_url=None, redoc_url=None,  # FastAPI's pages load scripts from another host; static_pages has our own
    )  # fmt: skip
    app.state.is_stopping = False  # set when the server of this application is told to end
    app.router.redirect_slashes = False
    problems.install(app)
    app.router.routes.extend(routes(operation for subject in SUBJECTS for operation in subject.all))
    app.router.routes.extend(page_routes())
    described = document(SUBJECTS)
    app.openapi = lambda: described  # type: ignore[method-assign]
    return app
