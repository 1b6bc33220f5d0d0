"""Chromium, and a service with a taught space, for the checks of this folder."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from sona_pg import Store
from sona_pg.demo.helpdesk import helpdesk_json, prepare_chat
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

if TYPE_CHECKING:  # `make test` reads this file without Playwright
    from playwright.sync_api import Browser

COSTS = {"small-model": 0.1, "large-model": 1.0}


@pytest.fixture(scope="session")
def store(service_url: str) -> Iterator[Store]:
    with Store(service_url) as store:
        yield store


@pytest.fixture(scope="session")
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


@pytest.fixture
def watched(browser: Browser, site: Site) -> Iterator[Watched]:
    made = Watched(browser, site)
    yield made
    made.close()
