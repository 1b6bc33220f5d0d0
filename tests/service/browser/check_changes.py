"""Since when and why quality changed, on the overview in a real Chromium: `make test-browser`."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser

from tests.service.browser.watched import WIDTHS, Watched
from tests.service.site import Site

DAYS, EACH = 28, 40


@pytest.fixture(scope="module")
def fell(site: Site) -> str:
    """A space in which the small model fell on the 12th day of four weeks for one topic, and recovered a week later."""
    site.post("/v1/spaces", {"name": "fell", "dim": 256})
    drawn = random.Random(3)
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    for day in range(DAYS):
        rows = []
        for place in range(EACH):
            route, late = drawn.choice(["small-model", "large-model"]), drawn.random() < 0.6
            bad = 12 <= day < 20 and late and route == "small-model"
            rows.append({
                "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
                "text": f"Where is my parcel {1000 + place}?" if late else "I want my money back", "route": route,
                "quality": float(drawn.random() < (0.1 if bad else 0.9)),
                "context": [drawn.choice(["plan:free", "plan:paid"])],
            })  # fmt: skip
        site.post("/v1/trajectories/batch?space=fell", {"trajectories": rows})
    site.post("/v1/learn?space=fell")
    return "fell"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_changes_are_marked_and_explained(browser: Browser, site: Site, fell: str, width: str, scheme: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    page.goto(f"{site.url}/?space={fell}")
    page.set_default_timeout(10_000)
    page.wait_for_selector("text=What it came with:")
    marked = page.locator("svg[aria-label='Quality over time'] g > title").all_text_contents()
    assert any(text.startswith("Since ") for text in marked)
    assert page.locator(".changes > li").count() == 2
    button = page.get_by_role("button", name="What quality changed with on")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".changes > li:nth-child(2) >> text=answers of “small-model” got worse")
    watched.require_readable(f"changes-{width}-{scheme}")
    page.locator(".changes summary").first.click()
    page.wait_for_selector(".changes th:has-text('answer: small-model')")
    watched.require_readable(f"changes-table-{width}-{scheme}")
    watched.close()


def test_an_answer_that_collapsed_by_itself_is_named_with_its_day(watched: Watched, site: Site) -> None:
    """One of ten answers is bad from the 12th day on: 30 of 600 ratings, which the mean of all does not show."""
    site.post("/v1/spaces", {"name": "broke", "dim": 256})
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=23)
    rows = [
        {
            "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
            "text": f"question {place % 10}", "route": f"answer-{place % 10}",
            "quality": float((place % 10 == 0 and day < 12) or (place % 10 > 0 and (place + day) % 3 > 0)),
        }
        for day in range(24) for place in range(30)
    ]  # fmt: skip
    site.post("/v1/trajectories/batch?space=broke", {"trajectories": rows})
    site.post("/v1/learn?space=broke")
    watched.page.goto(f"{site.url}/?space=broke")
    watched.page.wait_for_selector("text=Answers that changed by themselves")
    watched.page.wait_for_selector(
        "li:has-text('answers of “answer-0” are worse: 0 % of 36 ratings, after 100 % of 36')"
    )
    watched.require_readable("changed-route")


def test_a_space_without_a_change_says_so(watched: Watched, site: Site) -> None:
    watched.page.goto(f"{site.url}/?space=shop")
    watched.page.wait_for_selector("text=No day of this period on which quality changed beyond chance.")


@pytest.mark.parametrize("width", WIDTHS)
def test_topics_have_the_figures_of_the_chosen_period(browser: Browser, site: Site, fell: str, width: str) -> None:
    watched = Watched(browser, site, WIDTHS[width])
    page = watched.page
    page.goto(f"{site.url}/?space={fell}&days=7#patterns")
    rows = page.locator("section:has-text('In the chosen period') tbody tr")
    rows.first.wait_for()
    better = rows.filter(has_text="▲ better").first
    assert "parcel" in better.inner_text()
    better.locator("button.link").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dt:has-text('In the period') + dd:has-text('▲ better than the 7 days before')")
    watched.require_readable(f"topics-period-{width}")
    page.select_option("label:has-text('Period') select", label="all time")
    page.wait_for_function("() => !document.body.textContent.includes('▲ better')")
    watched.close()


def test_labels_of_the_period_are_compared_and_heavy_raters_named(browser: Browser, site: Site) -> None:
    site.post("/v1/spaces", {"name": "heavy", "dim": 256})
    rows = [
        {"text": "is it there?", "quality": float(place % 4 > 0), "context": ["market:de", f"user:{place % 11}"]}
        for place in range(44)
    ]
    rows += [{"text": "is it there?", "quality": 0.0, "context": ["market:fr", "user:angry"]}] * 12
    site.post("/v1/trajectories/batch?space=heavy", {"trajectories": rows})
    site.post("/v1/learn?space=heavy")
    for width, scheme in (("phone", "dark"), ("desk", "light")):
        watched = Watched(browser, site, WIDTHS[width], scheme)
        page = watched.page
        page.goto(f"{site.url}/?space=heavy")
        page.wait_for_selector(
            "li:has-text('user:angry gave 52 % of all that was rated down (12 of their 12 ratings)')"
        )
        page.wait_for_selector("th:has-text('market:fr')")
        watched.require_readable(f"labels-{width}-{scheme}")
        page.get_by_label("Period").select_option("3650")
        page.wait_for_selector("caption:has-text('Requests by label, the first record to')")
        watched.close()
