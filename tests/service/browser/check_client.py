"""The JavaScript client in a real Chromium, under Content-Security-Policies: `make test-browser`."""

from __future__ import annotations

import base64
import struct
import threading
from collections.abc import Iterator
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


@pytest.mark.parametrize(("policy", "computes"), [(WITH_WASM, "wasm"), (POLICY, "javascript")])
def test_the_client_computes_under_a_strict_policy(page: Page, policy: str, computes: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sources)
    server.policy = policy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        assert page.evaluate(PROGRAM, TOLD) == [computes, [4, 8], "north"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
