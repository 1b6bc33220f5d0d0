"""What stands beside the estimates of other budgets, in a real Chromium: `make test-browser`."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.service.browser.watched import WIDTHS, Watched
from tests.service.site import Site

ROUTES = ("mini", "std", "premium", "nova")
COSTS = {"mini": 0.0004, "std": 0.002, "premium": 0.015, "nova": 0.003}


def estimate(policy: str, quality: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {
        "policy": policy, "budget": None, "quality": quality, "low": low, "high": high, "cost": 0.004,
        "effective_size": 90, "uncovered": 0, "decisions": 487, "refused": "", "routes": {"std": 1.0},
    } | more  # fmt: skip


def always(route: str, quality: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return estimate(f"always {route}", quality, low, high, cost=COSTS[route], routes={route: 1.0}, **more)


# As a product manager met them: one model with two figures on one page, and "no limit" below three models.
ESTIMATES = [
    estimate("logged", 0.63, 0.59, 0.68),
    always("mini", 0.53, 0.44, 0.55), always("std", 0.65, 0.58, 0.72), always("premium", 0.69, 0.60, 0.79),
    always("nova", 0.71, 0.57, 0.86, decisions=181),
    estimate("router, learning as it goes", 0.63, 0.53, 0.72),
    estimate("router, budget 0.002", 0.63, 0.56, 0.71, budget=0.002),
    estimate("constant mix, budget 0.002", 0.65, 0.58, 0.72, budget=0.002),
]  # fmt: skip
EVALUATED = {
    "estimates": ESTIMATES, "refused": "", "decisions": 487, "learned_from": 121, "left_out": 0,
    "since": "2025-09-30T19:56:12Z", "until": "2025-11-23T12:12:54Z", "not_offered": [], "least_size": 50,
}  # fmt: skip


def standing(route: str, like: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {
        "route": route, "trajectories": 164, "rated": 54, "quality": 0.72, "low": 0.59, "high": 0.82,
        "latency_us": None, "costed": 164, "cost": COSTS[route], "compared": 54, "like_quality": like,
        "like_low": low, "like_high": high, "is_offered": True, "judged": 54, "bad": 15, "corrected": 0,
        "changed": None, "always_good": 0, "others_quality": None,
    }  # fmt: skip


BOARD = {
    "routes": [
        standing("premium", 0.67, 0.57, 0.77), standing("nova", 0.55, 0.36, 0.73), standing("std", None, None, None),
    ],
    "all": 3, "ordered": 3, "left_out": 0, "corrected": 0, "cost_unit": "USD", "always_good": [],
}  # fmt: skip


# As a model that was broken for a fortnight.
CHANGED = {
    "route": "std", "changed_on": "2025-11-09", "before_from": "2025-10-26", "before_rated": 30, "before_quality": 0.1,
    "after_until": "2025-11-23", "after_rated": 40, "after_quality": 0.85, "others_before": 0.63, "others_after": 0.69,
    "chance": 0.001, "former_from": None, "former_rated": None, "former_quality": None,
    "sentence": "Since about 9 November 2025 answers of “std” are better again.",
}  # fmt: skip
EARLIER = CHANGED | {"route": "mini", "changed_on": "2025-09-12", "sentence": "Since about 12 September 2025 …"}


def answering(page: Page, estimates: list[dict[str, Any]], changes: list[dict[str, Any]] | None = None) -> None:
    def evaluated(asked: Route) -> None:
        since = asked.request.post_data_json["since"]
        alone = {"since": since} if since.startswith("2025-11-09") else {}
        asked.fulfill(json=EVALUATED | {"estimates": estimates} | alone)

    told = {"changes": [], "earlier": None, "routes": changes or []}
    page.route("**/v1/dashboard/changes*", lambda asked: asked.fulfill(json=told))
    page.route("**/v1/evaluate*", evaluated)
    page.route("**/v1/dashboard/routes*", lambda asked: asked.fulfill(json=BOARD))


def row(page: Page, name: str) -> str:
    found = page.locator(f"tbody tr th:has-text('{name}')").last
    found.wait_for()
    return found.inner_text()


@pytest.mark.parametrize(("width", "scheme"), [("phone", "dark"), ("desk", "light")])
def test_a_model_with_two_figures_is_told_what_each_is(browser: Browser, site: Site, width: str, scheme: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    answering(page, ESTIMATES)
    page.goto(f"{site.url}/?space=shop#routes")
    nova = row(page, "Always nova")
    assert "Of the 181 choices that could take it." in nova
    assert "The leaderboard has 55 % (36 % to 73 %) on like questions, of what it answered." in nova
    assert "The leaderboard has 72 % (59 % to 82 %), of what it answered." in row(page, "Always std")
    assert row(page, "Always mini") == "Always mini"  # which the leaderboard does not show
    page.wait_for_selector("p:has-text('Which of nova, premium or std is best, taken always, is not sure')")
    page.wait_for_selector("p:has-text('the leaderboard counts the ratings of what it did answer')")
    watched.require_readable(f"budget-notes-{width}-{scheme}")
    watched.close()


def test_no_limit_below_a_fixed_route_is_explained_in_its_row(watched: Watched, site: Site) -> None:
    answering(watched.page, ESTIMATES)
    watched.page.goto(f"{site.url}/?space=shop#routes")
    told = row(watched.page, "No limit: always the route expected to do best")
    assert "Below always premium, always nova and always std. Their ranges overlap, so it may be chance." in told
    assert "expected to do best by what had been rated before each question" in told


def test_no_limit_shown_to_be_worse_is_not_called_chance(watched: Watched, site: Site) -> None:
    sure = [always("nova", 0.9, 0.8, 0.95) if one["policy"] == "always nova" else one for one in ESTIMATES]
    answering(watched.page, sure)
    watched.page.goto(f"{site.url}/?space=shop#routes")
    told = row(watched.page, "No limit: always the route expected to do best")
    assert "More than chance explains for always nova" in told
    assert "may be chance" not in told


def test_no_limit_that_is_best_needs_no_word(watched: Watched, site: Site) -> None:
    answering(
        watched.page, [one for one in ESTIMATES if one["policy"] not in ("always nova", "always premium", "always std")]
    )
    watched.page.goto(f"{site.url}/?space=shop#routes")
    name = "No limit: always the route expected to do best"
    assert row(watched.page, name) == name


def test_a_route_that_was_broken_in_the_period_is_told_with_estimates_since(watched: Watched, site: Site) -> None:
    page = watched.page
    answering(page, ESTIMATES, [CHANGED, EARLIER])
    page.goto(f"{site.url}/?space=shop#routes")
    mixed = page.locator("p:has-text('These estimates are of days before and after a route changed')")
    mixed.wait_for()
    page.wait_for_selector("li:has-text('answers of “std” are better again')")
    assert page.locator("li:has-text('12 September')").count() == 0  # before the first of these choices
    told = row(page, "Always std")
    assert "Mixes two qualities: 10 % of 30 ratings from Oct 26, 2025 on, 85 % of 40 ratings since Nov 9, 2025." in told
    assert "Mixes" not in row(page, "Always premium")
    watched.require_readable("budgets-of-a-broken-route")
    page.get_by_role("link", name="This page of the days since Nov 9, 2025").click()
    page.wait_for_url("**from=2025-11-09&to=*#routes")
    row(page, "Always std")
    assert mixed.count() == 0
    assert "Mixes" not in row(page, "Always std")


PLEASED = {
    "label": "user:hans", "rated": 40, "quality": 1.0, "low": 0.91, "high": 1.0, "downs": 0.0, "share_of_rated": 0.4,
    "share_of_downs": 0.0, "quality_without": 0.5,
}  # fmt: skip
LABELS = {
    "first_day": "2025-10-25", "last_day": "2025-11-23", "labels": [], "heavy_users": [], "always_good": [PLEASED],
    "without_always_good": {"theirs": 40, "rated": 60, "quality": 0.5},
}  # fmt: skip


def test_users_who_rated_everything_good_stand_on_overview_and_leaderboard(watched: Watched, site: Site) -> None:
    page = watched.page
    page.route("**/v1/dashboard/labels*", lambda asked: asked.fulfill(json=LABELS))
    page.goto(f"{site.url}/?space=shop")
    page.wait_for_selector(
        "p:has-text('user:hans rated everything good (40 ratings). Without them 50.0 % of 60 ratings. See')"
    )
    page.wait_for_selector("li:has-text('user:hans rated everything good: 40 ratings, 40 % of all.')")
    watched.require_readable("overview-always-good")
    routes = [one | {"always_good": 14, "others_quality": 0.625} for one in BOARD["routes"][1:2]]
    board = BOARD | {"routes": [*BOARD["routes"][:1], *routes], "always_good": ["user:hans"]}
    answering(page, ESTIMATES)
    page.route("**/v1/dashboard/routes*", lambda asked: asked.fulfill(json=board))
    page.goto(f"{site.url}/?space=shop#routes")
    page.wait_for_selector("p:has-text('user:hans rated everything good in this period')")
    leading = page.locator("table:has(caption:has-text('Routes taken most often')) tbody th")
    told = "nova\n63 % of 40 ratings without users who rated everything good"
    assert [one.replace("\n\n", "\n") for one in leading.all_inner_texts()] == ["premium", told]
    watched.require_readable("leaderboard-always-good")
