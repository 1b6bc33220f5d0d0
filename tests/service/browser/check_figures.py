"""The dashboard's figures in a real Chromium, of an imported log with costs: `make test-browser`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page

from sona_pg import Store
from sona_pg.domain.pattern import KINDS
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

QUESTIONS = ["where is my parcel?", "my money has not come back", "the coupon is refused", "I forgot my password"]
MODELS = {"small": (0.75, 0.0004), "medium": (0.8, 0.003), "large": (0.8, 0.024)}


def import_log(site: Site, space: str, ago: int) -> None:
    """Record 60 days of rated questions, the last of them so many days ago; the second 30 days are better."""
    site.post("/v1/spaces", {"name": space, "dim": 256})
    drawn = random.Random(2)
    rows = []
    for day in range(60):
        at = datetime.now(UTC) - timedelta(days=ago + 59 - day)
        for place in range(8):
            route = drawn.choice([*MODELS])
            quality, cost = MODELS[route]
            good = drawn.random() < (quality if day >= 30 else quality - 0.35)
            rows.append({
                "id": f"{space} {day} {place}", "started_at": at.isoformat(), "text": QUESTIONS[place % 4],
                "route": route, "quality": float(good), "cost": cost, "context": [f"user:{place}"],
            })  # fmt: skip
    site.post(f"/v1/trajectories/batch?space={space}", {"trajectories": rows})
    site.post(f"/v1/learn?space={space}")


NOW = "2026-11-23T18:00:00Z"
OF_DAY = {
    "amount": 0.25, "per": "day", "set_at": "2026-11-20T10:00:00Z", "requests": 50, "spent": 0.3, "requests_today": 48,
    "spent_today": 0.242, "pace": 1.29, "share_of_day": 0.75, "used_up_at": "2026-11-23T18:40:00Z",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    site = Site(store, ServiceOptions(space="recent", dim=256, config=CONFIG))
    import_log(site, "recent", 0)
    import_log(site, "older", 200)
    yield site
    site.close()


def first_tile(page: Page) -> str:
    page.wait_for_selector(".tiles dd:has-text('%')")
    return page.locator(".tiles > div").first.inner_text()


def test_the_headline_is_the_mean_of_a_period_against_the_one_before(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent")
    told = first_tile(page)
    assert "Quality, last 30 days" in told
    assert "mean of 240 ratings" in told
    apart = r" \+[\d.]+ points, likely between \+[\d.]+ and \+[\d.]+"
    assert re.search(rf"▲ better than the 30 days before:{apart} \(then", told)
    page.select_option("main select", "3650")
    page.wait_for_selector("dt:has-text('Quality, all time')")
    page.wait_for_selector("dd:has-text('mean of 480 ratings')")
    assert "days=3650" in page.url
    assert re.search(rf"▲ better than the first 28 days:{apart} \(last 28 days on record: ", first_tile(page))


@pytest.mark.parametrize(("locale", "written"), [("en-GB", "Nov 2026"), ("en-US", "2026, ")])
def test_dates_are_written_as_the_browser_writes_english(
    browser: Browser, site: Site, locale: str, written: str
) -> None:
    watched = Watched(browser, site, locale=locale)
    watched.page.goto(f"{site.url}/?space=recent")
    first_tile(watched.page)
    at = "import('./assets/format.js').then((made) => made.at('2026-11-23T12:00:00Z'))"
    assert written in watched.page.evaluate(at)
    day = "import('./assets/range.js').then((made) => made.daysOf({first_day: '2026-10-25', last_day: '2026-11-23'}))"
    assert watched.page.evaluate(day).startswith("25 Oct" if locale == "en-GB" else "Oct 25")
    watched.close()


def test_an_import_of_older_records_is_shown_at_once(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=older")
    assert "mean of 240 ratings" in first_tile(page)
    page.wait_for_selector("figure svg .line")


def test_an_erasure_keeps_the_headline_and_is_marked(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/forget?space=older", {"user": "7"})
    page.goto(f"{site.url}/?space=older")
    assert "mean of 210 ratings" in first_tile(page)
    page.wait_for_selector("text=No version that is kept has ratings of its own yet")
    page.wait_for_selector("li:has-text('erasure of 60 requests, after the newest record')")
    watched.require_readable("overview-erased")


def test_spending_is_told_by_route_and_day_and_a_budget_is_set(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent#routes")
    page.wait_for_selector("dt:text-is('Spent in all')")
    shares = page.locator("table:has(caption:has-text('Spending by route')) td[data-name=Share]").all_inner_texts()
    assert len(shares) == 3
    assert shares[0] > "80"
    page.wait_for_selector("figure svg rect.f0")
    page.click("summary:text('Set a budget')")
    page.fill("#amount", "none")
    page.press("#amount", "Enter")
    page.wait_for_selector("text=The limit must be a number above 0")
    page.fill("#amount", "2.5")
    page.press("#amount", "Enter")
    page.wait_for_selector("dd:text-is('2.5 a day')")
    page.wait_for_selector("p:has-text('of the day (UTC) left: too few requests to say whether it lasts')")
    watched.require_readable("routes-budget")
    page.click("summary:text('Change the budget')")
    page.wait_for_selector("p:has-text('Another limit for a day keeps what was spent today.')")
    page.click("text=Remove it")
    page.wait_for_selector("text=No budget is set")


def test_the_words_of_whether_a_budget_lasts(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent#routes")
    page.wait_for_selector("summary:text('Set a budget')")

    def told(**known: object) -> str:
        given = OF_DAY | known
        words = page.evaluate(
            "([given, now]) => import('./assets/money.js').then((made) => made.outlook(given, Date.parse(now)))",
            [given, NOW],
        )
        return str(words).replace("\u202f", " ")

    assert told(used_up_at=None) == (
        "0.242 of 0.25 are spent with 25 % of the day (UTC) left: at today’s rate it lasts until midnight UTC."
    )
    assert told() == (
        "0.242 of 0.25 are spent with 25 % of the day (UTC) left: at today’s rate it is used up about 6:40 PM UTC. "
        "Cheaper routes are chosen so that it lasts longer; once it is used up, only the cheapest."
    )
    assert "at the rate since it was set, at 5:10 PM UTC, it is used up" in told(set_at="2026-11-23T17:10:00Z")
    assert "it is used up. Until midnight UTC the cheapest route is chosen" in told(spent_today=0.26, used_up_at=None)
    assert told(requests_today=3).endswith("too few requests to say whether it lasts.")
    assert told(share_of_day=0.998, used_up_at=None).startswith("0.242 of 0.25 are spent with under 1 % of the day")
    assert told(per="request", spent=2.0, pace=0.8) == "A request cost 0.04 on average, which is within the limit."
    assert "above the limit: cheaper routes" in told(per="request", spent=2.0, pace=1.2)


def test_the_leaderboard_counts_the_period_alone(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent#routes")
    ratings = page.locator("table:has(caption:has-text('Routes taken most often')) td[data-name=Ratings]")
    ratings.first.wait_for()
    assert sum(map(int, ratings.all_inner_texts())) == 240
    page.select_option("main select", "3650")
    begin = (datetime.now(UTC) - timedelta(days=59)).strftime("%b %-d")
    page.wait_for_selector(f"caption:has-text('Routes taken most often, {begin}')")
    assert sum(map(int, ratings.all_inner_texts())) == 480


@pytest.mark.parametrize("width", [390, 820])
def test_a_narrow_table_is_cards_and_labels_do_not_cover_one_another(browser: Browser, site: Site, width: int) -> None:
    watched = Watched(browser, site, width)
    page = watched.page
    page.goto(f"{site.url}/?space=recent#routes")
    page.wait_for_selector("svg text.label")
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth)")
    boxes = page.evaluate("""() => [...document.querySelectorAll('svg text.label, svg .dot')].filter(one =>
        one.ownerSVGElement.getAttribute('aria-label')?.startsWith('Quality of each')).map(one => {
            const {left, right, top, bottom} = one.getBoundingClientRect();
            return [one.textContent, left, right, top, bottom];
        })""")
    assert len(boxes) == 6
    for place, (_, left, right, top, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert right <= other[1] or other[2] <= left or bottom <= other[3] or other[4] <= top, boxes
    watched.require_readable(f"routes-{width}")
    watched.close()


def test_patterns_begin_with_those_that_go_wrong_most(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent#patterns")
    page.wait_for_selector("svg text.label")
    panel = page.locator("section:has-text('Where it goes wrong')")
    wrong = panel.locator("td[data-name='Rated bad']").all_inner_texts()
    counts = [int(text.split(" of ")[0]) for text in wrong]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 1
    second = panel.locator("tbody button.link").nth(1)
    second.click()
    assert second.get_attribute("aria-pressed") == "true"
    assert page.locator("[aria-live] h2").text_content() == second.text_content()
    assert page.locator("[aria-live] dt:has-text('Kind') + dd").text_content() in KINDS
    watched.require_readable("patterns-leading")


def test_time_travel_opens_where_the_first_place_last_changed(watched: Watched, site: Site) -> None:
    space = "?space=turned"
    site.post("/v1/spaces", {"name": "turned", "dim": 256})
    site.post(f"/v1/candidates{space}", {"ids": ["by post", "by train"], "texts": ["by post", "by train"]})
    for text, right in (("how does it come?", "by train"), ("what is the weather?", "sunny"), ("who are you?", "me")):
        id_ = site.post(f"/v1/trajectories{space}", {"text": text, "route": "by post"})["id"]
        site.post(f"/v1/feedback{space}", {"trajectory": id_, "correction": right})
        site.post(f"/v1/learn{space}")
    page = watched.page
    page.goto(f"{site.url}/{space}#travel")
    page.fill("#query", "how does it come?")
    page.press("#query", "Enter")
    page.wait_for_selector("h2:text-is('Version 1 answers')")
    page.wait_for_selector("svg .moment")
    page.wait_for_selector("caption:text-is('Learned by version 1, nearest first')")
    assert page.locator(".chips button").all_inner_texts() == ["1"]


def test_time_travel_shows_what_was_answered_before_the_first_version(watched: Watched, site: Site) -> None:
    space = "?space=travelled"
    site.post("/v1/spaces", {"name": "travelled", "dim": 256})
    rows = [
        {
            "id": str(ago), "text": "my sofa came with a dent", "quality": float(ago < 40),
            "route": "damaged-furniture" if ago < 40 else "damaged-parcel",
            "started_at": (datetime.now(UTC) - timedelta(days=ago)).isoformat(),
        }
        for ago in range(30, 60)
    ]  # fmt: skip
    for part in (rows[:15], rows[15:]):  # no answer is stored yet when version 1 is made
        site.post(f"/v1/trajectories/batch{space}", {"trajectories": part})
        site.post(f"/v1/learn{space}")
        site.post(f"/v1/candidates{space}", {"ids": ["damaged-furniture", "damaged-parcel"], "texts": ["dents", "po"]})
    page = watched.page
    page.goto(f"{site.url}/{space}&question=my+sofa+came+with+a+dent#travel")
    answered = page.locator("table:has(caption:has-text('What was answered to judged questions'))")
    answered.wait_for()
    assert answered.locator("tbody th").all_inner_texts() == ["damaged-furniture", "damaged-parcel"]
    assert answered.locator("td[data-name=Times]").all_inner_texts() == ["10", "20"]
    assert answered.locator("td[data-name=Quality]").all_inner_texts() == ["100 %", "0 %"]
    page.wait_for_selector("text=A version tells what was learned when it was made")
    assert page.locator(".chips").count() == 0
    page.wait_for_selector("text=Asked this very question, every version from 2 on puts the same answer first")
    watched.require_readable("travel-imported")


def test_what_was_answered_is_divided_where_the_quality_of_an_answer_changed(watched: Watched, site: Site) -> None:
    space, now = "?space=divided", datetime.now(UTC)
    site.post("/v1/spaces", {"name": "divided", "dim": 256})
    asked = [("my sofa came with a dent", "dents", 1, 22), ("pay by card", "cards", 3, 0)]
    rows = [
        {
            "text": text, "route": route, "quality": float(ago >= good_until),
            "started_at": (now - timedelta(days=ago)).isoformat(),
        }
        for text, route, times, good_until in asked
        for ago in range(2, 42)
        for _ in range(times)
    ]  # fmt: skip
    site.post(f"/v1/trajectories/batch{space}", {"trajectories": rows})
    site.post(f"/v1/learn{space}")
    page = watched.page
    page.goto(f"{site.url}/{space}&question=my+sofa+came+with+a+dent#travel")
    answered = page.locator("table:has(caption:has-text('What was answered to judged questions'))")
    answered.wait_for()
    assert answered.locator("tbody th").all_inner_texts() == ["dents", "dents"]
    assert answered.locator("td[data-name=Times]").all_inner_texts() == ["20", "20"]
    assert answered.locator("td[data-name=Quality]").all_inner_texts() == ["0 %", "100 %"]
    page.wait_for_selector("text=A row ends where the quality of its answer changed: dents on")


def test_servers_that_ended_are_behind_a_toggle(watched: Watched, site: Site, service_url: str) -> None:
    with Store(service_url) as other:
        other.space("older", config=CONFIG).close()
    page = watched.page
    page.goto(f"{site.url}/?space=older#fleet")
    page.wait_for_selector("caption:text-is('Servers that have the space open')")
    assert page.locator(".state.ended").first.is_hidden()
    page.click("summary:has-text('that ended')")
    page.wait_for_selector(".state.ended")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_question_mark_leads_to_the_word_in_the_glossary(browser: Browser, site: Site, scheme: str) -> None:
    watched = Watched(browser, site, 390, scheme)
    page = watched.page
    page.goto(f"{site.url}/?space=recent")
    page.click("dt:has-text('Requests') a.help")
    page.wait_for_selector("dt#trajectory:focus")
    watched.require_readable(f"glossary-{scheme}")
    watched.close()


def test_a_rollback_is_marked_in_the_charts_and_an_unrated_version_explained(watched: Watched, site: Site) -> None:
    space = "?space=marked"
    site.post("/v1/spaces", {"name": "marked", "dim": 256})
    for version in range(2):
        decided = {"route": "small", "propensity": 1, "version": version}
        for place in range(20):
            site.post(f"/v1/trajectories{space}", {"text": QUESTIONS[place % 4], "decision": decided, "quality": 1})
        site.post(f"/v1/learn{space}")
    site.post(f"/v1/versions/rollback{space}", {"version": 1})
    site.post(f"/v1/trajectories{space}", {"text": QUESTIONS[0], "route": "small", "quality": 0})
    site.post(f"/v1/learn{space}")
    page = watched.page
    page.goto(f"{site.url}/{space}")
    page.wait_for_selector("svg[aria-label='Quality over time'] text:text-is('rollback')")
    page.wait_for_selector("svg[aria-label='Quality by version'] text:text-is('rollback')")
    page.wait_for_selector("text=No figure for version")


def test_whoever_may_goes_back_to_a_version_and_is_told_before_what_it_undoes(watched: Watched, site: Site) -> None:
    space = "?space=undone"
    site.post("/v1/spaces", {"name": "undone", "dim": 256})
    for quality in (1, 0):
        rows = [{"text": QUESTIONS[0], "route": "small", "quality": quality}] * 12
        site.post(f"/v1/trajectories/batch{space}", {"trajectories": rows})
        site.post(f"/v1/learn{space}")
    page = watched.page
    page.goto(f"{site.url}/{space}#fleet")
    page.get_by_role("button", name="Go back to version 1 …").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog:has-text('Undone: 1 run of learning') >> text=12 requests and 0 pieces of feedback")
    page.wait_for_selector("dialog li:has-text('is known by 12 requests again, today by 24')")
    watched.require_readable("undo")
    page.click("dialog[open] >> text=Cancel")
    page.wait_for_selector("dialog[aria-labelledby=undo-title]", state="detached")
    page.get_by_role("button", name="Go back to version 1 …").click()
    page.click("dialog[open] >> button:has-text('Go back to version 1')")
    page.wait_for_selector("td:has-text('a rollback')")


def test_own_dates_are_a_period_kept_in_the_address(watched: Watched, site: Site) -> None:
    page, today = watched.page, datetime.now(UTC).date()
    page.goto(f"{site.url}/?space=recent")
    first_tile(page)
    page.select_option("main select", "own")
    page.fill("input[aria-label='Last day (UTC)']", str(today - timedelta(days=20)))
    page.fill("input[aria-label='First day (UTC)']", str(today - timedelta(days=24)))
    page.wait_for_selector("dd:has-text('mean of 40 ratings')")
    assert f"from={today - timedelta(days=24)}&to={today - timedelta(days=20)}" in page.url
    assert "days=" not in page.url
    requests = page.locator("section", has=page.locator("h2", has_text="Requests over time"))
    assert "8 requests" in requests.inner_text()
    requests.locator("summary").click()
    assert requests.locator("tbody tr").count() == 5
    page.reload()
    page.wait_for_selector("dd:has-text('mean of 40 ratings')")
    watched.require_readable("own-dates")
    page.click("#views a[href='#routes']")
    page.wait_for_selector("text=Spending over time")
    assert page.locator("main select").first.input_value() == "own"
    page.fill("input[aria-label='First day (UTC)']", str(today))
    page.wait_for_selector("text=a last one that is not before it")


def test_spaces_are_compared_and_lead_to_one_another(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=recent")
    compared = page.locator("table:has(caption:has-text('Spaces, '))")
    compared.wait_for()
    row = compared.locator("tr", has=page.get_by_role("link", name="recent", exact=True))
    assert row.locator("td[data-name=Ratings]").inner_text() == "240"
    compared.get_by_role("link", name="older", exact=True).click()
    page.wait_for_selector("h1:has-text('How older is doing')")
    watched.require_readable("spaces-compared")
