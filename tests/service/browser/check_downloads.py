"""Tables that are taken along as CSV files, in a real Chromium: `make test-browser`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from sona_pg import Store
from sona_pg.service import ServiceOptions
from tests.service.browser.watched import Watched
from tests.service.conftest import CONFIG
from tests.service.site import Site

BOARD = "Routes taken most often"


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[Site]:
    """A space of two routes that cost dollars, one fast and one slow."""
    site = Site(store, ServiceOptions(space="priced", dim=256, config=CONFIG))
    rows = [
        {
            "text": f"where is parcel {place}",
            "route": route,
            "quality": 1.0 if place % 2 else 0.0,
            "cost": cost,
            "latency": taken,
        }
        for route, cost, taken in (("fast", 0.0059875, 0.6245), ("slow", 1234.5, 1.4))
        for place in range(20)
    ]
    site.post("/v1/trajectories/batch", {"trajectories": rows})
    site.post("/v1/learn")
    store.set_settings("priced", {"costs.unit": "USD"})
    yield site
    site.close()


def downloaded(page: Page, caption: str) -> tuple[str, list[dict[str, str]]]:
    button = page.get_by_role("button", name=f"Download as CSV: {caption}")
    button.focus()
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    text = waiting.value.path().read_text(encoding="utf-8-sig")
    head = text.splitlines()[0]
    return waiting.value.suggested_filename, list(
        csv.DictReader(text.splitlines(), delimiter=";" if head.count(";") > head.count(",") else ",")
    )


@pytest.mark.parametrize(("locale", "mark"), [("en-GB", "."), ("de-DE", ",")])
def test_figures_are_numbers_in_one_unit_that_their_column_names(
    browser: Browser, site: Site, locale: str, mark: str
) -> None:
    watched = Watched(browser, site, locale=locale)
    watched.page.goto(f"{site.url}/?space=priced#routes")
    name, rows = downloaded(watched.page, BOARD)
    assert name == f"priced-routes-taken-most-often-{datetime.now(UTC):%Y-%m-%d}.csv"
    found = {row["Route"]: row for row in rows}

    def figures(route: str, column: str) -> Any:
        return found[route][column].replace(mark, ".")

    assert (figures("fast", "Mean cost (USD)"), figures("slow", "Mean cost (USD)")) == ("0.0059875", "1234.5")
    assert mark in found["fast"]["Mean cost (USD)"]
    assert float(figures("fast", "Median latency (s)")) == pytest.approx(0.6245, rel=0.2)
    assert float(figures("slow", "Median latency (s)")) == pytest.approx(1.4, rel=0.2)
    assert found["fast"]["Quality"] == "50%"
    assert found["fast"]["Likely from"] < "50%" < found["fast"]["Likely to"]
    assert watched.page.locator("td[data-name='Mean cost']:has-text('0.00599 USD')").count() == 1  # as people read it
    spent = downloaded(watched.page, "Spending by route")[1]
    assert [row["Spent (USD)"].replace(mark, ".") for row in spent] == ["24690", "0.11975"]
    watched.close()


def test_a_table_is_downloaded_with_the_rows_and_figures_that_it_shows(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=priced&days=3650#routes")
    _, rows = downloaded(page, BOARD)
    shown = page.locator(f"table:has(caption:has-text('{BOARD}')) tbody tr")
    assert [row["Route"] for row in rows] == shown.locator("th").all_inner_texts()
    assert [row["Ratings"] for row in rows] == [
        told.replace(",", "") for told in shown.locator("td[data-name=Ratings]").all_inner_texts()
    ]
    assert "0 to 100 %" not in rows[0]  # a drawing


def test_moments_are_dates_of_a_spreadsheet_in_utc(browser: Browser, site: Site) -> None:
    watched = Watched(browser, site, locale="en-GB", timezone_id="Asia/Tokyo")
    watched.page.goto(f"{site.url}/?space=priced#fleet")
    _, rows = downloaded(watched.page, "Latest runs of learning")
    began = datetime.strptime(rows[0]["Began (UTC)"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - began).total_seconds()) < 3600  # Tokyo is nine hours ahead
    watched.close()


def test_the_order_that_somebody_chose_survives_a_search(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=priced&days=3650#routes")
    page.get_by_role("button", name="Mean cost", exact=True).click()
    page.wait_for_selector("th[aria-sort=descending]:has-text('Mean cost')")
    page.fill("#find-route", "slow")
    page.get_by_role("button", name="Search", exact=True).first.click()
    page.wait_for_selector(f"table:has(caption:has-text('{BOARD}')):not(:has(th:text-is('fast')))")
    assert page.locator("th[aria-sort=descending]:has-text('Mean cost')").count() == 1


def test_no_text_of_a_download_runs_in_a_spreadsheet(watched: Watched, site: Site) -> None:
    page = watched.page
    page.goto(f"{site.url}/?space=priced#fleet")
    told = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "'=x", "−3", "1,234.5", "81 %", "a=b", "\t=1"]
    cells = "([told, is]) => import('./assets/download.js').then(({ cell }) => told.map((one) => cell(one, is)))"
    safe = ["'=1+1", "'+cmd", "'-2+3", "'@SUM(A1)", "''=x"]
    assert page.evaluate(cells, [told, True]) == [*safe, "-3", "1234.5", "81%", "a=b", "'=1"]
    assert page.evaluate(cells, [told, False]) == [*safe, *told[5:9], "'=1"]
