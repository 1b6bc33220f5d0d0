"""What a head of support looks for on the pages, in a real Chromium: `make test-browser`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser

from sona_pg import Store
from sona_pg.demo.helpdesk import prepare_chat
from sona_pg.service import ServiceOptions
from tests.fix_proxy import Proxy
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

AUGUST = datetime(2026, 8, 3, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    """A space of an imported log: two topics, of which one is asked often; a correction came with the import."""
    site = Site(store, ServiceOptions(space="support", dim=256, config=CONFIG))
    rows = []
    for place in range(1200):
        text, good = ("where is my parcel", 0.9) if place % 4 else ("my money has not come back", 0.3)
        rows.append({
            "id": f"{place}", "started_at": (AUGUST + timedelta(minutes=place)).isoformat(), "text": text,
            "route": "small" if place % 4 else "large", "quality": float(place % 10 < 10 * good),
            "cost": 7.0 + place % 2,
        })  # fmt: skip
    for start in (0, 600):
        made = site.post("/v1/trajectories/batch?space=support", {"trajectories": rows[start : start + 600]})
    site.post("/v1/feedback?space=support", {"trajectory": made["ids"][-1], "correction": "large"})
    site.post("/v1/learn?space=support")
    answers = ["by post", "by train"]
    site.post("/v1/candidates?space=support", {"ids": answers, "texts": answers})
    yield site
    site.close()


def test_an_imported_correction_tells_the_day_of_its_answer(watched: Watched, site: Site) -> None:
    watched.page.goto(f"{site.url}/?space=support&days=3650")
    watched.page.wait_for_selector("ul.facts li:has-text('asked Aug 4, 2026')")


def test_feedback_tells_when_its_question_was_asked(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#overview")
    noon, hour = 1_795_435_200_000, 3_600_000  # milliseconds

    def told(asked: int, recorded: int) -> str:
        id_ = f"{asked:012x}"
        at = datetime.fromtimestamp(recorded / 1000, UTC).isoformat()
        fact = {"trajectory": f"{id_[:8]}-{id_[8:]}-7000-8000-000000000000", "recorded_at": at}
        script = "async ([fact, now]) => (await import('./assets/latest-feedback.js')).askedWhen(fact, now)"
        return str(page.evaluate(script, [fact, noon]))

    assert told(noon - 30_000, noon - 5_000) == "asked 30 s ago"
    assert told(noon - 6 * hour, noon - 240_000) == "asked 6.0 h ago, recorded 4.0 min ago"
    assert told(noon - 48 * hour, noon - 240_000).startswith("asked Nov 21, 2026")


def test_a_rounded_figure_has_the_exact_one_for_pointers_and_screen_readers(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support&days=3650")
    page.wait_for_selector("dd span[title='1,200'] [aria-hidden]:text-is('1.2K')")
    assert page.locator("dd span[title='1,200'] .sr").text_content() == "1,200"
    page.goto(f"{site.url}/?space=support&days=3650#routes")
    page.wait_for_selector("dd:has-text('9,000')")  # not 9,000 for 8,996 or the like: large numbers are whole


def test_topics_are_ordered_by_how_often_they_were_asked(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#patterns")
    page.select_option("label:has-text('Order') select", label="Asked most often first")
    page.wait_for_selector("caption:text-is('Asked most often first')")
    asked = [int(text.replace(",", "")) for text in page.locator("td[data-name=Asked]").all_inner_texts()]
    assert asked == sorted(asked, reverse=True)
    assert sum(asked) == 1200
    assert page.locator("section:has-text('Where it goes wrong') button.link[aria-pressed=true]").count() == 1
    watched.require_readable("patterns-ordered")


def test_topics_are_ordered_by_what_their_routes_cost_in_all(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#patterns")
    page.select_option("label:has-text('Order') select", label="Highest cost in all first")
    shown = page.locator("td[data-name='Routes’ cost in all']")
    shown.first.wait_for()
    costs = [float(cost.split()[0].replace(",", "")) for cost in shown.all_inner_texts() if cost != "–"]
    assert costs == sorted(costs, reverse=True) != []
    page.wait_for_selector("text=all others are of all time, older ratings counting less.")


def test_the_leaderboard_fits_its_window(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support&days=3650#routes")
    page.wait_for_selector("th:has-text('Cost of a good answer')")
    board = page.locator(".scroll[aria-label^='Routes taken most often']")
    assert board.evaluate("one => one.scrollWidth <= one.clientWidth")
    ends = "all => all.map((one) => [one, one.closest('th')].map((part) => part.getBoundingClientRect().right))"
    assert all(mark <= head for mark, head in board.locator("thead .help").evaluate_all(ends))


def test_a_key_that_may_only_look_is_offered_no_budget(browser: Browser, store: Store, site: Site) -> None:
    _, token = store.create_key("support", "viewer", ["read"])
    closed = Site(store, ServiceOptions(space="support", dim=256, config=CONFIG, require_keys=True))
    watched = Watched(browser, closed, 390)
    page = watched.page
    page.goto(f"{closed.url}/#routes")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("text=No budget is set")
    assert page.locator("text=Set a budget").count() == 0
    period = page.locator("main select").first
    assert period.evaluate("one => one.scrollWidth <= one.clientWidth")
    watched.wrong = [said for said in watched.wrong if "401" not in said]  # before the key was typed
    watched.close()
    closed.close()


def test_the_chat_tells_the_quality_of_the_whole_space(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo?space=support")
    page.wait_for_selector("#curve .note:has-text('The whole space: 75.0 % of 1,200 ratings.')")
    page.wait_for_selector("text=It counts as your users’ ratings do")


def test_the_fleet_tells_who_learned_last(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#fleet")
    page.wait_for_selector("dt:text-is('Last run of learning') + dd:has-text('by server')")
    page.wait_for_selector("dt:text-is('Feedback on unknown requests, last seven days') + dd:has-text('none')")


@pytest.fixture
def silenced(proxy: Proxy) -> Iterator[Site]:
    """A demo space behind a proxy, by which its database can be silenced."""
    with Store(proxy.url) as store:
        prepare_chat(store, "demo", CONFIG)
        site = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG))
        yield site
        proxy.resume()
        site.close()


def test_an_idle_page_says_that_the_database_is_silent_and_the_chat_goes_on(
    browser: Browser, proxy: Proxy, silenced: Site
) -> None:
    idle, chat = Watched(browser, silenced), Watched(browser, silenced)
    idle.page.goto(silenced.url)
    idle.page.wait_for_selector("text=the database answers")
    chat.page.goto(f"{silenced.url}/demo")
    chat.page.wait_for_selector("#curve svg")
    proxy.stall()
    said = ".lost:has-text('The database behind the server has not answered since')"
    idle.page.wait_for_selector(said)
    chat.page.wait_for_selector(said)
    chat.page.fill("#question", "where is my parcel?")
    chat.page.press("#question", "Enter")
    chat.page.wait_for_selector("#why:has-text('The question is recorded')")
    assert chat.page.locator(".said-back").count() == 1
    proxy.resume()
    idle.page.wait_for_selector(".lost", state="hidden")
    for one in (idle, chat):
        unexpected = [told for told in one.wrong if "503 (" not in told and "not answer" not in told]
        assert unexpected == []
        one.wrong.clear()  # while the database was silent
        one.close()


def test_a_row_of_a_file_is_found_by_its_id(watched: Watched, site: Site) -> None:
    page = watched.page
    (fact,) = page.request.get(f"{site.url}/v1/dashboard/feedback?space=support&limit=1").json()["facts"]
    page.goto(f"{site.url}/?space=support")
    page.get_by_label("Its id in the file").fill(fact["trajectory"])
    page.keyboard.press("Enter")
    page.wait_for_selector("section:has-text('Find a request') li:has-text('http: corrected')")
    page.get_by_label("Its id in the file").fill("T-1042")
    page.get_by_role("button", name="Find", exact=True).click()
    page.wait_for_selector("text=No request of this space has the id “T-1042”.")


def test_a_thumb_of_yesterday_is_taken_back_where_it_is_found(watched: Watched, site: Site) -> None:
    page = watched.page
    made = site.post("/v1/trajectories?space=support", {"text": "is it far?", "route": "small"})["id"]
    site.post("/v1/feedback?space=support", {"trajectory": made, "quality": 0})
    page.goto(f"{site.url}/?space=support&find={made}")
    found = page.locator("section:has-text('Find a request')")
    found.locator("li:has-text('http: ▼ bad')").wait_for()
    page.locator("section:has-text('Latest feedback') li:has-text('is it far?')").wait_for()
    watched.require_readable("feedback-undo")
    found.get_by_role("button", name="Undo: You said: wrong.").focus()
    page.keyboard.press("Enter")
    found.locator("text=Taken back.").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Taken back."
    found.locator("li:has-text('before that was taken back: quality 0 %')").wait_for()
    page.locator("section:has-text('Latest feedback') li:has-text('said otherwise or taken back since')").wait_for()
    page.reload()
    found.locator("li:has-text('said otherwise or taken back since')").wait_for()
    assert found.get_by_role("button", name="Undo").count() == 0


def test_the_latest_feedback_is_had_of_a_day_bad_alone_and_in_full(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "thumbs", "dim": 256})
    rows = [{"text": f"question {place}", "route": "large"} for place in range(30)]
    made = site.post("/v1/trajectories/batch?space=thumbs", {"trajectories": rows})["ids"]
    for place, trajectory in enumerate(made):
        site.post("/v1/feedback?space=thumbs", {"trajectory": trajectory, "quality": float(place % 10 != 0)})
    site.post("/v1/learn?space=thumbs")
    page.goto(f"{site.url}/?space=thumbs")
    latest = page.locator("section:has-text('Latest feedback')")
    latest.get_by_role("button", name="Show more").click()
    page.wait_for_function("() => document.querySelectorAll('.facts li').length === 30")
    assert page.evaluate("document.activeElement.tagName") == "A"  # the first of those that came
    assert latest.get_by_role("button", name="Show more").count() == 0
    latest.get_by_label("bad ratings and corrections only").check()
    page.wait_for_function("() => document.querySelectorAll('.facts li').length === 3")
    watched.require_readable("latest-feedback")
    latest.get_by_role("button", name="given by me").click()  # without keys all of it is
    page.wait_for_function("() => document.querySelectorAll('.facts li').length === 3")
    latest.get_by_label("Day", exact=True).fill("2026-01-02")
    latest.locator("text=What was imported counts as recorded on the day of the import").wait_for()
    latest.get_by_role("button", name="Show what was said about that day’s requests").click()
    latest.locator("text=No such feedback is about").wait_for()
    latest.get_by_label("Day", exact=True).fill(page.evaluate("new Date().toLocaleDateString('sv')"))
    latest.get_by_role("link", name="question 20", exact=True).click()
    page.wait_for_selector("section:has-text('Find a request') li:has-text('question 20 – answered with “large”')")


def test_a_fact_of_time_travel_leads_to_its_request(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support&question=where+is+my+parcel#travel")
    page.locator("a[aria-label^='The request of']").first.click()
    page.wait_for_selector("section:has-text('Find a request') li:has-text('answered with')")


def test_a_key_that_may_only_look_takes_nothing_back(browser: Browser, store: Store, site: Site) -> None:
    _, token = store.create_key("support", "onlooker", ["read"])
    closed = Site(store, ServiceOptions(space="support", dim=256, config=CONFIG, require_keys=True))
    watched = Watched(browser, closed)
    watched.page.goto(closed.url)
    watched.page.fill("#token", token)
    watched.page.press("#token", "Enter")
    watched.page.wait_for_selector("ul.facts li:has-text('corrected')")
    assert watched.page.get_by_role("button", name="Undo").count() == 0
    watched.wrong = [said for said in watched.wrong if "401" not in said]  # before the key was typed
    watched.close()
    closed.close()


def test_an_answer_that_is_not_first_is_retired_where_it_is_found(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#routes")
    page.get_by_label("A part of its id or text").fill("BY TRA")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop giving this answer: by train").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("li:has-text('by train · not given any more')")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Give again"
    watched.require_readable("answer-found")
    page.goto(f"{site.url}/demo?space=support")
    page.wait_for_selector("#retired:has-text('by train')")
    page.get_by_label("A part of its id or text").fill("by train")
    page.keyboard.press("Enter")
    page.locator("#finder").get_by_role("button", name="Give again: by train").click()
    page.wait_for_selector("#retired.hidden", state="attached")


def test_the_leaderboard_is_ordered_by_a_column_with_the_keyboard(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support&days=3650#routes")
    button = page.locator("thead button:has-text('Mean cost')")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("th[aria-sort=descending]:has-text('Mean cost')")
    board = page.locator("table:has(caption:has-text('Routes taken most often'))")
    assert board.locator("tbody th").all_inner_texts() == ["small", "large"]
    page.keyboard.press("Enter")  # the focus has stayed
    page.wait_for_selector("th[aria-sort=ascending]:has-text('Mean cost')")
    assert board.locator("tbody th").all_inner_texts() == ["large", "small"]
    page.set_viewport_size({"width": 390, "height": 900})
    page.get_by_role("combobox", name="Order").select_option(label="Route, Z to A")
    page.wait_for_selector("caption:has-text('Route, Z to A')")
    assert board.locator("tbody th").all_inner_texts() == ["small", "large"]
    watched.require_readable("leaderboard-ordered")


def test_a_route_leads_to_its_requests_that_were_rated_bad(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support&days=3650#routes")
    page.get_by_label("A part of the route’s name").fill("LAR")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('tbody button.act').length === 1")
    page.get_by_role("button", name="rated bad: show those of large").click()
    page.wait_for_selector("h3:has-text('Rated bad of late: large')")
    assert page.locator("ul.facts li:has-text('my money has not come back')").count() == 20
    watched.require_readable("leaderboard-rated-bad")


def test_a_topic_tells_what_its_own_questions_have_cost(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=support#patterns")
    page.wait_for_selector("dt:text-is('Cost of its questions') + dd:has-text('each')")
