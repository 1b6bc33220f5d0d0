"""The service in this process, over one store that the tests of a module share."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import numpy as np
import psycopg
import pytest
from fastapi import FastAPI
from fix_databases import NUMBERS, _database, with_database

from sona_pg import LoopConfig, MaintenanceConfig, SonaConfig, Store
from sona_pg.service import ServiceOptions, create_app
from sona_pg.text import CallableEmbedder

if TYPE_CHECKING:  # `make test` reads this file without Playwright
    from playwright.sync_api import Browser

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
OPTIONS = ServiceOptions(dim=DIM, config=CONFIG)
HERE = "http://127.0.0.1"
OUTCOMES = """
SELECT o.route, o.quality, t.query, t.latency_us, t.context, t.parameters, f.source, f.quality
FROM sona.outcomes o JOIN sona.trajectories t ON t.id = o.trajectory_id
JOIN sona.spaces s ON s.space_id = t.space_id AND s.name = %s
LEFT JOIN sona.feedback f ON f.space_id = t.space_id AND f.trajectory_id = t.id ORDER BY t.id
"""


def letters(texts: list[str]) -> Any:
    """Embed texts by their letters; one without any is all 0."""
    rows = np.zeros((len(texts), DIM), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for letter in filter(str.isalnum, text.lower()):
            row[ord(letter) % DIM] += 1
    return rows


EMBEDDER = CallableEmbedder(letters, DIM)


class Service:
    """An application whose lifespan runs on a loop in a thread, and a client that asks it in this process."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._lifespan = app.router.lifespan_context(app)
        self.run(self._lifespan.__aenter__())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def ask(self, method: str, path: str, *, client: tuple[str, int] = ("127.0.0.1", 1), **request: Any) -> Any:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client, raise_app_exceptions=False)
            base = request.pop("base_url", HERE)
            async with httpx.AsyncClient(transport=transport, base_url=base) as http:
                return await http.request(method, path, **request)

        return self.run(asked())

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self.ask("GET", path, **request)

    def post(self, path: str, json: Any = None, **request: Any) -> httpx.Response:
        if json is not None:
            request["json"] = json
        return self.ask("POST", path, **request)

    @property
    def engine(self) -> Any:
        return self.app.state.service.spaces.opened["default"].engine

    def close(self) -> None:
        self.run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def serving(store: Store | str, options: ServiceOptions = OPTIONS, **more: Any) -> Iterator[Service]:
    service = Service(create_app(store, options, embedder=EMBEDDER, **more))
    try:
        yield service
    finally:
        service.close()


@pytest.fixture(scope="session")
def service_url(postgres_server: Any, administrator: Any, template: str) -> Iterator[str]:
    assert NUMBERS
    with _database(administrator, template) as name:
        yield with_database(postgres_server.url, name)


@pytest.fixture(scope="session")
def service_store(service_url: str) -> Iterator[Store]:
    with Store(service_url) as store:
        yield store


@pytest.fixture(scope="session")
def service(service_store: Store) -> Iterator[Service]:
    with serving(service_store) as running:
        yield running


@pytest.fixture
def space(service: Service) -> Callable[[], str]:
    """Make a space of the test's own."""
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        name = f"of {uuid4().hex} {made}"  # no id of an object: another test's may have had it
        assert service.post("/v1/spaces", {"name": name, "dim": DIM}).status_code == 201
        return name

    return make


@pytest.fixture
def rows(service: Service, service_url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Read the outcomes of a space with their feedback."""

    def read(name: str) -> list[tuple[Any, ...]]:
        service.post("/v1/learn", params={"space": name})  # which commits first
        with psycopg.connect(service_url) as connection:
            return connection.execute(OUTCOMES, [name]).fetchall()

    return read


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, of all checks in a process: Playwright's loop runs until its end, beside which it starts no other."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()
