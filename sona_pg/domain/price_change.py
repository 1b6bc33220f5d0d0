"""Since when a request of a route costs another amount: a change of its price, or of how much it is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

from sona_pg.domain.period_figures import DaySums, PriceChange

LEAST_DAYS = 3  # with costs, on each side
DAYS_IN_ALL = 10
LEAST_CHANGE = 0.1  # part of the price
BEYOND_CHANCE = 6.0  # standard errors, by how much days differ: many days are looked at


def price_changes(sums: Sequence[DaySums], first: date) -> list[PriceChange]:
    """Return the latest change of each route, if it was not before ``first``, the largest ones first."""
    by_route: dict[str, list[DaySums]] = {}
    for one in sums:
        if one.route and one.costed and one.cost > 0:
            by_route.setdefault(one.route, []).append(one)
    found = [_latest(route, sorted(days, key=lambda one: one.day)) for route, days in by_route.items()]
    told = [one for one in found if one is not None and one.changed_on >= first]
    return sorted(told, key=lambda one: (-abs(math.log(one.since / one.before)), one.route))


def _latest(route: str, days: Sequence[DaySums]) -> PriceChange | None:
    """Return the last change: the best cut, then the best one of what is after it."""
    found, start = None, 0
    while (cut := _cut(days[start:])) is not None:
        before, after = days[start : start + cut], days[start + cut :]
        found = PriceChange(route, after[0].day, _per_thousand(before), _per_thousand(after))
        start += cut
    return found


def _cut(days: Sequence[DaySums]) -> int | None:
    """Return before which day the logarithms of the daily means differ most, if beyond chance."""
    if len(days) < DAYS_IN_ALL:
        return None
    logs = [math.log(one.cost / one.costed) for one in days]
    level = math.fsum(logs) / len(logs)  # squares of what is left of large numbers would lose digits
    sums = [0.0, 0.0, 0.0]  # of requests, of their logarithms, and of the squares
    upto = [tuple(sums)]
    for one, value in zip(days, logs, strict=True):
        for power in range(3):
            sums[power] += one.costed * (value - level) ** power
        upto.append(tuple(sums))
    apart = {place: _standard_errors(upto, place) for place in range(LEAST_DAYS, len(days) - LEAST_DAYS + 1)}
    best = max(apart, key=lambda place: apart[place])
    differs = abs(math.log(_per_thousand(days[best:]) / _per_thousand(days[:best]))) >= math.log1p(LEAST_CHANGE)
    return best if differs and apart[best] >= BEYOND_CHANCE else None


def _standard_errors(upto: Sequence[tuple[float, ...]], place: int) -> float:
    """Return by how many standard errors the days up to a place differ from those after it, of cumulative sums."""
    count, total, squares = upto[place]
    later, later_total, later_squares = (whole - part for whole, part in zip(upto[-1], upto[place], strict=True))
    within = squares - total**2 / count + later_squares - later_total**2 / later
    spread = max(within / (len(upto) - 3), 1e-9)  # of the days less two means
    return abs(later_total / later - total / count) / math.sqrt(spread * (1 / count + 1 / later))


def _per_thousand(days: Sequence[DaySums]) -> float:
    return 1000 * sum(one.cost for one in days) / sum(one.costed for one in days)
