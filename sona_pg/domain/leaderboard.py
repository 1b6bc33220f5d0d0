"""Leaderboard of the routes of a period: their figures, what was rated bad of each, and its orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sona_pg.domain.overview_figures import interval


class BadRatings(NamedTuple):
    """Ratings of a route among the latest trajectories of a period."""

    judged: int
    bad: int
    corrected: int  # of the bad ones: another answer was said to be right
    always_good: int = 0  # by users who rated everything good
    others_quality: float | None = None  # mean of the other ratings; None: there are none

    @property
    def own(self) -> int:
        """Ratings of questions for which no other answer was said to be right."""
        return self.judged - self.corrected

    def itself(self) -> tuple[float, float, float] | tuple[None, None, None]:
        """Return the share rated bad of those with its 95 % interval: how badly a text is written."""
        if not self.own:
            return None, None, None
        share = (self.bad - self.corrected) / self.own
        return share, *interval(share, self.own)

    def beyond(self, usual: float) -> float | None:
        """Return how many of those are surely bad beyond a ``usual`` share: so much a better text may gain."""
        low = self.itself()[1]
        return None if low is None else (low - usual) * self.own


NOT_JUDGED = BadRatings(0, 0, 0)
SHORTEST = 100  # microseconds: a program that begins and ends a trajectory at once has measured nothing


def usual_share(routes: Iterable[BadRatings]) -> float:
    """Return the share rated bad of all ratings of questions for which no other answer was said to be right."""
    known = list(routes)
    return sum(one.bad - one.corrected for one in known) / max(sum(one.own for one in known), 1)


@dataclass(frozen=True, slots=True)
class ChangedRoute:
    """Since when the quality of a route is another, with its ratings since then."""

    changed_on: date
    rated: int
    quality: float
    is_worse: bool


@dataclass(frozen=True, slots=True)
class RouteStanding:
    """How a route went in a period."""

    route: str
    trajectories: int
    rated: int
    quality: float | None  # None: none is rated
    low: float | None
    high: float | None
    latency_us: float | None  # median of those that have one
    costed: int
    cost: float | None  # mean of those: real ones where they were told, else estimates
    compared: int = 0  # ratings of topics that another route answered as well
    like_quality: float | None = None  # on like questions, within topics; None: too few of these ratings
    like_low: float | None = None
    like_high: float | None = None
    is_offered: bool = True
    judged: int = 0  # ratings of its latest trajectories, among which those below are counted
    bad: int = 0
    corrected: int = 0  # of the bad ones: another answer was said to be right
    bad_itself: float | None = None  # share rated bad where none was: how badly a text is written
    bad_itself_low: float | None = None
    bad_itself_high: float | None = None
    bad_beyond_usual: float | None = (
        None  # such ratings that are surely bad, beyond the usual share: by these it is ordered
    )
    always_good: int = 0  # ratings among these of users who rated everything good
    others_quality: float | None = None  # without them
    changed: ChangedRoute | None = None  # within the period

    @property
    def cost_of_good(self) -> float | None:
        """Mean cost of a good answer; None without a cost or a good answer."""
        quality = self.quality if self.like_quality is None else self.like_quality
        return None if self.cost is None or not quality else self.cost / quality


class Leaderboard(NamedTuple):
    """Routes of a period in their order, and how many there are."""

    routes: Sequence[RouteStanding]
    all: int  # in the daily figures, by the part of their names that was asked for
    ordered: int  # of these, those taken most often, among which the first of the order are
    left_out: int  # trajectories of routes without daily figures: a day keeps those taken most often
    corrected: int  # rated bad of any route, where another answer was said to be right
    always_good: Sequence[str] = ()  # users who rated everything good in the period, beyond chance


Key = Callable[[RouteStanding], float | str | None]
# By the names of the columns; "likely" is the lower end of the interval that the page shows.
ORDERS: Mapping[str, Key] = {
    "route": lambda one: one.route.lower(),
    "like": lambda one: one.like_quality,
    "likely": lambda one: one.low if one.like_low is None else one.like_low,
    "likely_as_sent": lambda one: one.low,
    "quality": lambda one: one.quality,
    "ratings": lambda one: one.rated,
    "bad": lambda one: one.bad,
    "corrected": lambda one: one.corrected,
    "bad_itself": lambda one: one.bad_beyond_usual,
    "latency": lambda one: None if (one.latency_us or 0) < SHORTEST else one.latency_us,
    "cost": lambda one: one.cost,
    "good_cost": lambda one: one.cost_of_good,
}


def ordered(routes: Iterable[RouteStanding], order: str, descending: bool) -> list[RouteStanding]:
    """Return the routes by one of ``ORDERS``; those without that figure come last, either way."""
    key = ORDERS[order]
    by_name = sorted(routes, key=lambda one: one.route)
    known = sorted((one for one in by_name if key(one) is not None), key=key, reverse=descending)  # type: ignore[arg-type]
    return [*known, *(one for one in by_name if key(one) is None)]


def best_first(one: RouteStanding) -> tuple[int, float, float, str]:
    """Return the place of a route: by the lower end of the interval on like questions.

    A route without such a figure has its place by that of its plain mean, which is all that is known of it: behind all
    others it would look worse than they are. Those that nobody has rated come last.
    """
    if one.like_low is not None and one.like_quality is not None:
        return (0, -one.like_low, -one.like_quality, one.route)
    if one.low is not None and one.quality is not None:
        return (0, -one.low, -one.quality, one.route)
    return (1, 0.0, 0.0, one.route)
