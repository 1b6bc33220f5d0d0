"""Ticks of the time axes in zones whose clocks change, in a real Chromium: `make test-browser`."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.service.browser.watched import Watched
from tests.service.site import Site

TICKS = """([low, high, ...how]) => import('./assets/scales.js').then(({ timeTicks }) => {
    const made = timeTicks(Date.parse(low), Date.parse(high), ...how);
    return made.values.map((value) => [made.label(value), new Date(value).toISOString().slice(0, 16)]);
})"""


def ticks(browser: Browser, site: Site, zone: str, *told: Any) -> list[list[str]]:
    watched = Watched(browser, site, locale="en-US", timezone_id=zone)
    watched.page.goto(f"{site.url}/?space=demo#fleet")
    found: list[list[str]] = watched.page.evaluate(TICKS, told)
    watched.close()
    return found


# In Berlin the clock goes back on October 25, 2026, in New York on November 1; both go forward in March.
@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [("Europe/Berlin", "22:00", "23:00"), ("America/New_York", "04:00", "05:00"), ("UTC", "00:00", "00:00")],
)
def test_weeks_begin_at_midnight_after_the_clock_has_changed(
    browser: Browser, site: Site, zone: str, before: str, after: str
) -> None:
    found = ticks(browser, site, zone, "2026-10-10T00:00Z", "2026-11-23T00:00Z", 7)
    assert [label for label, _ in found] == ["Oct 15", "Oct 22", "Oct 29", "Nov 5", "Nov 12", "Nov 19"]
    assert {moment[11:] for _, moment in found[:2]} == {before}
    assert {moment[11:] for _, moment in found[3:]} == {after}


def test_hours_of_the_day_on_which_the_clock_changes(browser: Browser, site: Site) -> None:
    found = ticks(browser, site, "Europe/Berlin", "2026-10-24T12:00Z", "2026-10-26T05:00Z", 4)
    assert found == [
        ["Oct 25 00:00", "2026-10-24T22:00"],
        ["Oct 25 12:00", "2026-10-25T11:00"],
        ["Oct 26 00:00", "2026-10-25T23:00"],
    ]
    hours = ticks(browser, site, "Europe/Berlin", "2026-10-24T23:00Z", "2026-10-25T02:00Z", 4)
    assert [label for label, _ in hours] == ["01:00", "02:00", "02:00", "03:00"]  # it was two o'clock twice


def test_bars_of_days_in_utc_have_ticks_of_days_in_utc(browser: Browser, site: Site) -> None:
    found = ticks(browser, site, "Asia/Tokyo", "2026-11-03T00:00Z", "2026-11-06T00:00Z", 7, True)
    assert [one for one in found if one[1].endswith("00:00")] == [
        ["Nov 3 00:00", "2026-11-03T00:00"],
        ["Nov 4 00:00", "2026-11-04T00:00"],
        ["Nov 5 00:00", "2026-11-05T00:00"],
        ["Nov 6 00:00", "2026-11-06T00:00"],
    ]
