"""The JavaScript client in a real Chromium, under Content-Security-Policies: `make test-browser`."""

from __future__ import annotations

import base64
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from sona_pg.service.static_pages import POLICY

SOURCES = Path(__file__).parents[3] / "clients" / "js" / "src"
WITH_WASM = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
PROGRAM = """async (told) => {
  const { LocalModel } = await import("/index.js");
  const model = new LocalModel(told);
  return [model.computes, Array.from(model.applyMicroLora([1, 2])), model.findPatterns([0, 3])[0].id];
}"""


def floats(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


# A page with a queue; `tell` adds an entry, and `sent` has the sequence numbers that its service was given.
QUEUE = """async (answers) => {
  const { browserStorage, FeedbackQueue, SonaClient, uuid7 } = await import("/index.js");
  window.sent = [];
  const fetch = async (_, { body }) => {
    if (!answers) throw new TypeError("fetch failed");
    window.sent.push(...JSON.parse(body).feedback.map((one) => one.sequence));
    return new Response("{}", { headers: { "Content-Type": "application/json" } });
  };
  const client = new SonaClient("http://service.example", { space: "support", fetch });
  window.queue = new FeedbackQueue(client, { storage: browserStorage(), delay: 1 });
  const fact = (sequence) => ({ trajectory: uuid7(), quality: 1, sequence });
  window.tell = (sequence) => window.queue.add("feedback", fact(sequence), `${sequence}`);
}"""
ENTRIES = "Object.keys(localStorage).filter((key) => key.startsWith('sona-pg queue/')).length"

TOLD = {
    "version": 1,
    "dim": 2,
    "micro": {"rank": 1, "scale": 0.5, "a": floats(1, 1), "b": floats(2, 4)},
    "base": [],
    "patterns": [{"id": "east"}, {"id": "north"}],
    "centroids": floats(1, 0, 0, 1),
}


class Sources(SimpleHTTPRequestHandler):
    """The client's modules and an empty page, under the policy that the server names."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=SOURCES)

    def do_GET(self) -> None:
        if self.path != "/":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.server.policy)  # type: ignore[attr-defined]
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@contextmanager
def sources(policy: str) -> Iterator[str]:
    """The client's modules on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sources)
    server.policy = policy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("policy", "computes"), [(WITH_WASM, "wasm"), (POLICY, "javascript")])
def test_the_client_computes_under_a_strict_policy(page: Page, policy: str, computes: str) -> None:
    with sources(policy) as url:
        page.goto(url)
        assert page.evaluate(PROGRAM, TOLD) == [computes, [4, 8], "north"]


def test_a_tab_that_goes_leaves_its_entries_to_one_that_stays(browser: Browser) -> None:
    with sources(POLICY) as url, browser.new_context() as context:

        def opened(answers: bool) -> Page:
            tab = context.new_page()
            tab.goto(url)
            tab.evaluate(QUEUE, answers)
            return tab

        stays = opened(True)
        for told in range(5):
            goes = opened(False)
            goes.evaluate("(told) => tell(told)", 10 + told)
            stays.evaluate("(told) => tell(told)", 20 + told)
            stays.wait_for_function("(told) => sent.includes(20 + told)", arg=told)
            assert goes.evaluate(ENTRIES) == 1  # it lives: nobody takes or deletes its entry
            goes.goto("about:blank")
            stays.wait_for_function("(told) => sent.includes(10 + told)", arg=told)
        stays.wait_for_function(f"{ENTRIES} === 0")
        assert sorted(stays.evaluate("sent")) == [*range(10, 15), *range(20, 25)]


def test_the_next_visit_sends_what_the_last_one_left(browser: Browser) -> None:
    with sources(POLICY) as url, browser.new_context() as context:
        tab = context.new_page()
        tab.goto(url)
        tab.evaluate(QUEUE, False)
        tab.evaluate("tell(1), addEventListener('pagehide', () => tell(2))")
        tab.reload()
        tab.evaluate(QUEUE, True)
        tab.wait_for_function("sent.length === 2")
        tab.wait_for_function(f"{ENTRIES} === 0")
