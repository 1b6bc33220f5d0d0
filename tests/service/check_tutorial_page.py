"""The page of tutorial 4 in a real Chromium: it guesses colours after it was told some. `make test-browser`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG
from tests.service.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
GUESS = re.compile("I know no colours yet|Is it")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *told: Any) -> None:
        """Say nothing."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, without what others have stored."""
    with browser.new_page() as page:
        yield page


@pytest.fixture
def pages() -> Iterator[str]:
    """The repository's files on a port of this machine, as `python -m http.server` has them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=ROOT)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_the_page_guesses_what_it_was_told(service_store: Store, pages: str, page: Page) -> None:
    options = ServiceOptions(space="colours", dim=8, config=CONFIG, origins=(pages,))
    site = Site(service_store, options)
    try:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(f"{pages}/examples/tutorials/04_browser/index.html?service={site.url}")
        page.get_by_text("I know no colours yet").wait_for()
        for _ in range(40):
            page.get_by_role("button", name="green").click()
        page.get_by_role("button", name="Learn now").click()
        page.get_by_text("version 1: learned from 40 trajectories").wait_for()
        page.get_by_text("Is it green?").wait_for()
        page.get_by_role("button", name="green").click()
        page.get_by_text("1 of the last 1 guesses were right, version 1.").wait_for()
        assert not wrong
    finally:
        site.close()


def test_the_page_says_that_the_service_is_away_and_goes_on_once_it_answers(
    service_store: Store, pages: str, page: Page
) -> None:
    options = ServiceOptions(space="colours", dim=8, config=CONFIG, origins=(pages,))
    site = Site(service_store, options)
    address = f"{pages}/examples/tutorials/04_browser/index.html?service={site.url}"
    site.close()
    page.goto(address)
    page.get_by_text("does not answer").wait_for()
    site = Site(service_store, options, port=site.port)
    try:
        page.get_by_text(GUESS).wait_for()
    finally:
        site.close()
    page.reload()  # by the adapters of before
    page.get_by_text(GUESS).wait_for()
    page.get_by_role("button", name="Learn now").click()
    page.get_by_text("nothing was learned").wait_for()
