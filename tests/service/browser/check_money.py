"""Money in a real Chromium: other budgets, estimated from what a router chose: `make test-browser`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.conftest import COSTS
from tests.service.browser.watched import WIDTHS, Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

QUESTIONS = ["where is my parcel?", "my money has not come back", "the coupon is refused", "I forgot my password"]


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    site = Site(store, ServiceOptions(space="routed", dim=256, config=CONFIG))
    drawn = random.Random(4)
    former = {"text": QUESTIONS[0], "candidates": ["former-model"], "costs": {"former-model": 2}}
    for turn in range(320):  # before the two that are offered now
        decision = site.post("/v1/route", former)
        site.post(
            "/v1/trajectories", {"text": f"{QUESTIONS[0]} {turn}", "decision": decision, "quality": 1.0, "cost": 2.0}
        )
    for turn in range(320):
        text = f"{drawn.choice(QUESTIONS)} {turn % 40}"
        decision = site.post("/v1/route", {"text": text, "candidates": [*COSTS], "costs": COSTS})
        hard = text.startswith(("my money", "the coupon"))
        good = drawn.random() < (0.9 if decision["route"] == "large-model" else 0.4 if hard else 0.85)
        body = {"text": text, "decision": decision, "route": decision["route"], "quality": float(good)}
        site.post("/v1/trajectories", body | {"cost": COSTS[decision["route"]]})
        if turn % 80 == 79:
            site.post("/v1/learn")
    store.set_settings("routed", {"costs.unit": "USD"})
    site.post("/v1/spaces", {"name": "imported", "dim": 256})
    rows = [{"text": text, "route": "small-model", "quality": 1, "cost": 0.1} for text in QUESTIONS]
    site.post("/v1/trajectories/batch?space=imported", {"trajectories": rows})
    site.post("/v1/learn?space=imported")
    yield site
    site.close()


@pytest.mark.parametrize(("width", "scheme"), [("phone", "dark"), ("desk", "light")])
def test_a_slider_tells_what_another_budget_would_give(browser: Browser, site: Site, width: str, scheme: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    page.goto(f"{site.url}/?space=routed#routes")
    caption = "Budgets, with what they would give; costs are means of a request"
    page.wait_for_selector(f"caption:text-is('{caption}')")
    assert "half of it" in page.locator("table").last.inner_text()
    page.wait_for_selector(".tiles dd:has-text('USD')")
    page.wait_for_selector("svg text:text-is('mean cost of a request (USD)')")
    slider = page.locator("input[type=range]")
    slider.focus()
    slider.press("End")
    assert "four times as much" in slider.get_attribute("aria-valuetext")
    slider.press("ArrowLeft")
    assert "twice as much" in slider.get_attribute("aria-valuetext")
    told = page.locator("[aria-live]:has-text('twice as much')").inner_text()
    assert "likely between" in told
    assert "large-model" in told
    page.wait_for_selector("th:has-text('Always large-model, the dearest')")
    row = page.locator("tr:has(th:has-text('twice as much'))")
    assert 40 < float(row.locator("td[data-name='Constant mix']").inner_text().removesuffix(" %")) < 95
    assert page.locator("tr:has(th:has-text('As it was')) td[data-name='Constant mix']").inner_text() == "–"
    page.wait_for_selector("p:has-text('No longer offered, so nothing that a budget buys: former-model.')")
    page.wait_for_selector("tr:has(th:has-text('As it was')):has-text('former-model (no longer offered)')")
    assert page.locator("th:has-text('Always former-model')").count() == 0
    page.wait_for_selector("p:has-text('has 640 requests')")
    slider.press("Home")
    watched.require_readable(f"budgets-{width}-{scheme}")
    watched.close()


def test_too_little_evidence_for_an_estimate_is_said(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=imported#routes")
    page.wait_for_selector("text=There is not enough evidence for an estimate")
    page.wait_for_selector("text=These records do not say so")
    page.wait_for_selector("text=an import can: field decision.propensity")


def test_time_travel_tells_which_routes_prices_and_budget_left(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=routed&question=where+is+my+parcel%3F#travel")
    slider = page.locator("input[type=range]")
    slider.focus()
    slider.press("Home")
    page.wait_for_selector("text=servers took for rated questions like this one by version 0:")


def test_a_route_that_came_and_one_that_left_are_told_with_their_days(watched: Watched, site: Site) -> None:
    site.post("/v1/spaces", {"name": "changed", "dim": 256})
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=13)
    rows = [
        {
            "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
            "text": "a question", "route": "former" if day < 6 else "new" if place % 2 else "usual", "cost": 1.0,
            "quality": 1.0,
        }
        for day in range(14) for place in range(40)
    ]  # fmt: skip
    local = [row | {"id": f"local {row['id']}", "route": "local"} for row in rows[::20]]
    rows += [row | ({} if place > 15 else {"cost": None}) for place, row in enumerate(local)]  # costs came later
    site.post("/v1/trajectories/batch?space=changed", {"trajectories": rows})
    site.post("/v1/learn?space=changed")
    watched.page.goto(f"{site.url}/?space=changed#routes")
    watched.page.wait_for_selector("li:has-text('“new” was taken from')")
    left = watched.page.locator("li:has-text('“former” was last taken on')")
    left.wait_for()
    assert f" {(first + timedelta(days=5)).day}, " in left.inner_text()
    watched.page.fill("#find-route", "usual")
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_function("() => document.querySelectorAll('tbody')[0].rows.length === 1")
    assert watched.page.locator("li:has-text('“local” was taken from')").count() == 0
    assert left.count() == 1  # a search in the leaderboard takes nothing from the spending


def test_a_new_price_stands_below_the_spending(browser: Browser, watched: Watched, site: Site) -> None:
    site.post("/v1/spaces", {"name": "cheaper", "dim": 256})
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=13)
    rows = [
        {
            "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
            "text": "a question", "route": "large", "quality": 1.0, "cost": 0.012 if day < 8 else 0.006,
        }
        for day in range(14) for place in range(3)
    ]  # fmt: skip
    site.post("/v1/trajectories/batch?space=cheaper", {"trajectories": rows})
    site.post("/v1/learn?space=cheaper")
    watched.page.goto(f"{site.url}/?space=cheaper#routes")
    watched.page.wait_for_selector("li:has-text('1,000 requests of “large” cost 6 since about')")
    watched.page.wait_for_selector("li:has-text('12 before: 50 % less.')")
    watched.require_readable("new-price")
    british = Watched(browser, site, locale="en-GB")
    british.page.goto(f"{site.url}/?space=cheaper#routes")
    british.page.wait_for_selector(f"li:has-text('since about {(first + timedelta(days=8)).day} ')")
    british.close()
