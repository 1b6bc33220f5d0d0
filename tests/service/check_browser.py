"""The pages in a real Chromium, with real data: `make test-browser`. Screenshots are left in build/screenshots."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from sona_pg import Store
from sona_pg.demo.helpdesk import helpdesk_json, prepare_chat
from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG
from tests.service.site import Site

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
AXE = Path(os.environ["AXE"]) if "AXE" in os.environ else ROOT / "build/browser/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": 390, "tablet": 820, "desk": 1280}
VIEWS = ["overview", "patterns", "routes", "travel", "fleet", "memory"]
COSTS = {"small-model": 0.1, "large-model": 1.0}


@pytest.fixture(scope="module")
def store(service_url: str) -> Iterator[Store]:
    with Store(service_url) as store:
        yield store


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    """The demo's space untaught, and a space ``shop`` with routes, costs, sessions, corrections and three versions."""
    prepare_chat(store, "demo", CONFIG)
    site = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG))
    site.post("/v1/spaces", {"name": "shop", "dim": 256})
    rows = json.loads(helpdesk_json())["answers"]
    answers = [row["answer"] for row in rows]
    site.post("/v1/candidates?space=shop", {"ids": answers, "texts": answers})
    drawn = random.Random(1)
    for _ in range(3):
        for visit in range(30):
            row = drawn.choice(rows)
            text = drawn.choice(row["lessons"])
            decision = site.post("/v1/route?space=shop", {"text": text, "candidates": [*COSTS], "costs": COSTS})
            good = drawn.random() < (0.9 if decision["route"] == "large-model" else 0.5)
            body = {"text": text, "decision": decision, "route": decision["route"], "quality": float(good)}
            site.post("/v1/trajectories?space=shop", body | {"cost": COSTS[decision["route"]], "latency": 0.4})
            ranking = site.post("/v1/rank?space=shop", {"text": text})
            body = {"text": text, "ranking": ranking, "route": ranking["ids"][0], "context": [f"session:{visit // 5}"]}
            shown = site.post("/v1/trajectories?space=shop", body)["id"]
            site.post("/v1/feedback?space=shop", {"trajectory": shown, "correction": row["answer"]})
        site.post("/v1/learn?space=shop")
    yield site
    site.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Watched:
    """A page, and whatever went wrong on it."""

    def __init__(self, browser: Browser, site: Site, width: int = 1280, scheme: Any = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: None if asked.url.startswith(site.url) else self.wrong.append(asked.url))

    def require_readable(self, name: str) -> None:
        """Take a screenshot; nothing is wider than the window, and axe finds nothing serious."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";0")  # by the debugger, whom the policy does not concern
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]

    def close(self) -> None:
        self.context.close()
        assert not self.wrong


@pytest.fixture
def watched(browser: Browser, site: Site) -> Iterator[Watched]:
    made = Watched(browser, site)
    yield made
    made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_each_view_is_drawn_and_readable(browser: Browser, site: Site, width: str, scheme: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], scheme)
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    for view in VIEWS:
        page.click(f"nav a[href='#{view}']")
        page.wait_for_selector(f"nav a[href='#{view}'][aria-current]")
        page.wait_for_selector("main:not([aria-busy]) h1")
        if view == "travel":
            page.fill("#query", "my money has not come back")
            page.press("#query", "Enter")
            page.wait_for_selector("text=Feedback that moved it")
        if view == "fleet":
            page.wait_for_selector("th:has-text('Its gate says')")
        else:
            page.wait_for_selector("main svg")
        watched.require_readable(f"{view}-{width}-{scheme}")
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    watched.require_readable(f"demo-{width}-{scheme}")
    watched.close()


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


def test_a_correction_changes_the_next_answer_in_the_chat(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo")
    page.wait_for_selector("#curve svg text")
    page.fill("#question", "it fell to pieces when I opened it")
    page.press("#question", "Enter")
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
    page = watched.page
    page.goto(f"{site.url}/demo")
    page.wait_for_selector("#curve svg text")
    page.fill("#question", "do you sell bicycles?")
    page.press("#question", "Enter")
    page.click("text=Tell the right answer")
    page.fill(".reply form input", "Bicycles are in our shop at the station.")
    page.press(".reply form input", "Enter")
    page.wait_for_selector(".reply.better:has-text('Bicycles are in our shop')")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_newest_answer_is_not_hidden_by_the_question_field(browser: Browser, site: Site, width: str) -> None:
    watched = Watched(browser, site, WIDTHS[width], "dark")
    page = watched.page
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    for number, text in enumerate(["where is it?", "my coupon fails", "it is broken", "do you ship?", "bye"], 1):
        page.fill("#question", text)
        page.press("#question", "Enter")
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
    page.wait_for_selector("dialog:has-text('“real” has 1 trajectory')")
    watched.require_readable("samples-confirm")
    page.click("dialog[open] >> text=Cancel")
    page.wait_for_selector("button:enabled:has-text('Store the 20 sample answers')")
    page.click("text=Store the 20 sample answers")
    page.click("text=Yes, into “real”")
    page.click("text=Teach it 20 sample questions")
    page.wait_for_selector("text=has learned them")


def test_the_pages_keep_the_chosen_space(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    for link in ("Chat", "HTTP API", "Chat", "Patterns"):
        page.click(f"a:text-is('{link}')")
        page.wait_for_url("**/*?space=shop*")
    page.wait_for_selector(".bubble")
    page.select_option("#space", "demo")
    page.click("a:text-is('Chat')")
    page.wait_for_url("**/demo?space=demo")
    page.goto(f"{site.url}/?space=shop#routes")
    page.locator("a.help").first.click()
    page.wait_for_url("**/glossary?space=shop#*")
    page.goto(f"{site.url}/demo?space=shop")
    page.click("text=See how versions answer")
    page.wait_for_url("**/?space=shop#travel")


def test_a_wrong_says_how_far_the_score_of_the_answer_fell(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    page.fill("#question", "where is my parcel?")
    page.press("#question", "Enter")
    page.click("button:has-text('Wrong')")
    page.wait_for_selector(".reply:has-text('Asked again, it')")
    told = page.locator(".reply").last.text_content() or ""
    assert "it answers now" in told or re.search(r"Its score fell from [-\d.]+ to [-\d.]+; the next answer is at", told)


def test_a_page_says_that_the_server_is_away_and_goes_on(browser: Browser, store: Store) -> None:
    first = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG))
    watched = Watched(browser, first)
    page = watched.page
    page.goto(first.url)
    page.wait_for_selector(".tiles")
    assert page.locator(".lost").is_hidden()
    first.close()
    page.wait_for_selector(".lost:has-text('The server has not answered since')")
    watched.require_readable("server-away")
    again = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG), port=first.port)
    page.wait_for_selector(".lost", state="hidden")
    page.wait_for_selector(".tiles")
    watched.wrong = [said for said in watched.wrong if "net::ERR_" not in said]  # while it was away
    watched.close()
    again.close()


def test_a_space_of_another_dimension_says_that_words_cannot_be_asked(watched: Watched, site: Site) -> None:
    page = watched.page
    site.post("/v1/spaces", {"name": "narrow", "dim": 16})
    page.goto(f"{site.url}/?space=narrow#travel")
    page.wait_for_selector("text=Questions in words cannot be asked here")
    page.goto(f"{site.url}/demo?space=narrow")
    page.wait_for_selector("text=Questions in words cannot be asked here")
    assert page.locator("#question").is_disabled()
    watched.require_readable("wordless")
    watched.wrong = [said for said in watched.wrong if "422" not in said]  # the answer to whether it can be asked


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


def test_a_stranger_is_told_that_the_chat_is_not_sure(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo")
    page.wait_for_selector("#curve svg text")
    page.fill("#question", "wie spät ist es")
    page.press("#question", "Enter")
    page.wait_for_selector(".reply:has-text('I am not sure: this is right with')")


def test_the_focus_goes_to_the_next_answer_after_a_thumb(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo?space=shop")
    page.wait_for_selector("#curve svg text")
    page.fill("#question", "the voucher is refused")
    page.press("#question", "Enter")
    page.wait_for_selector(".thumbs")
    page.focus("button:has-text('Right')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply:has-text('Asked again')")
    assert page.evaluate("document.activeElement === document.getElementById('talk').lastElementChild")


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


def test_a_key_is_asked_for_and_kept_for_the_tab(browser: Browser, store: Store, site: Site) -> None:
    _, token = store.create_key("shop", "viewer", ["read"])
    closed = Site(store, ServiceOptions(space="demo", dim=256, config=CONFIG, require_keys=True))
    watched = Watched(browser, closed)
    page = watched.page
    page.goto(closed.url)
    page.wait_for_selector("dialog[open]")
    watched.require_readable("key")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("h1:text-is('How shop is doing')")
    page.reload()
    page.wait_for_selector("h1:text-is('How shop is doing')")
    assert page.evaluate("localStorage.length") == 0
    watched.wrong = [said for said in watched.wrong if "401" not in said]  # before the key was typed
    watched.close()
    closed.close()


def test_the_operations_are_listed_and_found(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=shop")
    page.click("text=HTTP API")
    page.wait_for_selector("h1:text-is('HTTP API')")
    page.fill("#find", "feedback")
    page.click("summary:has-text('POST /v1/feedback')")
    page.wait_for_selector("#give_feedback[open] pre:has-text('\"trajectory\":')")
    watched.require_readable("operations")
