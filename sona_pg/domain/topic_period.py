"""Quality of topics in a period of days, and its change against the period before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from sona_pg.domain.overview_figures import MeanQuality, SpanSums
from sona_pg.domain.period_figures import difference_interval


class TopicSums(NamedTuple):
    """Sums over the rated trajectories nearest to a pattern, in a period or in the one before."""

    pattern: UUID
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


@dataclass(frozen=True, slots=True)
class TopicInPeriod:
    """How a topic went in a period."""

    pattern: UUID
    now: MeanQuality
    bad: int
    before: MeanQuality
    change: TopicChange | None  # None: a period has no ratings


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
    topics = [_topic(pattern, known) for pattern, known in by_pattern.items()]
    topics.sort(key=lambda one: (-one.bad, -one.now.rated, one.pattern))
    return TopicsInPeriod(first, last, topics, any(one.sampled for one in sums))


def _topic(pattern: UUID, sums: Sequence[TopicSums]) -> TopicInPeriod:
    now, before = (
        MeanQuality.of(SpanSums(one.rated, one.rated, one.quality) for one in sums if one.is_now is side)
        for side in (True, False)
    )
    change = None
    if now.quality is not None and before.quality is not None:
        span = difference_interval((now.quality, now.rated), (before.quality, before.rated))
        change = TopicChange(now.quality - before.quality, *span)
    return TopicInPeriod(pattern, now, sum(one.bad for one in sums if one.is_now), before, change)
