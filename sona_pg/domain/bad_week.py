"""Weeks of a period in which quality was lower than before and after: two changes that a longer period hides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.level_change import LevelChange, RouteChange, dated, ratings, share
from sona_pg.domain.period_figures import DaySums

WEEK = 7  # days
CHANCE = 0.05  # that a page tells any week, of all routes, though none was worse
FEWEST = 10  # ratings of the week, of the days before it, and of those after it where these are compared
CLEAR = 1.96  # standard errors by which a week is lower than either side alone
BESIDE = timedelta(days=WEEK)  # between which a week and a change that is told may be one
NAMED = 3

Sums = NDArray[np.float64]  # (days,)


class Rated(NamedTuple):
    """Ratings of some days."""

    rated: int
    quality: float  # mean; 0 without ratings


class BadWeek(NamedTuple):
    """The week of the whole space or of a route that was lower than the days around it by most."""

    route: str | None  # None: the whole space
    first: date
    strength: float  # standard errors, if days differ no more than chance explains
    within: Rated
    around: Rated
    since: Rated  # all ratings after it
    recovered: bool

    @property
    def last(self) -> date:
        """Its last day."""
        return self.first + timedelta(days=WEEK - 1)

    def told(self, around: int) -> str:
        """Return it in words; ``around``: days before and after it that it was compared with."""
        of = "of the whole space" if self.route is None else f"of “{self.route}”"
        now = ""
        if self.recovered:
            now = f" It has recovered: {share(self.since.quality)} of {ratings(self.since.rated)} since."
        elif self.since.rated:
            now = f" Since then: {share(self.since.quality)} of {ratings(self.since.rated)}."
        return (
            f"From {dated(self.first)} to {dated(self.last)} answers {of} were rated lower than in the {around} days "
            f"before and after: {share(self.within.quality)} of {ratings(self.within.rated)}, else "
            f"{share(self.around.quality)} of {self.around.rated:,}.{now} Every week of the period was looked at, of "
            "every route: by chance alone one page of 20 at most tells such a week."
        )


class BadWeeks(NamedTuple):
    """The worst week of each route and of the whole space, with how sure one of them must be."""

    weeks: Sequence[BadWeek]  # the clearest first
    sure: float  # standard errors, by all weeks of all routes


def bad_weeks(days: Iterable[DaySums], first: date, last: date, around: int) -> BadWeeks:
    """Return the worst week from ``first`` to ``last`` of each series of ``days``, beside ``around`` days.

    A week is one of 7 days in a row that is lower than the days before it, and than those after it once 10 of these
    are rated: so a slow climb has none. Its strength is the signed root of the likelihood ratio against one mean for
    the week and the days around it (Wilks 1938), which holds also where nearly all is good.
    """
    by_route: dict[str | None, list[DaySums]] = {}
    for one in days:
        if one.rated and one.route != "":
            by_route.setdefault(one.route, []).append(one)
    worst, looks = [], 0
    for route, known in by_route.items():
        week, count = _worst(route, known, first, last, around)
        looks += count
        worst += [week] if week else []
    sure = NormalDist().inv_cdf(1 - CHANCE / max(looks, 1))
    return BadWeeks(sorted((one for one in worst if one.strength > sure), key=lambda one: -one.strength), sure)


def _worst(
    route: str | None, days: Sequence[DaySums], first: date, last: date, around: int
) -> tuple[BadWeek | None, int]:
    """Return the worst week of one series, and how many weeks were looked at."""
    start = min(one.day for one in days)
    span = (max(one.day for one in days) - start).days + 1
    rated, good = np.zeros(span), np.zeros(span)
    for one in days:
        rated[(one.day - start).days] += one.rated
        good[(one.day - start).days] += one.quality
    counts, sums = (np.concatenate(([0.0], np.cumsum(values))) for values in (rated, good))
    begins = np.arange(max((first - start).days, 0), min((last - start).days + 1, span) - WEEK + 1)
    if not len(begins):
        return None, 0
    ends = begins + WEEK
    bounds = (np.maximum(begins - around, 0), begins), (begins, ends), (ends, np.minimum(ends + around, span))
    before, within, after = ((counts[to] - counts[from_], sums[to] - sums[from_]) for from_, to in bounds)
    outside = (before[0] + after[0], before[1] + after[1])
    is_known = (within[0] >= FEWEST) & (before[0] >= FEWEST)
    is_dip = _is_lower(within, before) & ((after[0] < FEWEST) | _is_lower(within, after))
    strengths = np.where(is_known & is_dip, _strength(within, outside), 0.0)
    place = int(strengths.argmax())
    end = int(ends[place])
    since = Rated(int(counts[-1] - counts[end]), _mean(sums[-1] - sums[end], counts[-1] - counts[end]))
    in_week, beside = (Rated(int(n[place]), _mean(q[place], n[place])) for n, q in (within, outside))
    then, now = ((np.array([float(one.rated)]), np.array([one.rated * one.quality])) for one in (in_week, since))
    recovered = since.rated >= FEWEST and bool(_is_lower(then, now)[0]) and not bool(
        _is_lower(now, (before[0][[place]], before[1][[place]]))[0]
    )  # fmt: skip
    day = start + timedelta(days=int(begins[place]))
    week = BadWeek(route, day, float(strengths[place]), in_week, beside, since, recovered)
    return (week if week.strength else None), int(is_known.sum())


def _mean(total: Any, count: Any) -> float:
    return float(total / count) if count else 0.0


def _is_lower(one: tuple[Sums, Sums], other: tuple[Sums, Sums]) -> NDArray[np.bool_]:
    """Whether one mean is below another by more than chance explains of these two alone."""
    (rated, good), (others, others_good) = one, other
    size, rest = np.maximum(rated, 1), np.maximum(others, 1)
    mean = (good + others_good) / (size + rest)
    error = np.sqrt(np.maximum(mean * (1 - mean), 0.01) * (1 / size + 1 / rest))
    lower: NDArray[np.bool_] = others_good / rest - good / size > CLEAR * error
    return lower


def _strength(one: tuple[Sums, Sums], other: tuple[Sums, Sums]) -> Sums:
    """Return by how many standard errors two means differ, by the likelihood of one mean for both."""
    (rated, good), (others, others_good) = one, other
    size, rest = np.maximum(rated, 1), np.maximum(others, 1)
    mean = np.clip((good + others_good) / (size + rest), 1e-9, 1 - 1e-9)
    apart = sum(
        n * (p * np.log(p / mean) + (1 - p) * np.log((1 - p) / (1 - mean)))
        for n, p in ((n, np.clip(q / n, 1e-9, 1 - 1e-9)) for n, q in ((size, good), (rest, others_good)))
    )
    strength: Sums = np.sqrt(np.maximum(2 * apart, 0.0))
    return strength


def not_told(
    weeks: Iterable[BadWeek], changes: Sequence[LevelChange], routes: Sequence[RouteChange], but: Iterable[str | None]
) -> list[BadWeek]:
    """Return the ``weeks`` that neither a told change says already, nor a sentence on one ``but`` these."""
    of_routes = {one.route: one for one in routes}
    left_out = set(but)
    return [
        one for one in weeks
        if one.route not in left_out
        and not any(_began_with(one, change) for change in changes)
        and not _says(of_routes.get(one.route or ""), one)
    ]  # fmt: skip


def _began_with(week: BadWeek, change: LevelChange) -> bool:
    return change.difference < 0 and abs(change.day - week.first) <= BESIDE


def _says(change: RouteChange | None, week: BadWeek) -> bool:
    """Whether the change of its route is that fall, lasting or mended."""
    if change is None:
        return False
    if change.is_worse:
        return week.last >= change.changed_on - BESIDE
    was_lower = change.former_quality is not None and change.former_quality > change.before_quality
    return was_lower and change.before_from - BESIDE <= week.last and week.first <= change.changed_on + BESIDE


def by_cause(weeks: Sequence[BadWeek], days: Iterable[DaySums]) -> list[BadWeek]:
    """Return the ``weeks`` without those that say the same: that of the mean, or those of routes that fell with it.

    The mean fell by a route where what is left without that route was no lower in these days.
    """
    whole = next((one for one in weeks if one.route is None), None)
    if whole is None:
        return list(weeks)
    known = list(days)
    of_all = {one.day: one for one in known if one.route is None}
    beside = [one for one in weeks if one.route is not None and abs(one.first - whole.first) <= BESIDE]
    fell_too = []
    for week in beside:
        own = {one.day: one for one in known if one.route == week.route}
        sides: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}
        for day, one in of_all.items():
            gone = own.get(day)
            sum_ = sides[week.first <= day <= week.last]
            sum_[0] += one.rated - (gone.rated if gone else 0)
            sum_[1] += one.quality - (gone.quality if gone else 0.0)
        within, outside = ((np.array([n]), np.array([q])) for n, q in (sides[True], sides[False]))
        if bool(_is_lower(within, outside)[0]):
            fell_too.append(week)
    made_it = [one for one in beside if one not in fell_too]
    return [one for one in weeks if one not in fell_too and not (one is whole and made_it)]


def passing(found: BadWeeks, excesses: Mapping[str | None, float]) -> list[BadWeek]:
    """Return the weeks that are sure also where the days of their series differ by an excess beyond chance."""
    return [one for one in found.weeks if one.strength / math.sqrt(excesses[one.route]) > found.sure]
