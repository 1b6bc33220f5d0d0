"""Dashboard and chat in Chromium over a million trajectories: `python -m benchmarks.bench_pages`.

Needs Playwright and Chromium (`make test-browser` installs the former), and axe-core for contrast and its other rules:
`npm install --prefix build/browser axe-core@4`, or its `axe.min.js` named by AXE. Every view is opened with an empty
cache, in a context of its own. The figures are Lighthouse's: first contentful paint; total blocking time, the part
beyond 50 ms of each task of the main thread; bytes on the wire. A view is complete once nothing of it is awaited.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bench_sql import STORED, fill
from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import server

VIEWS = ("overview", "patterns", "routes", "travel", "fleet", "memory", "demo")
ROUNDS = 5
FIRST_VIEW, BLOCKED, SENT = 1.0, 0.2, 150_000  # targets: seconds, seconds, bytes
AXE = Path(os.environ.get("AXE", "build/browser/node_modules/axe-core/axe.min.js"))
SHOWN = """() => document.querySelector("main h1") && !document.querySelector("[aria-busy]")"""
DRAWN = """() =>
document.querySelector("main h1") && !document.querySelector("[aria-busy]") && !/^…$/m.test(document.body.innerText)
"""
WATCH = """
window.blocked = 0;
const add = (task) => { window.blocked += Math.max(0, task.duration - 50); };
new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "longtask", buffered: true });
"""


class Seen(NamedTuple):
    """One look at a view."""

    painted: float  # seconds until the first contentful paint
    shown: float  # seconds until the view is there; figures that take longer may still be awaited in their places
    drawn: float  # seconds until nothing is awaited
    blocked: float  # seconds that the main thread was blocked
    sent: int  # bytes on the wire
    serious: list[str]  # what axe finds serious or critical


@contextmanager
def served(url: str) -> Iterator[str]:
    """Run `sona-pg serve` for the filled space; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("sona-pg")
    command = [program, "serve", "--space", "support", "--no-learn", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"SONA_PG_URL": url}, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{address}/ready").close()
                break
            except urllib.error.URLError:
                assert process.poll() is None, "the service has ended"
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def look(browser: Any, address: str, view: str, scheme: str = "light") -> Seen:
    """Open a view with an empty cache; raise if it says that something went wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        sent = [0]
        wire = context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.on("Network.loadingFinished", lambda told: sent.__setitem__(0, sent[0] + int(told["encodedDataLength"])))
        page.add_init_script(WATCH)
        began = time.perf_counter()
        page.goto(f"{address}/demo" if view == "demo" else f"{address}/#{view}")
        page.wait_for_function(SHOWN, polling=10)
        shown = time.perf_counter() - began
        page.wait_for_function(DRAWN, polling=10)
        drawn = time.perf_counter() - began
        page.wait_for_timeout(300)  # what is blocked after it counts too
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        blocked = page.evaluate("window.blocked") / 1000
        assert not wrong, (view, wrong)
        assert page.locator(".problem:visible").count() == 0, view
        return Seen(painted, shown, drawn, blocked, sent[0], _serious(page))
    finally:
        context.close()


def _serious(page: Any) -> list[str]:
    if not AXE.is_file():
        return []
    page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [one["id"] for one in found if one["impact"] in ("serious", "critical")]


def told(seen: list[Seen]) -> str:
    """Return the medians of what is beside the time until a view is shown."""
    names = ("painted", "drawn", "blocked")
    painted, drawn, blocked = (statistics.median(getattr(one, name) for one in seen) for name in names)
    serious = sorted({name for one in seen for name in one.serious})
    axe = "no axe" if not AXE.is_file() else f"axe: {', '.join(serious) or '0 serious'}"
    paint = f"painted {seconds(painted)}, complete {seconds(drawn)}, blocked {blocked * 1000:.0f} ms"
    return f"{paint}, {seen[0].sent / 1000:.0f} kB, {axe}"


def suite(options: Options) -> None:
    """Look at every view."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        options.emit(Line("the pages in Chromium", "no Playwright or Chromium", target=f"<= {FIRST_VIEW:g} s"))
        return
    stored = options.rows(STORED)
    with server(options.home) as url:
        fill(url, stored)
        with served(url) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            first = look(browser, address, "overview")
            _emit(options, f"the first view of a server that has just begun, {stored} trajectories", [first])
            for view in VIEWS:
                seen = [look(browser, address, view, "dark" if turn % 2 else "light") for turn in range(ROUNDS)]
                _emit(options, f"{view}, an empty cache, median of {ROUNDS}", seen)
            browser.close()


def _emit(options: Options, what: str, seen: list[Seen]) -> None:
    shown = statistics.median(one.shown for one in seen)
    blocked = statistics.median(one.blocked for one in seen)
    fine = shown <= FIRST_VIEW and blocked <= BLOCKED and seen[0].sent <= SENT and not any(one.serious for one in seen)
    target = f"<= {FIRST_VIEW:g} s, {BLOCKED * 1000:.0f} ms, {SENT // 1000} kB"
    options.emit(Line(what, f"shown {seconds(shown)}", told(seen), target=target, reached=fine))


if __name__ == "__main__":
    run(__doc__, suite)
