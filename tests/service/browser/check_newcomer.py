"""Pages as somebody sees them who is new to them, in a real Chromium: `make test-browser`."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import WIDTHS, Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

LONG = "w" * 900


def test_an_address_with_an_unknown_space_shows_no_other(watched: Watched, site: Site) -> None:
    page = watched.page
    for path in ("", "demo"):
        page.goto(f"{site.url}/{path}?space=nosuch")
        page.wait_for_selector("[role=alert]:has-text('There is no space “nosuch”, or this key may not see it.')")
        assert page.locator("main").is_hidden()
        watched.require_readable(f"no-space-{path}")
        page.click("[role=alert] >> text=shop")
        page.wait_for_url("**/*?space=shop")
        page.wait_for_selector("h1:visible")
    page.goto(f"{site.url}/?space=nosuch")
    page.wait_for_selector("[role=alert]:has-text('nosuch')")
    assert page.locator("#space").input_value() == ""  # so that each space can be chosen, the first too
    page.select_option("#space", "demo")
    page.wait_for_selector("h1:text-is('How demo is doing')")
    assert page.locator("[role=alert]:has-text('nosuch')").is_hidden()
    watched.wrong = [said for said in watched.wrong if "404" not in said]


@pytest.mark.parametrize("width", WIDTHS)
def test_one_long_word_makes_no_page_wider_than_the_window(browser: Browser, site: Site, width: str) -> None:
    watched = Watched(browser, site, WIDTHS[width])
    page = watched.page
    name = f"long-{width}"
    site.post("/v1/spaces", {"name": name, "dim": 256})
    site.post(f"/v1/candidates?space={name}", {"ids": [LONG, "short"], "texts": [LONG, "short"]})
    site.post(f"/v1/trajectories?space={name}", {"text": LONG, "route": LONG, "quality": 1, "cost": 1})
    site.post(f"/v1/trajectories?space={name}", {"text": "short", "route": "short", "quality": 0, "cost": 2})
    site.post(f"/v1/learn?space={name}")
    fits = "document.documentElement.scrollWidth <= innerWidth"
    page.goto(f"{site.url}/demo?space={name}")
    page.wait_for_selector("#curve :is(svg text, p)")
    page.fill("#question", LONG)
    page.press("#question", "Enter")
    page.wait_for_selector(".thumbs")
    page.click("button:has-text('Right')")
    page.wait_for_selector(".reply:has-text('Asked again')")
    assert page.evaluate(fits)
    for view in ("overview", "patterns", "routes", "travel", "fleet", "memory"):
        page.goto(f"{site.url}/?space={name}&question={LONG}#{view}")
        page.reload()
        page.wait_for_selector("main:not([aria-busy]) h1")
        if view == "travel":
            page.wait_for_selector("text=Feedback that moved it")
        assert page.evaluate(fits), view
    watched.close()


def test_the_chat_says_that_nothing_is_stored_to_answer_with(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "bare", "dim": 256})
    page.goto(f"{site.url}/demo?space=bare")
    page.wait_for_selector("#talk:has-text('This space has no stored answers to choose from.')")
    page.fill("#question", "hello?")
    page.press("#question", "Enter")
    page.wait_for_selector("#talk .problem:has-text('This space has no stored answers to choose from.')")
    watched.wrong = [said for said in watched.wrong if "422" not in said and "404" not in said]


def test_a_key_that_may_only_look_is_offered_nothing_else(browser: Browser, store: Store, site: Site) -> None:
    _, token = store.create_key("shop", "looker", ["read"])
    closed = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG, require_keys=True))
    watched = Watched(browser, closed)
    page = watched.page
    page.goto(f"{closed.url}/demo?space=shop")
    page.wait_for_selector("dialog[open]")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("text=This key may only look")
    assert page.locator("#teach button").count() == 0
    assert page.locator("#question").is_disabled()
    watched.wrong = [said for said in watched.wrong if "401" not in said]
    watched.close()
    closed.close()


def test_an_untaught_space_claims_no_confidence(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "untaught", "dim": 256})
    site.post("/v1/candidates?space=untaught", {"ids": ["yes", "no"], "texts": ["it is so", "it is not"]})
    page.goto(f"{site.url}/demo?space=untaught")
    page.wait_for_selector("#curve figure, #curve .quiet")
    page.fill("#question", "it is so")
    page.press("#question", "Enter")
    page.wait_for_selector("#why dd:has-text('not known yet: learning measures it')")
    assert page.locator("text=I am not sure").count() == 0


def test_a_version_with_few_ratings_is_a_hollow_dot_apart_from_the_line(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "few", "dim": 256})
    for version, ratings in enumerate((20, 20, 1)):
        decided = {"route": "small", "propensity": 1, "version": version}
        rows = [{"text": "is it there?", "decision": decided, "quality": float(place % 2)} for place in range(ratings)]
        site.post("/v1/trajectories/batch?space=few", {"trajectories": rows})
        site.post("/v1/learn?space=few")
    page.goto(f"{site.url}/?space=few")
    figure = page.locator("svg[aria-label='Quality by version']")
    figure.locator(".dot.few").wait_for()
    assert figure.locator(".dot.few").count() == 1
    assert figure.locator("text.label").all_text_contents() == ["1"]
    assert (figure.locator("path.line").get_attribute("d") or "").count("L") == 1


def test_the_best_quality_stands_apart_from_the_cheapest(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "cancel", "dim": 256})
    rows = [
        {"text": "cancel my subscription", "route": route, "quality": float(place < good), "cost": cost}
        for route, good, rated, cost in (("human", 20, 24, 5.0), ("large", 30, 48, 1.0))
        for place in range(rated)
    ]
    site.post("/v1/trajectories/batch?space=cancel", {"trajectories": rows})
    site.post("/v1/learn?space=cancel")
    page.goto(f"{site.url}/?space=cancel#patterns")
    page.wait_for_selector("dt:has-text('Best quality') + dd:has-text('human: 83 %')")
    page.wait_for_selector("dd:has-text('large is not shown to be worse yet.')")
    page.wait_for_selector("td[data-name='Best quality']:has-text('; not shown to be better than large')")
    page.wait_for_selector("dt:has-text('Cheapest not shown to be worse') + dd:has-text('large: 63 %')")
    page.goto(f"{site.url}/?space=cancel&question=cancel+my+subscription#travel")
    page.wait_for_selector("dt:has-text('Best quality there') + dd:text-is('human: 83 % of 24 ratings')")
    page.wait_for_selector("dd:has-text('human: 83 % of 24 ratings that this version held, older ones less')")


def test_the_best_route_costs_least_only_where_none_listed_costs_less(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "dear", "dim": 256})
    rows = [
        {"text": "cancel my subscription", "route": route, "quality": float(place < good), "cost": cost}
        for route, good, cost in (("best", 38, 2.0), ("poor", 4, 0.5))
        for place in range(40)
    ]
    site.post("/v1/trajectories/batch?space=dear", {"trajectories": rows})
    site.post("/v1/learn?space=dear")
    page.goto(f"{site.url}/?space=dear#patterns")
    page.wait_for_selector("dt:has-text('Best quality') + dd:has-text('best: 95 %')")
    assert page.locator("text=costs least").count() == 0


def test_a_best_route_by_default_is_said_to_be_the_only_one_with_enough_ratings(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "alone", "dim": 256})
    rows = [
        {"text": "repay my loan early", "route": route, "quality": float(place < good)}
        for route, good, rated in (("standard", 9, 20), ("nova", 2, 3))
        for place in range(rated)
    ]
    site.post("/v1/trajectories/batch?space=alone", {"trajectories": rows})
    site.post("/v1/learn?space=alone")
    page.goto(f"{site.url}/?space=alone#patterns")
    page.wait_for_selector("td[data-name='Best quality']:text-is('standard, the only one with 10 ratings')")
    page.wait_for_selector("dd:has-text('that it is better than the others is not shown.')")


def test_a_later_answer_is_said_to_be_later(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "later", "dim": 256})
    site.post("/v1/candidates?space=later", {"ids": ["We take cards."], "texts": ["we take cards"]})
    page.goto(f"{site.url}/demo?space=later")
    page.wait_for_selector("#teach button")
    page.fill("#question", "do you sell gift cards")
    page.press("#question", "Enter")
    page.click("text=Tell the right answer")
    page.fill(".reply form input", "Gift cards are sold at the till.")
    page.press(".reply form input", "Enter")
    page.wait_for_selector(".reply.better:has-text('Gift cards')")
    page.click("text=Learn now")
    page.wait_for_selector("#teach [role=status]:has-text('Version 1')")
    page.goto(f"{site.url}/?space=later&question=do+you+sell+gift+cards#travel")
    page.wait_for_selector(".legend:has-text('Gift cards are sold at the till. (answer added at version 1)')")
    page.wait_for_selector("text=Another answer came first from version")
    page.locator("main input[type=range]").press("Home")
    page.wait_for_selector(".panel:has(h2:text-is('Version 0 answers')) .answer:text-is('We take cards.')")


def test_fleet_says_what_a_rollback_did_and_what_is_judged(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "back", "dim": 256})
    for text in ("one", "two"):
        site.post("/v1/trajectories?space=back", {"text": text, "route": "small", "quality": 1})
        site.post("/v1/learn?space=back")
    page.goto(f"{site.url}/?space=back#fleet")
    page.wait_for_selector("text=No version is judged yet.")
    assert page.locator("tr:has(th:text-is('1')):has-text('earlier')").count() == 1
    assert "is being judged" not in (page.locator("tr:has(th:text-is('1')):has-text('earlier')").text_content() or "")
    site.post("/v1/versions/rollback?space=back", {"version": 1})
    page.reload()
    page.wait_for_selector("dd:has-text('3 is version 1 again'):has-text('what was learned in between is set aside')")


def test_feedback_says_what_was_given_and_what_is_right(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "told", "dim": 256})
    site.post("/v1/candidates?space=told", {"ids": ["A", "B"], "texts": ["a", "b"]})
    page.goto(f"{site.url}/?space=told")
    page.wait_for_selector("text=Nothing was told after an answer lately.")
    made = site.post("/v1/trajectories?space=told", {"text": "a or b?", "route": "A"})["id"]
    site.post("/v1/feedback?space=told", {"trajectory": made, "correction": "B"})
    page.wait_for_selector(".facts li:has-text('gave “A”, right is “B”')")


def test_nothing_of_fleet_is_cut_on_a_phone(browser: Browser, site: Site) -> None:
    watched = Watched(browser, site, WIDTHS["phone"])
    page = watched.page
    page.goto(f"{site.url}/?space=shop#fleet")
    page.wait_for_selector("th:has-text('Version')", state="attached")
    cells = "[...document.querySelectorAll('.cards :is(tbody td, tbody th)')]"
    cut = f"{cells}.filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    wide = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    assert page.evaluate(wide) == 0
    watched.close()


def test_a_printed_page_is_light_with_tables_and_without_navigation(browser: Browser, site: Site) -> None:
    watched = Watched(browser, site, WIDTHS["tablet"], "dark")
    page = watched.page
    page.goto(f"{site.url}/?space=shop#routes")
    page.wait_for_selector("main table")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('main tr')).display") == "table-row"
    watched.close()
