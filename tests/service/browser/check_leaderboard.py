"""The leaderboard of more routes than it shows, in a real Chromium: `make test-browser`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Route

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    """A space of 60 articles; the one taken least often is the worst, another was given to questions of a third."""
    site = Site(store, ServiceOptions(space="articles", dim=256, config=CONFIG))
    rows = [
        {"text": f"question {place}", "route": f"article {place:02}", "quality": float(place not in (58, 59))}
        for place in range(60)
        for _ in range(2 if place == 59 else 3)
    ]
    made = site.post("/v1/trajectories/batch?space=articles", {"trajectories": rows})["ids"]
    for trajectory in made[-4:-2]:  # of article 58
        site.post("/v1/feedback?space=articles", {"trajectory": trajectory, "correction": "article 07"})
    site.post("/v1/learn?space=articles")
    yield site
    site.close()


def test_all_routes_are_ordered_and_not_those_shown_alone(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=articles#routes")
    page.wait_for_selector("caption:has-text('50 of 60')")
    assert "article 59" not in page.locator("#view, main").first.inner_text()
    button = page.locator("thead button:text-is('Bad itself')")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("caption:has-text('the first 50 of 60')")
    board = page.locator("table:has(caption:has-text('Bad itself, highest first'))")
    first = board.locator("tbody tr").first
    assert first.locator("th").inner_text() == "article 59"
    assert first.locator("td[data-name='Bad itself']").inner_text() == "100 % of 2 (34 % to 100 %)"
    second = board.locator("tbody tr").nth(1)
    assert second.locator("th").inner_text() == "article 58"  # of one rating for itself: less sure
    assert second.locator("td[data-name='Another was right']").inner_text() == "2"
    assert first.locator("circle.dot.few").count() == 1
    assert page.evaluate("document.activeElement.textContent").startswith("Bad itself")
    page.get_by_label("Period").select_option("90")  # what is drawn anew keeps the order
    page.wait_for_function("() => document.querySelector('tbody th')?.textContent === 'article 59'")
    page.wait_for_selector("th[aria-sort=descending]:has-text('Bad itself')")
    watched.require_readable("leaderboard-of-many")


def test_what_an_order_leaves_out_is_told(watched: Watched, site: Site) -> None:
    page = watched.page

    def changed(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"all": 60_000, "ordered": 50_000, "left_out": 7})

    page.route("**/v1/dashboard/routes*", changed)
    page.goto(f"{site.url}/?space=articles#routes")
    page.wait_for_selector("caption:has-text('taken most often (50 of 60,000: search for the others')")
    page.wait_for_selector("p:has-text('7 requests of this period are of rarer ones')")
    page.locator("thead button:text-is('Rated bad')").click()
    page.wait_for_selector("caption:has-text('the first 50 of the 50,000 taken most often or rated bad, of 60,000')")
    page.fill("#find-route", "nobody")
    page.keyboard.press("Enter")
    page.wait_for_selector("p:has-text('No route with “nobody” in its name')")
    page.wait_for_selector("p:has-text('7 requests of this period are of rarer ones')")


def test_the_words_of_an_unsure_order_and_of_scant_evidence(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=articles#routes")

    def told(module: str, call: str, given: object) -> object:
        return page.evaluate(f"(given) => import('./assets/{module}.js').then((made) => made.{call}(given))", given)

    like = {"like_quality": 0.52, "like_low": 0.42, "like_high": 0.61, "quality": 0.5, "low": 0.4, "high": 0.6}
    std, mini = like | {"route": "std"}, like | {"route": "mini", "like_low": 0.3, "like_high": 0.45}
    premium = like | {"route": "premium", "like_quality": None, "low": 0.55}
    assert told("leaderboard", "howSure", [std, mini]) == (
        "This order is not sure: the range of std, which comes first, overlaps with that of mini."
    )
    assert told("leaderboard", "howSure", [like | {"route": "large", "like_low": 0.5}, mini]) == (
        "That large comes first is beyond chance."
    )
    assert str(told("leaderboard", "howSure", [premium, mini])).endswith("but not all of these are of like questions.")
    assert str(told("leaderboard", "unlike", [premium, std])).startswith("Too few ratings of premium are of topics")
    scant = {"refused": "too little overlap", "size": 49.97, "least": 50}
    assert told("budgets", "reason", scant) == (
        "not enough evidence: choices like these are worth 49.9 ratings, and it takes 50"
    )
    assert "worth 12 ratings," in str(told("budgets", "reason", scant | {"size": 12.4}))
    assert [told("topic-periods", "points", value) for value in (0.01, -0.1)] == ["+1 point", "−10 points"]


def test_what_takes_the_server_long_is_asked_for_again(watched: Watched, site: Site) -> None:
    page, left = watched.page, [2]

    def found_later(route: Route) -> None:
        if not left[0]:
            route.fallback()
            return
        left[0] -= 1
        route.fulfill(status=503, content_type="application/problem+json", json={"detail": "this goes on: ask again"})

    page.route("**/v1/dashboard/routes*", found_later)
    page.goto(f"{site.url}/?space=articles#routes")
    page.wait_for_selector("caption:has-text('50 of 60')")
    assert left == [0]
    assert page.locator("text=ask again").count() == 0
    watched.wrong[:] = [told for told in watched.wrong if "503 (" not in told]
