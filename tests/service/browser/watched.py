"""A page in a browser that notes whatever goes wrong on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.service.site import Site

if TYPE_CHECKING:  # `make test` reads conftest.py without Playwright
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[3]
SHOTS = ROOT / "build" / "screenshots"
AXE = Path(os.environ["AXE"]) if "AXE" in os.environ else ROOT / "build/browser/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": 390, "tablet": 820, "desk": 1280}


class Watched:
    """A page, and whatever went wrong on it."""

    def __init__(self, browser: Browser, site: Site, width: int = 1280, scheme: Any = "light", **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: None if asked.url.startswith(site.url) else self.wrong.append(asked.url))

    def require_readable(self, name: str) -> None:
        """Take a screenshot; nothing is wider than the window, and axe finds nothing serious."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";0")  # by the debugger, whom the policy does not concern
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, serious

    def close(self) -> None:
        self.context.close()
        assert not self.wrong, self.wrong
