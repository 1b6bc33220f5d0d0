"""The memory graph's view in a real Chromium: connections in words, dreams, the search: `make test-browser`."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from tests.service.browser.watched import WIDTHS, Watched
from tests.service.site import Site


def test_a_graph_tells_when_no_dreams_ran_and_when_none_passed(watched: Watched, store: Store, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "dreamless", "dim": 256})
    store.set_settings("dreamless", {"dreams.least_quality": 1.0})
    texts = ["a parcel", "a refund", "a voucher"]
    site.post("/v1/candidates?space=dreamless", {"ids": texts, "texts": texts})
    for place in range(6):
        text = texts[place % 3]
        ranking = site.post("/v1/rank?space=dreamless", {"text": text})
        body = {"text": text, "ranking": ranking, "route": text, "quality": 1, "context": [f"session:{place // 3}"]}
        site.post("/v1/trajectories?space=dreamless", body)
    site.post("/v1/learn?space=dreamless")
    page.goto(f"{site.url}/?space=dreamless#memory")
    page.wait_for_selector("p:has-text('No dreams ran here yet')")
    site.post("/v1/learn/deep?space=dreamless", {"seconds": 30})
    page.reload()
    page.wait_for_selector("p:has-text('The last dreams ran')")
    told = page.locator("p:has-text('The last dreams ran')").inner_text()
    assert "of 50 dreams none passed: " in told
    assert "nothing needs doing" in told
    assert "dreams.least_quality" in told
    about = page.locator("[aria-live] p:has-text(', used ')").get_by_role("link", name="What is Use?")
    assert (about.get_attribute("title") or "").startswith("How often something was used within sessions.")
    watched.require_readable("memory-no-dream-passed")


@pytest.fixture(scope="module")
def dreamt(store: Store, site: Site) -> str:
    """The space ``shop`` after a round of dreams."""
    store.set_settings("shop", {"dreams.least_quality": 0.0, "dreams.least_integration": 0.0, "dreams.novelty": 1.0})
    site.post("/v1/learn/deep?space=shop", {"seconds": 30})
    return f"{site.url}/?space=shop#memory"


@pytest.mark.parametrize(("width", "scheme"), [("phone", "dark"), ("desk", "light")])
def test_a_node_tells_why_it_is_connected_and_the_keyboard_walks_on(
    browser: Browser, site: Site, dreamt: str, width: str, scheme: str
) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    page.goto(dreamt)
    page.wait_for_selector("h3:has-text('strongest first')")
    shares = page.locator("[aria-live] li .quiet").all_text_contents()
    assert shares
    assert all("%" in text for text in shares)
    assert page.locator(".sign.dream").count() > 0  # told apart by its sign and its dashes, not by colour alone
    before = page.locator("[aria-live] h2").inner_text()
    page.locator("[aria-live] li button").first.focus()
    assert page.locator("svg.lit .joint.this").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_function("before => document.querySelector('[aria-live] h2').textContent !== before", arg=before)
    assert page.evaluate("document.activeElement.tagName") == "H2"
    assert page.locator(".joint title").first.text_content()
    watched.require_readable(f"memory-graph-{width}-{scheme}")
    watched.close()


def test_kinds_of_connections_are_hidden_and_shown(watched: Watched, dreamt: str) -> None:
    page = watched.page
    page.goto(dreamt)
    page.wait_for_selector(".joint")
    button = page.locator(".chips button:has-text('alike')")
    assert page.locator(".edge.similarity").count() > 0
    button.click()
    page.wait_for_function("document.querySelectorAll('figure .edge.similarity').length === 0")
    assert button.get_attribute("aria-pressed") == "false"


def test_a_search_finds_a_node_and_what_surrounds_it(watched: Watched, dreamt: str) -> None:
    page = watched.page
    page.goto(dreamt)
    page.fill("#find", "refund")
    page.press("#find", "Enter")
    page.wait_for_selector("[role=status]:has-text('with “refund”')")
    assert "refund" in page.locator("[aria-live] h2").inner_text().lower()
    page.fill("#find", "no node has this text")
    page.press("#find", "Enter")
    page.wait_for_selector("text=No node has “no node has this text” in its text.")
