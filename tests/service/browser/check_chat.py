"""The chat at /demo in a real Chromium: `make test-browser`."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.service.browser.watched import SHOTS, WIDTHS, Watched
from tests.service.site import Site


def open_chat(watched: Watched, site: Site, space: str = "demo") -> Page:
    watched.page.goto(f"{site.url}/demo?space={space}")
    watched.page.wait_for_selector("#curve svg text")
    return watched.page


def ask(page: Page, text: str) -> None:
    page.fill("#question", text)
    page.press("#question", "Enter")


def test_a_correction_changes_the_next_answer_in_the_chat(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site)
    ask(page, "it fell to pieces when I opened it")
    page.wait_for_selector(".reply")
    right = "We are sorry. Send us a photo of the damage and we ship a new one today."
    assert page.locator(".reply .said-back").first.text_content() != right
    page.click("text=Tell the right answer")
    page.fill(".reply form input", right)
    page.press(".reply form input", "Enter")
    page.wait_for_selector(f".reply.better:has-text('{right}')")
    page.click("text=Teach it 20 sample questions")
    page.wait_for_selector("text=(60 left)")
    page.wait_for_selector("text=has learned them")
    watched.require_readable("chat-taught")


def test_an_answer_that_is_new_can_be_told(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site)
    ask(page, "do you sell bicycles?")
    page.click("text=Tell the right answer")
    page.fill(".reply form input", "Bicycles are in our shop at the station.")
    page.press(".reply form input", "Enter")
    page.wait_for_selector(".reply.better:has-text('Bicycles are in our shop')")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_newest_answer_is_not_hidden_by_the_question_field(browser: Browser, site: Site, width: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], "dark")
    page = open_chat(watched, site, "shop")
    for number, text in enumerate(["where is it?", "my coupon fails", "it is broken", "do you ship?", "bye"], 1):
        ask(page, text)
        page.wait_for_function("number => document.querySelectorAll('.thumbs').length === number", arg=number)
        page.wait_for_function(
            "[...document.querySelectorAll('.thumbs')].at(-1).getBoundingClientRect().bottom"
            " <= document.getElementById('ask').getBoundingClientRect().top"
        )
    watched.require_readable(f"chat-asked-{width}")
    page.screenshot(path=SHOTS / f"chat-seen-{width}.png")
    watched.close()


def test_samples_go_into_a_real_space_only_when_confirmed(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "real", "dim": 256})
    site.post("/v1/trajectories?space=real", {"text": "what does it cost?", "route": "small", "quality": 1})
    site.post("/v1/learn?space=real")
    page.goto(f"{site.url}/demo?space=real")
    page.click("text=Store the 20 sample answers")
    page.wait_for_selector("dialog:has-text('“real” has 1 request')")
    watched.require_readable("samples-confirm")
    page.click("dialog[open] >> text=Cancel")
    page.wait_for_selector("button:enabled:has-text('Store the 20 sample answers')")
    page.click("text=Store the 20 sample answers")
    page.click("text=Yes, into “real”")
    page.click("text=Teach it 20 sample questions")
    page.wait_for_selector("text=has learned them")


def test_a_wrong_says_how_far_the_score_of_the_answer_fell(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    ask(page, "where is my parcel?")
    page.click("button:has-text('Wrong')")
    page.wait_for_selector(".reply:has-text('Asked again, it')")
    told = page.locator(".reply").last.text_content() or ""
    assert "it answers now" in told or re.search(r"Its score fell from [-\d.]+ to [-\d.]+; the next answer is at", told)


def test_undo_tells_the_score_against_that_of_the_answer_before_it(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    ask(page, "which payment methods do you take?")
    page.locator(".reply").get_by_role("button", name="▲ Right").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 2")
    praised = page.locator(".reply").last.text_content() or ""
    page.get_by_role("button", name="Undo: You said: right.").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 3")
    undone = page.locator(".reply").last.text_content() or ""
    was, risen = re.findall(r"Its score rose from ([-\d.]+) to ([-\d.]+);", praised)[0]
    assert f"Its score fell from {risen} to {was};" in undone


def test_a_score_that_stays_is_not_told_to_move(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    page.route("**/v1/feedback*", lambda asked: asked.fulfill(json={}))  # which moves nothing
    ask(page, "can I collect it in a shop?")
    page.locator(".reply").get_by_role("button", name="▼ Wrong").click()
    page.wait_for_selector(".reply:has-text('Its score is still')")


def test_what_was_taught_in_an_earlier_visit_is_not_taught_again(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "visited", "dim": 256})
    page.goto(f"{site.url}/demo?space=visited")
    page.click("text=Store the 20 sample answers")
    page.click("text=Teach it 20 sample questions (80 left)")
    page.wait_for_selector("#teach [role=status]:has-text('has learned them')")
    page.wait_for_selector("text=Right answers on a test of 40 questions")
    page.reload()
    page.wait_for_selector("text=(60 left)")


def test_after_an_import_the_chat_says_why_no_version_has_a_figure_yet(watched: Watched, site: Site) -> None:
    site.post("/v1/spaces", {"name": "imported", "dim": 256})
    rows = [{"text": "what does it cost?", "route": "small", "quality": 1} for _ in range(4)]
    site.post("/v1/trajectories/batch?space=imported", {"trajectories": rows})
    site.post("/v1/learn?space=imported")
    watched.page.goto(f"{site.url}/demo?space=imported")
    curve = watched.page.locator("#curve")
    curve.locator("text=No version that is kept has ratings of its own yet").wait_for()
    assert "Not among them: 4 ratings of requests that tell no version, with a mean of 100.0 %." in curve.inner_text()
    assert "The whole space: 100.0 % of 4 ratings." in curve.inner_text()
    assert curve.locator("svg, table").count() == 0
    watched.require_readable("chat-imported")


def test_an_answer_that_was_rejected_again_and_again_is_not_told_to_be_sure(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")

    def rejected(asked: Route) -> None:
        answer = asked.fetch()
        first = {"probability": 0.2, "confidence": 0.84, "rated": 9, "quality": 0.1}
        asked.fulfill(response=answer, json=answer.json() | {"first": first})

    page.route("**/v1/dashboard/answers*", rejected)
    ask(page, "can I collect it in a shop?")
    page.wait_for_selector(".reply:has-text('I am not sure: this is right with 20')")
    told = page.locator("#why dd:has-text('that the first is right')").inner_text()
    assert re.fullmatch(
        r"20.?% that the first is right: 84.?% by its scores, and 9 ratings of this answer to questions like it with a "
        r"mean of 10.?%", told,
    )  # fmt: skip
    page.locator(".reply").first.get_by_role("button", name="▼ Wrong").click()
    page.wait_for_selector(".reply:has-text('At that time it was right with 20')")  # no stale probability above
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 2")
    assert "I am not sure" in page.locator(".reply").last.inner_text()
    assert "I am not sure" not in page.locator(".reply").first.inner_text()


def test_a_stranger_is_told_that_the_chat_is_not_sure(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    ask(page, "wie spät ist es")
    page.wait_for_selector(".reply:has-text('I am not sure: this is right with')")


def test_the_focus_goes_to_the_next_answer_after_a_thumb(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    ask(page, "the voucher is refused")
    page.wait_for_selector(".thumbs")
    page.focus("button:has-text('Right')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply:has-text('Asked again')")
    assert page.evaluate("document.activeElement === document.getElementById('talk').lastElementChild")


def test_a_thumb_given_by_mistake_is_undone_with_the_keyboard(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    ask(page, "can I pay by invoice?")
    page.wait_for_selector(".thumbs")
    before = site.post("/v1/dashboard/answers?space=shop", {"text": "can I pay by invoice?", "k": 5})["now"]["ranking"]
    page.focus("button:has-text('Wrong')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply:has-text('Asked again')")
    undo = page.get_by_role("button", name="Undo: You said: wrong.")
    undo.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply:has-text('Taken back.')")
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 3")
    after = site.post("/v1/dashboard/answers?space=shop", {"text": "can I pay by invoice?", "k": 5})["now"]["ranking"]
    assert [one["id"] for one in after] == [one["id"] for one in before]
    page.locator(".reply").first.locator("button:has-text('▲ Right')").click()  # and changed
    page.wait_for_selector(".reply:has-text('You said: right.')")
    watched.require_readable("chat-undone")


def test_the_chat_records_what_people_ask_and_judge_and_not_what_it_asks_again(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site, "shop")
    recorded: list[str] = []
    page.on("request", lambda asked: recorded.append(asked.url) if "/v1/trajectories" in asked.url else None)
    ask(page, "may I change my order?")
    page.locator(".reply").get_by_role("button", name="▲ Right").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 2")
    page.get_by_role("button", name="Undo: You said: right.").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 3")
    assert len(recorded) == 1
    page.locator(".reply").last.get_by_role("button", name="▲ Right").click()  # a judgement of the third answer itself
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 4")
    page.locator(".reply").nth(2).get_by_role("button", name="Undo: You said: right.").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 5")
    assert len(recorded) == 2


def test_undo_stops_no_answer_that_somebody_else_has_stored(watched: Watched, site: Site) -> None:
    page = open_chat(watched, site)
    told = "We also repair umbrellas."
    site.post("/v1/candidates?space=demo", {"ids": [told], "texts": [told]})  # after the page was opened
    ask(page, "can you mend my umbrella?")
    page.click("text=Tell the right answer")
    page.fill(".reply form input", told)
    page.press(".reply form input", "Enter")
    page.get_by_role("button", name=f"Undo: You said the right answer is: {told}").click()
    page.wait_for_selector(".reply:has-text('Taken back.')")
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 3")
    assert page.locator("#retired.hidden").count() == 1
    new = "We repair no kites."
    page.locator(".reply").first.get_by_role("button", name="Tell the right answer").click()
    page.locator(".reply").first.locator("form input").fill(new)
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Undo: You said the right answer is: {new}").click()
    page.get_by_role("button", name=f"Give again: {new}").click()
    page.wait_for_selector("#retired.hidden", state="attached")


def test_a_told_answer_is_stopped_and_given_again(watched: Watched, site: Site) -> None:
    told = "Gift wrapping costs two euros."
    page = open_chat(watched, site)
    ask(page, "do you wrap presents?")
    page.click("text=Tell the right answer")
    page.fill(".reply form input", told)
    page.press(".reply form input", "Enter")
    page.wait_for_selector(f".reply.better:has-text('{told}')")
    page.locator(".reply").last.get_by_role("button", name="Stop giving this answer").click()
    page.wait_for_selector("#retired:not(.hidden) li")
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 3")
    assert page.locator(".reply").last.locator(".said-back").text_content() != told
    assert (page.locator("#retired").text_content() or "").endswith(f"{told}Give again")
    watched.require_readable("chat-stopped")
    page.get_by_role("button", name="Undo: Nobody is given this answer").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 4")
    assert page.locator(".reply").last.locator(".said-back").text_content() == told
    page.locator(".reply").last.get_by_role("button", name="Stop giving this answer").click()
    page.wait_for_function("() => document.querySelectorAll('.reply').length === 5")
    page.reload()
    page.wait_for_selector("#curve svg text")
    page.get_by_role("button", name=f"Give again: {told}").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#retired.hidden", state="attached")
    assert page.evaluate("document.activeElement.id") == "question"
    ask(page, "do you wrap presents?")
    page.wait_for_selector(f".reply .said-back:has-text('{told}')")
