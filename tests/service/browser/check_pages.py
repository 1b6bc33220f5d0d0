"""All pages in a real Chromium, with real data: `make test-browser`. Screenshots are left in build/screenshots."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import WIDTHS, Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

VIEWS = ["overview", "patterns", "routes", "travel", "fleet", "memory"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_each_view_is_drawn_and_readable(browser: Browser, site: Site, width: str, scheme: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    for view in VIEWS:
        page.click(f"nav a[href='#{view}']")
        page.wait_for_selector(f"nav a[href='#{view}'][aria-current]")
        page.wait_for_selector("main:not([aria-busy]) h1")
        if view == "travel":
            page.fill("#query", "my money has not come back")
            page.press("#query", "Enter")
            page.wait_for_selector("text=Feedback that moved it")
        if view == "fleet":
            page.wait_for_selector("th:has-text('Check says')")
        else:
            page.wait_for_selector("main svg")
        watched.require_readable(f"{view}-{width}-{scheme}")
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    watched.require_readable(f"demo-{width}-{scheme}")
    watched.close()


def test_the_pages_keep_the_chosen_space(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    for link in ("Chat", "HTTP API", "Chat", "Topics"):
        page.click(f"a:text-is('{link}')")
        page.wait_for_url("**/*?space=shop*")
    page.wait_for_selector(".bubble")
    page.select_option("#space", "demo")
    page.click("a:text-is('Chat')")
    page.wait_for_url("**/demo?space=demo")
    page.goto(f"{site.url}/?space=shop#routes")
    page.locator("a.help").first.click()
    page.wait_for_url("**/glossary?space=shop#*")
    page.goto(f"{site.url}/demo?space=shop")
    page.click("text=See how versions answer")
    page.wait_for_url("**/?space=shop#travel")


def test_a_page_says_that_the_server_is_away_and_goes_on(browser: Browser, store: Store) -> None:
    first = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG))
    watched = Watched(browser, first)
    page = watched.page
    page.goto(first.url)
    page.wait_for_selector(".tiles")
    assert page.locator(".lost").is_hidden()
    first.close()
    page.wait_for_selector(".lost:has-text('The server has not answered since')")
    watched.require_readable("server-away")
    again = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG), port=first.port)
    page.wait_for_selector(".lost", state="hidden")
    page.wait_for_selector(".tiles")
    watched.wrong = [said for said in watched.wrong if "net::ERR_" not in said and "503" not in said]  # away, or ending
    watched.close()
    again.close()


def test_a_space_of_another_dimension_says_that_words_cannot_be_asked(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "narrow", "dim": 16})
    page.goto(f"{site.url}/?space=narrow#travel")
    page.wait_for_selector("text=Questions in words cannot be asked here")
    page.goto(f"{site.url}/demo?space=narrow")
    page.wait_for_selector("text=Questions in words cannot be asked here")
    assert page.locator("#question").is_disabled()
    watched.require_readable("wordless")
    watched.wrong = [said for said in watched.wrong if "422" not in said]  # the answer to whether it can be asked


def test_a_key_is_asked_for_and_kept_for_the_tab(browser: Browser, store: Store, site: Site) -> None:
    _, token = store.create_key("shop", "viewer", ["read"])
    closed = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG, require_keys=True))
    watched = Watched(browser, closed)
    page = watched.page
    page.goto(closed.url)
    page.wait_for_selector("dialog[open]")
    watched.require_readable("key")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("h1:text-is('How shop is doing')")
    page.reload()
    page.wait_for_selector("h1:text-is('How shop is doing')")
    assert page.evaluate("localStorage.length") == 0
    watched.wrong = [said for said in watched.wrong if "401" not in said]  # before the key was typed
    watched.close()
    closed.close()


def test_the_operations_are_listed_and_found(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    page.click("text=HTTP API")
    page.wait_for_selector("h1:text-is('HTTP API')")
    page.fill("#find", "feedback")
    page.click("summary:has-text('POST /v1/feedback')")
    page.wait_for_selector("#give_feedback[open] pre:has-text('\"trajectory\":')")
    watched.require_readable("operations")
