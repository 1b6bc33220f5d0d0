"""Topics put together on the page, in a real Chromium: `make test-browser`."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.service.browser.watched import WIDTHS, Watched
from tests.service.site import Site

QUESTIONS = (
    "where is my parcel", "I want a refund", "the coupon is refused", "how do I change my password",
    "do you ship to Norway", "the lamp is broken", "cancel my subscription", "which bed is the largest",
    "when does the shop open", "I need an invoice", "can I pay by card", "how do I clean leather",
)  # fmt: skip
GREETINGS = ("", "Hello, ", "Quick question: ")
LEVEL = "label.inline:has-text('Topics') select"


@pytest.fixture(scope="module")
def greeted(site: Site) -> str:
    """A space whose topics are split by greetings, so that no route of any has ten ratings."""
    site.post("/v1/spaces", {"name": "greeted", "dim": 256})
    rows = [
        {"text": greeting + question, "route": ("large", "small")[place % 2], "quality": float(place % 2 == 0)}
        for question in QUESTIONS
        for greeting in GREETINGS
        for place in range(8)
    ]
    site.post("/v1/trajectories/batch?space=greeted", {"trajectories": rows})
    site.post("/v1/learn?space=greeted")
    return "greeted"


@pytest.mark.parametrize("width", WIDTHS)
def test_topics_are_put_together_by_the_keyboard_and_stay_so(
    browser: Browser, site: Site, greeted: str, width: str
) -> None:
    watched = Watched(browser, site, WIDTHS[width])
    page = watched.page
    page.goto(f"{site.url}/?space={greeted}#patterns")
    level = page.locator(LEVEL)
    expect(level).to_have_value("10")  # of all topics none has a best route
    expect(page.locator("text=So many were chosen")).to_be_visible()
    expect(page.locator("section:has-text('Where it goes wrong') td:has-text('large')").first).to_be_visible()
    expect(page.locator("text=Choose all topics above to name one.")).to_be_visible()
    rows = page.locator("section:has-text('In the chosen period') tbody tr")
    expect(rows).to_have_count(10)
    watched.require_readable(f"topic-levels-{width}")
    level.focus()
    page.keyboard.press("Home")
    expect(level).to_have_value("all")
    expect(level).to_be_focused()
    expect(page.locator("text=So many were chosen")).to_have_count(0)
    expect(page.locator("section:has-text('Where it goes wrong') td:has-text('large')")).to_have_count(0)
    expect(page.get_by_label("Name this topic")).to_be_visible()
    assert "topics=all" in page.url
    page.reload()
    expect(page.locator(LEVEL)).to_have_value("all")
    watched.close()


def test_a_space_of_few_topics_has_nothing_to_put_together(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "few", "dim": 256})
    row = {"text": "where is my parcel", "quality": 1.0}
    site.post("/v1/trajectories/batch?space=few", {"trajectories": [row] * 8})
    site.post("/v1/learn?space=few")
    page.goto(f"{site.url}/?space=few#patterns")
    page.wait_for_selector("text=1 topic of version 1")
    expect(page.locator(LEVEL)).to_have_count(0)
