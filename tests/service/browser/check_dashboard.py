"""The dashboard's views in a real Chromium: `make test-browser`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.service.browser.watched import WIDTHS, Watched
from tests.service.site import Site


def test_time_travel_goes_by_the_keyboard(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop#travel")
    page.fill("#query", "the coupon is refused")
    page.press("#query", "Enter")
    slider = page.locator("input[type=range]")
    slider.focus()
    slider.press("End")
    page.wait_for_selector("h2:text-is('Version 3 answers')")
    assert slider.get_attribute("aria-valuetext").startswith("version 3,")
    slider.press("Home")
    page.wait_for_selector("h2:text-is('Version 0 answers')")
    slider.press("ArrowRight")
    page.wait_for_selector("h2:text-is('Version 1 answers')")
    assert slider.get_attribute("aria-valuetext").startswith("version 1,")


def test_the_map_is_walked_by_the_arrow_keys(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop#patterns")
    page.wait_for_selector(".bubble.chosen")
    first = page.locator("[aria-live] h2").text_content()
    page.focus(".bubble.chosen")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("first => document.querySelector('[aria-live] h2').textContent !== first", arg=first)
    assert page.locator(".bubble.chosen").count() == 1


def test_feedback_appears_as_it_comes(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    page.wait_for_selector(".facts li")
    id_ = site.post("/v1/trajectories?space=shop", {"text": "is there a live view?", "route": "small-model"})["id"]
    site.post("/v1/feedback?space=shop", {"trajectory": id_, "quality": 1})
    page.wait_for_selector(".facts li:has-text('is there a live view?')", timeout=5000)


def test_an_empty_space_says_where_to_begin(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "new", "dim": 256})
    page.goto(f"{site.url}/?space=shop")
    page.wait_for_selector(".tiles")
    assert page.locator("text=Nothing is recorded").is_hidden()
    page.goto(f"{site.url}/?space=new")
    page.click("text=Begin in the chat")
    page.wait_for_selector("h1:text-is('A chat that learns from you')")


def test_every_tab_is_in_sight_on_a_phone(browser: Browser, site: Site) -> None:
    watched = Watched(browser, site, WIDTHS["phone"])
    watched.page.goto(f"{site.url}/?space=shop#memory")
    watched.page.wait_for_selector("main:not([aria-busy]) h1")
    edges = "[...document.querySelectorAll('#views a')].map((link) => link.getBoundingClientRect().right)"
    assert max(watched.page.evaluate(edges)) <= WIDTHS["phone"]
    watched.close()


def test_the_question_of_time_travel_is_in_the_address(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop#travel")
    page.fill("#query", "my money has not come back")
    page.press("#query", "Enter")
    page.wait_for_url("**question=my+money+has+not+come+back*")
    page.reload()
    page.wait_for_selector("text=Feedback that moved it")


def test_erasures_are_shown(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "erased", "dim": 256})
    body = {"text": "forget me", "route": "small-model", "quality": 1, "context": ["user:7"]}
    site.post("/v1/trajectories?space=erased", body)
    site.post("/v1/learn?space=erased")
    site.post("/v1/forget?space=erased", {"user": "7"})
    page.goto(f"{site.url}/?space=erased#fleet")
    page.wait_for_selector("table:has(caption:text-is('Erasures, newest first')) td:text-is('1')")


@pytest.mark.parametrize(
    ("told", "words", "alarms"),
    [
        ({"facts": 0, "since": None, "expired": 30}, "none but 30 pieces came after retention had removed", 0),
        ({"facts": 1, "before_erasure": 1}, "1 piece since .*: the requests may have been erased; else their ids", 0),
        (
            {"facts": 3, "before_erasure": 1, "expired": 2},
            "1 may be of erased .*; else their ids .* 2 pieces",
            1,
        ),
    ],
)
def test_long_words_on_feedback_and_failures_of_learning_keep_the_width(
    browser: Browser, site: Site, told: dict[str, Any], words: str, alarms: int
) -> None:
    watched = Watched(browser, site, WIDTHS["phone"])

    def changed(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        found["strayed"] = {"since": found["learning"]["now"], "before_erasure": 0, "expired": 0} | told
        found["learning"] |= {"failed_cycles": 3, "last_error": "LearningError: cycle of space 'shop' failed: " * 9}
        route.fulfill(response=answer, json=found)

    watched.page.route("**/v1/dashboard/fleet*", changed)
    watched.page.goto(f"{site.url}/?space=shop#fleet")
    line = watched.page.locator("dt:has-text('Feedback on unknown requests') + dd")
    line.wait_for()
    assert re.search(words, line.inner_text())
    assert line.locator(".state.bad").count() == alarms
    watched.require_readable(f"strayed-{told['facts']}")
    watched.close()


def test_a_latency_that_nobody_measured_is_not_shown(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "instant", "dim": 256})
    for latency in (0.0, 0.000002):
        body = {"text": "is it there?", "route": "small-model", "quality": 1, "latency": latency}
        site.post("/v1/trajectories?space=instant", body)
    site.post("/v1/learn?space=instant")
    page.goto(f"{site.url}/?space=instant#routes")
    page.wait_for_selector("th:text-is('small-model')")
    assert "ms" not in (page.locator("table").first.text_content() or "")


def test_a_topic_is_named_by_the_keyboard_and_keeps_its_name_in_the_next_version(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop&topics=all#patterns")
    field = page.get_by_label("Name this topic")
    field.fill("Late delivery")
    field.press("Enter")
    page.wait_for_selector("[aria-live] h2:text-is('Late delivery'):focus")
    page.wait_for_selector("th button:text-is('Late delivery')")
    watched.require_readable("topic-named")
    site.post("/v1/trajectories?space=shop", {"text": "is there a newer one?", "route": "small-model", "quality": 1})
    site.post("/v1/learn?space=shop")
    page.reload()
    page.wait_for_selector("th button:text-is('Late delivery')")
    page.click("th button:text-is('Late delivery')")
    page.click("text=Take it away")
    page.get_by_label("Name this topic").wait_for()
    expect(page.locator("text=Late delivery")).to_have_count(0)  # the table of the period is read after the topics
