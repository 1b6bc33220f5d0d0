"""Figures of a period of days: quality with its change against the period before, and spending by route and day."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sona_pg.domain.overview_figures import SURE, interval


class DaySums(NamedTuple):
    """Sums over the trajectories of a day (UTC), of the whole space or of one route."""

    day: date
    route: str | None  # None: the whole space; "": trajectories without a route
    trajectories: int
    rated: int
    quality: float  # sum over the rated ones
    costed: int
    cost: float  # sum over the costed ones: real costs where they were told, else estimates


class DayTraffic(NamedTuple):
    """How many trajectories began on a day (UTC), and how many of them are rated."""

    day: date
    trajectories: int
    rated: int


AT_START = 28  # days at the start of a space, and at the end, that are compared


class RouteSums(NamedTuple):
    """Sums over the trajectories of one route in a period."""

    route: str
    trajectories: int
    rated: int
    quality: float  # sum over the rated ones
    costed: int
    cost: float  # sum over the costed ones: real costs where they were told, else estimates
    latency_us: float | None  # median of those that have one


class FoundRoutes(NamedTuple):
    """Routes of a period, and what is not among them."""

    sums: Sequence[RouteSums]
    all: int  # as many are in the daily figures
    left_out: int  # trajectories of routes that are not: a day keeps those taken most often


class LikeQuality(NamedTuple):
    """Quality of one route on like questions: within topics that other routes answered as well."""

    route: str
    compared: int  # ratings of such topics
    quality: float | None  # None: too few of them
    low: float | None
    high: float | None
    sampled: bool


class SummedDays(NamedTuple):
    """Sums of some days, oldest first."""

    sums: Sequence[DaySums]
    as_of: datetime | None  # when the oldest of them were computed; None: all as of now
    missing: int  # days whose sums are not computed yet
    chat: Sequence[DaySums] = ()  # of the whole space, but only of what was asked in the chat


class PeriodSums(NamedTuple):
    """Sums over a period, with the mean quality and its 95 % interval."""

    trajectories: int
    rated: int
    quality: float | None  # None: none is rated
    low: float | None
    high: float | None
    costed: int
    cost: float

    @classmethod
    def of(cls, days: Iterable[DaySums]) -> PeriodSums:
        """Add the sums of some days up."""
        known = list(days)
        rated = sum(one.rated for one in known)
        mean = min(max(math.fsum(one.quality for one in known) / rated, 0.0), 1.0) if rated else None
        low, high = (None, None) if mean is None else interval(mean, rated)
        return cls(
            sum(one.trajectories for one in known), rated, mean, low, high,
            sum(one.costed for one in known), math.fsum(one.cost for one in known),
        )  # fmt: skip


def without(days: Iterable[DaySums], part: Iterable[DaySums]) -> list[DaySums]:
    """Return the sums of some days without a part of their trajectories."""
    less = {one.day: one for one in part}
    return [one if (gone := less.get(one.day)) is None else _less(one, gone) for one in days]


def _less(one: DaySums, gone: DaySums) -> DaySums:
    return DaySums(
        one.day, one.route, one.trajectories - gone.trajectories, one.rated - gone.rated,
        max(one.quality - gone.quality, 0.0), one.costed - gone.costed, max(one.cost - gone.cost, 0.0),
    )  # fmt: skip


class QualityChange(NamedTuple):
    """Difference of two means of quality, with its 95 % interval."""

    difference: float
    low: float
    high: float

    @classmethod
    def between(cls, before: PeriodSums, after: PeriodSums) -> QualityChange | None:
        """Return the change; None where a period has no ratings."""
        if before.quality is None or after.quality is None:
            return None
        span = difference_interval((after.quality, after.rated), (before.quality, before.rated))
        return cls(after.quality - before.quality, *span)


def difference_interval(one: tuple[float, int], other: tuple[float, int], sure: float = SURE) -> tuple[float, float]:
    """Return the interval of the difference of two means, each with its size (Newcombe 1998, method 10).

    Of ``sure`` standard deviations to each side: by default 95 %.
    """
    (mean, size), (other_mean, other_size) = one, other
    (low, high), (other_low, other_high) = interval(mean, size, sure), interval(other_mean, other_size, sure)
    apart = mean - other_mean
    return apart - math.hypot(mean - low, other_high - other_mean), apart + math.hypot(
        high - mean, other_mean - other_low
    )


class PriceChange(NamedTuple):
    """A day from which on the mean cost of a request of a route is another."""

    route: str
    changed_on: date
    before: float  # of 1,000 requests, since the change before
    since: float


@dataclass(frozen=True, slots=True)
class RouteSpending:
    """Spending of one route in a period."""

    route: str | None  # None: trajectories without a route
    trajectories: int
    costed: int
    cost: float
    share: float | None  # of all spending
    per_thousand: float | None  # cost of 1,000 requests, by those with a cost
    came_on: date | None  # within the period; None: it was taken before, or too rarely to tell
    last_on: date | None  # when it was last taken, if it is no longer offered


@dataclass(frozen=True, slots=True)
class DaySpending:
    """Spending of one day, in all and by the routes that cost most."""

    day: date
    costed: int
    cost: float
    routes: Mapping[str, float]


class SinceStart(NamedTuple):
    """The first days on record of a space against the last ones, as many."""

    days: int
    first: PeriodSums
    last: PeriodSums
    change: QualityChange | None  # None: one of them has no ratings

    @classmethod
    def of(cls, days: Sequence[DaySums]) -> SinceStart | None:
        """Compare the first of ``days``, oldest first, with the last; None of less than two days."""
        end = days[-1].day if days else date.min
        span = (end - days[0].day).days + 1 if days else 0
        if span < 2:
            return None
        width = min(AT_START, span // 2)
        start = days[0].day + timedelta(days=width)
        first = PeriodSums.of(one for one in days if one.day < start)
        last = PeriodSums.of(one for one in days if one.day > end - timedelta(days=width))
        return cls(width, first, last, QualityChange.between(first, last))


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """Figures of a period, and what they were in the one before it."""

    first_day: date
    last_day: date
    now: PeriodSums
    before: PeriodSums | None  # None: nothing was recorded then, or the period has no beginning
    change: QualityChange | None
    routes: Sequence[RouteSpending]  # most costly first; those that cost least may be missing
    days: Sequence[DaySpending]  # with spending, oldest first
    as_of: datetime | None
    missing_days: int
    without_chat: PeriodSums | None  # of the period, without what was asked in the chat; None: nothing was
    since_start: SinceStart | None  # of a period without a beginning
    prices: Sequence[PriceChange]  # that changed in the period, of the routes that cost most; the largest changes first
    traffic: Sequence[DayTraffic]  # of the days with trajectories, oldest first
    feedback: int | None  # facts of all time, without those that took one back; None: not counted yet


@dataclass(frozen=True, slots=True)
class SpaceEvent:
    """What happened to a space besides cycles: a rollback, a load, a rebuild or an erasure."""

    at: datetime
    kind: str
    version: int | None  # that it made; None: of an erasure
    trajectories: int | None = None  # that an erasure removed
