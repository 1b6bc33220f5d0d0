"""Keys that are no good any more or never were, and browsers that keep nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from sona_pg.service import ServiceOptions, callers
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

# As Chromium does where its settings forbid site data.
FORBIDDEN = """
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("Access is denied", "SecurityError"); } });
}
"""
SHOP = "h1:text-is('How shop is doing')"


@pytest.fixture
def closed(store: Store, site: Site) -> Iterator[Site]:
    """Serve the space ``shop`` of ``site`` to keys alone."""
    closed = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG, require_keys=True))
    yield closed
    closed.close()


@pytest.fixture
def asked(browser: Browser, closed: Site) -> Iterator[Watched]:
    """Open the dashboard, which asks for a key."""
    watched = Watched(browser, closed)
    watched.page.goto(closed.url)
    watched.page.wait_for_selector("dialog[open]")
    yield watched
    watched.wrong = [said for said in watched.wrong if "401" not in said]  # without a key, or with a revoked one
    watched.close()


@pytest.mark.parametrize("quoted", ["“{}”", "{}…", "{} {}"])
def test_a_key_of_other_characters_is_called_no_good(asked: Watched, store: Store, quoted: str) -> None:
    _, token = store.create_key("shop", "pasted", ["read"])
    page = asked.page
    page.fill("#token", quoted.format(token, token))
    page.press("#token", "Enter")
    page.wait_for_selector("dialog[open] [role=alert]:has-text('This key is no good')")
    asked.require_readable("bad-key")
    assert page.locator(".lost").is_hidden()
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector(SHOP)
    page.wait_for_selector("dialog", state="hidden")


def test_a_page_whose_key_is_revoked_says_so_and_asks(
    asked: Watched, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, token = store.create_key("shop", "gone", ["read"])
    _, next_token = store.create_key("shop", "next", ["read"])
    page = asked.page
    monkeypatch.setattr(callers, "KNOWN_FOR", 0.0)
    with page.expect_response("**/v1/events*"):
        page.fill("#token", token)
        page.press("#token", "Enter")
    page.wait_for_selector(SHOP)
    store.revoke_key("shop", key.key_id)
    page.wait_for_selector("dialog[open] [role=alert]:has-text('was revoked: nothing new is shown')")
    asked.require_readable("revoked-key")
    with page.expect_response("**/v1/events*") as followed:
        page.fill("#token", next_token)
        page.press("#token", "Enter")
    assert followed.value.status == 200
    page.wait_for_selector(SHOP)


def test_pages_work_in_a_browser_that_keeps_nothing(watched: Watched, site: Site) -> None:
    watched.context.add_init_script(FORBIDDEN)
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    page.wait_for_selector(SHOP)
    page.click("#theme")
    page.wait_for_selector("html[data-theme=light]")
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    page.goto(f"{site.url}/glossary")
    page.wait_for_selector("#words dt")
    page.goto(f"{site.url}/docs")
    page.wait_for_selector("summary:has-text('POST /v1/feedback')")


def test_a_browser_that_keeps_nothing_keeps_the_key_for_the_page(browser: Browser, closed: Site, store: Store) -> None:
    _, token = store.create_key("shop", "viewer", ["read"])
    watched = Watched(browser, closed)
    watched.context.add_init_script(FORBIDDEN)
    page = watched.page
    page.goto(closed.url)
    page.wait_for_selector("dialog[open] :text('This browser forbids sites to keep data')")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector(SHOP)
    page.click("nav a[href='#routes']")
    page.wait_for_selector("nav a[href='#routes'][aria-current]")
    page.wait_for_selector("main:not([aria-busy]) h1")
    assert page.locator("dialog[open]").count() == 0
    watched.wrong = [said for said in watched.wrong if "401" not in said]
    watched.close()
