"""A week in which a route was worse is told within a longer period, and chance alone tells few."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from sona_pg.domain.bad_week import BadWeek, bad_weeks, by_cause, not_told, passing
from sona_pg.domain.level_change import LevelChange, RouteChange
from sona_pg.domain.period_figures import DaySums

START = date(2026, 8, 1)
SPAN, AROUND = 115, 60
OUTAGE = range(60, 67)


def on(day: int) -> date:
    return START + timedelta(days=day)


def series(route: str | None, each: int, usual: float, bad: float, span: int = SPAN) -> list[DaySums]:
    """Return days with ``each`` ratings, as evenly good as can be, worse in the outage."""
    quality = [bad if day in OUTAGE else usual for day in range(span)]
    return [DaySums(on(day), route, 2 * each, each, each * quality[day], 0, 0.0) for day in range(span)]


def together(*routes: list[DaySums]) -> list[DaySums]:
    """Return the days of the whole space with those of its routes."""
    whole = [
        DaySums(days[0].day, None, sum(one.trajectories for one in days), sum(one.rated for one in days),
                sum(one.quality for one in days), 0, 0.0)
        for days in zip(*routes, strict=True)
    ]  # fmt: skip
    return [*whole, *(one for days in routes for one in days)]


def weeks(days: list[DaySums], first: int = 25, last: int = SPAN - 1) -> list[BadWeek]:
    found = bad_weeks(days, on(first), on(last), AROUND)
    return by_cause(passing(found, dict.fromkeys([one.route for one in found.weeks], 1.0)), days)


def test_a_week_of_outage_that_recovered_is_told_with_its_dates() -> None:
    days = together(series("atlas", 7, 0.6, 0.2), series("nova", 20, 0.7, 0.7))
    (week,) = weeks(days)
    assert week.told(AROUND) == (
        "From 30 September 2026 to 6 October 2026 answers of “atlas” were rated lower than in the 60 days before and "
        "after: 20 % of 49 ratings, else 60 % of 756. It has recovered: 60 % of 336 ratings since. Every week of the "
        "period was looked at, of every route: by chance alone one page of 20 at most tells such a week."
    )
    (ongoing,) = weeks([one for one in days if one.day <= on(66)], 25, 66)
    assert (ongoing.first, ongoing.recovered, ongoing.since.rated) == (on(60), False, 0)
    assert weeks(days, 70) == []  # before the period


def test_a_week_in_which_all_fell_is_told_of_all() -> None:
    days = together(series("atlas", 20, 0.6, 0.2), series("nova", 20, 0.7, 0.2))
    (week,) = weeks(days)
    assert week.told(AROUND).startswith("From 30 September 2026 to 6 October 2026 answers of the whole space were")


def test_neither_a_step_nor_a_climb_is_a_week_that_was_worse() -> None:
    step = [one._replace(quality=one.rated * (0.8 if one.day < on(50) else 0.4)) for one in series("a", 20, 1.0, 1.0)]
    climb = [one._replace(quality=one.rated * (0.3 + 0.005 * (one.day - START).days)) for one in step]
    assert weeks(together(step)) == []
    assert weeks(together(climb)) == []


def test_what_a_told_change_says_is_not_told_again() -> None:
    found = weeks(together(series("atlas", 7, 0.6, 0.2), series("nova", 20, 0.7, 0.7)))
    fall = LevelChange(on(59), -0.1, -0.2, -0.05, on(0), 9, 0.7, on(70), 9, 0.6, 0.0, on(55), on(61))
    rise = fall._replace(day=on(69), difference=0.1)
    worse = RouteChange("atlas", on(61), on(0), 9, 0.6, on(114), 9, 0.3, 0.7, 0.7, 0.0)
    mended = worse._replace(changed_on=on(67), before_from=on(60), before_quality=0.2, after_quality=0.6,
                            former_from=on(0), former_rated=9, former_quality=0.6)  # fmt: skip
    later = worse._replace(changed_on=on(100))
    for changes, routes, but, told in (
        ([], [], [], 1), ([rise], [], [], 1), ([], [later], [], 1), ([], [worse._replace(route="nova")], [], 1),
        ([fall], [], [], 0), ([], [worse], [], 0), ([], [mended], [], 0), ([], [], ["atlas"], 0),
    ):  # fmt: skip
        assert len(not_told(found, changes, routes, but)) == told


def test_chance_alone_tells_a_week_on_one_page_of_twenty_at_most() -> None:
    drawn = np.random.default_rng(3)
    told = 0
    for _ in range(200):
        quality, each = drawn.uniform(0.3, 0.97, 12), drawn.uniform(0.5, 8.0, 12)
        rated = drawn.poisson(each[:, None], (12, SPAN))
        good = drawn.binomial(rated, quality[:, None])
        days = together(*(
            [DaySums(on(day), f"r{route}", 9, int(rated[route, day]), float(good[route, day]), 0, 0.0)
             for day in range(SPAN)]
            for route in range(12)
        ))  # fmt: skip
        told += bool(weeks(days))
    assert told <= 10, told
