"""Quality of topics in a period of days, and its change against the period before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from sona_pg.domain.exact_test import chance_of
from sona_pg.domain.overview_figures import MeanQuality, SpanSums
from sona_pg.domain.period_figures import difference_interval

CHANCE = 0.05  # that any topic of a period is told to have changed though none has
ROUTES = 12  # of a topic


class TopicSums(NamedTuple):
    """Sums over the rated trajectories of a route nearest to a pattern, in a period or in the one before."""

    pattern: UUID
    route: str | None
    is_now: bool
    rated: int
    quality: float
    bad: int  # rated as failures
    sampled: bool


class TopicChange(NamedTuple):
    """Difference of a topic's mean quality from that of the period before, with its 95 % interval."""

    difference: float
    low: float
    high: float
    is_clear: bool  # beyond chance, with all topics of the period compared


class RouteInPeriod(NamedTuple):
    """How a route went in a topic."""

    route: str
    now: MeanQuality
    before: MeanQuality


@dataclass(frozen=True, slots=True)
class TopicInPeriod:
    """How a topic went in a period."""

    pattern: UUID
    now: MeanQuality
    bad: int
    before: MeanQuality
    change: TopicChange | None  # None: a period has no ratings
    routes: Sequence[RouteInPeriod]  # those with most ratings, the most first


@dataclass(frozen=True, slots=True)
class TopicsInPeriod:
    """How the topics went in a period, the most bad ratings first."""

    first_day: date
    last_day: date
    topics: Sequence[TopicInPeriod]
    sampled: bool  # there are too many ratings to look at them all


def topics_in_period(first: date, last: date, sums: Sequence[TopicSums]) -> TopicsInPeriod:
    """Return the topics of a period from the sums of both periods."""
    by_pattern: dict[UUID, list[TopicSums]] = {}
    for one in sums:
        by_pattern.setdefault(one.pattern, []).append(one)
    means = {pattern: (_mean(known, True), _mean(known, False)) for pattern, known in by_pattern.items()}
    pairs = sum(now.quality is not None and before.quality is not None for now, before in means.values())
    chance = CHANCE / max(pairs, 1)
    topics = [
        TopicInPeriod(pattern, now, sum(one.bad for one in by_pattern[pattern] if one.is_now), before,
                      _change(by_pattern[pattern], now, before, chance), _routes(by_pattern[pattern]))
        for pattern, (now, before) in means.items()
    ]  # fmt: skip
    topics.sort(key=lambda one: (-one.bad, -one.now.rated, one.pattern))
    return TopicsInPeriod(first, last, topics, any(one.sampled for one in sums))


def _routes(sums: Sequence[TopicSums]) -> list[RouteInPeriod]:
    by_route: dict[str, list[TopicSums]] = {}
    for one in sums:
        if one.route is not None:
            by_route.setdefault(one.route, []).append(one)
    found = [RouteInPeriod(route, _mean(known, True), _mean(known, False)) for route, known in by_route.items()]
    return sorted(found, key=lambda one: (-one.now.rated - one.before.rated, one.route))[:ROUTES]


def _mean(sums: Sequence[TopicSums], is_now: bool) -> MeanQuality:
    return MeanQuality.of(SpanSums(one.rated, one.rated, one.quality) for one in sums if one.is_now is is_now)


def _change(sums: Sequence[TopicSums], now: MeanQuality, before: MeanQuality, chance: float) -> TopicChange | None:
    """Return the change; clear where it is rarer than ``chance`` if nothing changed, and its interval excludes 0."""
    if now.quality is None or before.quality is None:
        return None
    low, high = difference_interval((now.quality, now.rated), (before.quality, before.rated))
    good = [math.fsum(one.quality for one in sums if one.is_now is is_now) for is_now in (True, False)]
    is_rare = chance_of([(now.rated, good[0], before.rated, good[1])]) < chance
    return TopicChange(now.quality - before.quality, low, high, is_rare and (low > 0 or high < 0))
