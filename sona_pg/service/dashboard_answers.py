"""Answers of the dashboard's operations."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class QualityFigures(BaseModel):
    """Mean quality of some trajectories, with its 95 % interval; null: none is rated."""

    trajectories: int
    rated: int
    quality: float | None = None
    low: float | None = None
    high: float | None = None


class QualityPoint(QualityFigures):
    """Quality within one span of time."""

    start: datetime
    end: datetime


class QualityAnswer(BaseModel):
    """Quality over time, oldest first."""

    points: list[QualityPoint]
    sampled: bool  # estimated from the first trajectories of each stretch: there are too many to read them all


class VersionPoint(QualityFigures):
    """Quality of what a version decided, on which days (UTC)."""

    version: int
    origin: str | None = None  # null: it is not kept any more
    made_at: datetime | None = None
    learned: int  # trajectories and feedback that its cycle read
    first_day: date | None = None
    last_day: date | None = None


class EventRow(BaseModel):
    """A rollback, a load, a rebuild or an erasure."""

    at: datetime
    kind: str
    version: int | None = None
    trajectories: int | None = None  # that an erasure removed


class LearningCurveAnswer(BaseModel):
    """Quality by the version that decided, and what happened to the space besides cycles; oldest first."""

    points: list[VersionPoint]
    undecided: QualityFigures  # of requests that tell no version: imported, or recorded without ranking and decision
    missing_days: int  # not summed yet, left out
    events: list[EventRow]


class ChangeRow(BaseModel):
    """A day from which on the mean quality was another, beyond chance; means before and after, the 95 % interval."""

    day: date
    difference: float
    low: float
    high: float
    before_from: date
    before_rated: int
    before_quality: float
    after_until: date
    after_rated: int
    after_quality: float
    chance: float  # of finding so large a difference on any day if nothing had changed
    earliest: date  # on which it may have been, 99 times out of 100
    latest: date
    sentence: str


class RouteChangeRow(BaseModel):
    """A route whose quality is another since a day, beyond chance and unlike all others; means on both sides."""

    route: str
    changed_on: date
    before_from: date
    before_rated: int
    before_quality: float
    after_until: date
    after_rated: int
    after_quality: float
    others_before: float
    others_after: float
    chance: float  # of finding so large a difference on any day of any route if nothing had changed
    former_from: date | None  # before the change before, which was on before_from; null: there was none
    former_rated: int | None
    former_quality: float | None
    sentence: str


class ChangesAnswer(BaseModel):
    """Changes of the mean quality, oldest first; of single routes, those that changed most ratings first."""

    changes: list[ChangeRow]
    earlier: ChangeRow | None = None  # of the period before, where this one has none
    routes: list[RouteChangeRow]
    notes: list[str]  # how large a fall could hide, routes rated lower than before and after, and worse weeks


class PartRow(BaseModel):
    """What a route, topic, label, user or version contributed to a change; null: it was not there on that side."""

    kind: str
    name: str  # of a topic: the id of its pattern
    title: str | None = None
    before_rated: int
    before_quality: float | None = None
    after_rated: int
    after_quality: float | None = None
    before_share: float
    after_share: float
    share_effect: float
    quality_effect: float
    effect: float
    is_clear: bool
    sampled: bool
    own_effect: float  # what it would be, had the topics not changed that clearly did
    first_day: date
    last_day: date


class ChangeReasonsAnswer(ChangeRow):
    """A change with what it came with."""

    reasons: str
    named: list[PartRow]  # of the reasons those that made the change
    parts: list[PartRow]  # the largest effect first
    events: list[EventRow]  # of the day and those beside it


class PeriodAnswer(BaseModel):
    """Sums over a period; quality with its 95 % interval, null: none is rated."""

    trajectories: int
    rated: int
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    costed: int
    cost: float


class ComparedSpaceRow(QualityFigures):
    """Requests and quality of a space in the period."""

    space: str
    missing_days: int  # not summed yet, left out


class ComparedSpacesAnswer(BaseModel):
    """Spaces in the same days (UTC), by name."""

    first_day: date
    last_day: date
    spaces: list[ComparedSpaceRow]
    all: int


class ChangeAnswer(BaseModel):
    """Change of the quality against the period before, with its 95 % interval."""

    difference: float
    low: float
    high: float


class SinceStartAnswer(BaseModel):
    """The first days on record of a space against the last ones, as many."""

    days: int
    first: PeriodAnswer
    last: PeriodAnswer
    change: ChangeAnswer | None = None  # null: one of them has no ratings


class SpendingRow(BaseModel):
    """Spending of one route; null: of trajectories without a route."""

    route: str | None = None
    trajectories: int
    costed: int
    cost: float
    share: float | None = None
    per_thousand: float | None = None
    came_on: date | None = None  # within the period; null: it was taken before, too rarely to tell, or days are missing
    last_on: date | None = None  # when it was last taken, if it is no longer offered


class PriceChangeRow(BaseModel):
    """Since when 1,000 requests of a route cost another amount in the mean."""

    route: str
    changed_on: date
    before: float  # since the change before, if there was one
    since: float


class SpendingDay(BaseModel):
    """Spending of a day, in all and by route."""

    day: date
    costed: int
    cost: float
    routes: dict[str, float]


class TrafficDay(BaseModel):
    """Trajectories of a day."""

    day: date
    trajectories: int
    rated: int


class FiguresAnswer(BaseModel):
    """Quality and spending of a period of whole days (UTC), exact but for days that are not summed yet."""

    first_day: date
    last_day: date
    now: PeriodAnswer
    before: PeriodAnswer | None = None  # as many days before
    change: ChangeAnswer | None = None
    routes: list[SpendingRow]  # the 12 that cost most
    days: list[SpendingDay]  # with spending, oldest first
    traffic: list[TrafficDay]  # days with trajectories, oldest first
    feedback: int | None = None  # facts of all time but for those that took one back; null: not counted yet
    as_of: datetime | None = None  # null: now
    missing_days: int  # not summed yet, left out
    without_chat: PeriodAnswer | None = None  # the period without what was asked in the chat; null: nothing was
    since_start: SinceStartAnswer | None = None  # of all time (3,650 days)
    prices: list[PriceChangeRow]  # that changed in the period, of the routes that cost most; the largest changes first
    cost_unit: str | None = None


class ChangedRouteRow(BaseModel):
    """Since when the quality of a route is another, with its ratings since then."""

    changed_on: date
    rated: int
    quality: float
    is_worse: bool


class RouteRow(BaseModel):
    """How a route went in the period."""

    route: str
    trajectories: int
    rated: int
    quality: float | None = None  # null: none is rated
    low: float | None = None
    high: float | None = None
    latency_us: float | None = None  # median of those that have one
    costed: int
    cost: float | None = None  # mean of those: real ones where they were told, else estimates
    compared: int  # ratings of topics that another route answered as well
    like_quality: float | None = None  # on like questions, within topics; null: too few of these ratings
    like_low: float | None = None
    like_high: float | None = None
    is_offered: bool  # today
    judged: int  # ratings of the latest 100,000 requests of the period, among which the bad ones are counted
    bad: int  # rated bad: 30 % or less, unless the space is set otherwise
    corrected: int  # of the bad ones: another answer was said to be right
    bad_itself: float | None = None  # share rated bad of the others; null: there are none
    bad_itself_low: float | None = None
    bad_itself_high: float | None = None
    bad_beyond_usual: float | None = None  # such ratings that are surely bad, beyond the share usual in the space
    always_good: int  # of `judged`, by users who rated everything good
    others_quality: float | None = None  # mean of `judged` without these
    changed: ChangedRouteRow | None = None  # within the period, beyond chance and unlike all others


class RoutesAnswer(BaseModel):
    """Routes of the period, by default those taken most often, best first (by the lower end on like questions)."""

    routes: list[RouteRow]
    all: int  # routes of the period, or of the search, in the daily figures
    ordered: int  # of these, those taken most often and those rated bad, among which the first of the order are
    left_out: int  # requests of routes without daily figures, which a day has of 10,000 routes
    corrected: int  # rated bad of any route, where another answer was said to be right
    always_good: list[str]  # users (labels user:…) who rated everything good in the period, as in the answer on labels
    cost_unit: str | None = None


class WorkerRow(BaseModel):
    """A worker that is connected to the store."""

    worker: str
    connected_since: datetime


class WaitRow(BaseModel):
    """The longest time of a day (UTC, on which it ended) that facts waited for a run of learning."""

    day: date
    waited_from: datetime
    waited_until: datetime | None = None  # null: they wait still
    seconds: float
    failed_cycles: int  # meanwhile
    cycles: int  # of the day that learned


class StrayedRow(BaseModel):
    """Facts of the last seven days, an hour old or more, on ids that the space has no record of."""

    facts: int  # but for those that expired
    since: datetime | None = None  # when the first of these was given; null without any
    expired: int  # on ids from before what retention keeps: late feedback
    before_erasure: int  # of `facts`, on ids from before an erasure, which may have removed their requests


class FleetAnswer(BaseModel):
    """Whether the space learns, its servers, the workers of the store, and how long facts waited."""

    learning: dict[str, Any]
    servers: list[dict[str, Any]]
    workers: list[WorkerRow]
    waits: list[WaitRow]  # of the last seven days, the latest first; days without a wait are left out
    strayed: StrayedRow | None = None  # null if all feedback finds its request


class CycleRow(BaseModel):
    """A row of `sona.cycle_log`."""

    model_config = ConfigDict(extra="allow")

    loop: str
    version: int
    started_at: datetime
    trajectories: int
    feedback: int
    error: str | None = None


class CyclesAnswer(BaseModel):
    """Cycles, newest first."""

    cycles: list[CycleRow]
