"""A model that broke for one kind of question is told, and a source that was wrong throughout is taken back at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Route

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    site = Site(store, ServiceOptions(space="models", dim=256, config=CONFIG))
    for days_ago, transfers in ((3, 4), (40, 24)):
        at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
        rows = [
            {"id": f"{days_ago} {text} {route} {place}", "started_at": at, "text": text, "route": route,
             "quality": float(place < good)}
            for text, route, good in (("send money abroad", "nova", transfers), ("when do you open", "nova", 20),
                                      ("send money abroad", "swift", 15))
            for place in range(30)
        ]  # fmt: skip
        site.post("/v1/trajectories/batch?space=models", {"trajectories": rows})
    site.post("/v1/learn?space=models")
    yield site
    site.close()


def test_a_model_that_broke_for_one_kind_of_question_is_named_on_overview_and_topics(
    watched: Watched, site: Site
) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=models")
    told = page.locator("section:has(h2:text-is('Changed for one kind of question alone'))")
    told.locator("li:has-text('▼ Answers of “nova” to questions like “send money abroad” were rated lower')").wait_for()
    told.locator("text=13 % of 30 ratings").wait_for()
    assert "swift" not in told.inner_text()
    watched.require_readable("changed-for-one-kind")
    told.get_by_role("link", name="See all topics").click()
    recent = page.locator("section:has(h2:text-is('In the chosen period'))")
    recent.locator("li:has-text('Its answers to all other questions: 67 % of 30, before 67 % of 30')").wait_for()
    recent.get_by_role("button", name="send money abroad").click()
    page.locator("li:has-text('nova'):has-text('in the period 13 % of 30, 80 % of 30 before it')").wait_for()
    watched.require_readable("topics-with-routes-of-the-period")
    page.get_by_label("Period").select_option("3650")  # nothing lies before
    page.wait_for_selector("caption:has-text('Most bad ratings first, the first record to')")
    assert recent.locator("li:has-text('were rated lower')").count() == 0


def said(site: Site, space: str, count: int) -> str:
    """Record corrections of ``count`` requests; return the address of the space's page."""
    site.post("/v1/spaces", {"name": space, "dim": 256})
    rows = [{"text": f"question {place}", "route": "large"} for place in range(count)]
    for trajectory in site.post(f"/v1/trajectories/batch?space={space}", {"trajectories": rows})["ids"]:
        site.post(f"/v1/feedback?space={space}", {"trajectory": trajectory, "correction": "small"})
    site.post(f"/v1/learn?space={space}")
    return f"{site.url}/?space={space}"


def test_what_a_source_said_is_taken_back_at_once(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(said(site, "mistaken", 230))  # more than the service tells at once
    latest = page.locator("section:has-text('Latest feedback')")
    assert latest.get_by_role("button", name="Take back all of").count() == 0  # until a source is chosen
    latest.get_by_role("button", name="Only feedback of").first.click()
    source = latest.get_by_label("By", exact=True).input_value()
    latest.get_by_role("button", name=f"Take back all of “{source}”").click()
    page.locator("dialog:has-text('said of 200 requests and more')").wait_for()
    page.get_by_role("button", name="Cancel").click()
    latest.get_by_role("button", name=f"Take back all of “{source}”").click()
    page.get_by_role("button", name="Take it back").click()
    latest.locator(f"[role=status]:has-text('Taken back: what “{source}” said of 230 requests')").wait_for()
    page.wait_for_function("() => !document.querySelector('.undo')")
    watched.require_readable("a-source-taken-back")


def test_what_could_not_be_taken_back_is_told(watched: Watched, site: Site) -> None:
    page, left = watched.page, [5]

    def refuse(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.continue_()
        else:
            route.fulfill(status=400, json={"detail": "the database refused"})

    page.goto(said(site, "halfway", 12))
    page.route("**/v1/feedback*", refuse)
    latest = page.locator("section:has-text('Latest feedback')")
    latest.get_by_role("button", name="Only feedback of").first.click()
    latest.get_by_role("button", name="Take back all of").click()
    page.get_by_role("button", name="Take it back").click()
    latest.locator("[role=status]:has-text('Taken back of 5 requests')").wait_for()
    page.unroute("**/v1/feedback*")
    page.wait_for_timeout(2000)  # records that come in draw the list anew
    latest.locator("[role=status]:has-text('of the others still counts')").wait_for()
    latest.get_by_role("button", name="Take back all of").click()
    page.locator("dialog:has-text('said of 7 requests')").wait_for()
    page.get_by_role("button", name="Take it back").click()
    latest.locator("[role=status]:has-text('said of 7 requests')").wait_for()
    watched.wrong = [said for said in watched.wrong if "400" not in said]
