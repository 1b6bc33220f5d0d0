"""Answers of the dashboard's maps: patterns and memory graph on a plane."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel

from sona_pg.service.dashboard_answers import ChangeAnswer


class PatternRoute(BaseModel):
    """A route within a pattern, with the 95 % interval of its quality."""

    size: int
    rated: int
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    cost: float | None = None  # mean cost of a trajectory of the route in the whole space
    since: date | None = None  # it got worse that day: the ratings are those since


class PatternPlace(BaseModel):
    """A pattern with its place on the map."""

    id: UUID
    x: float
    y: float
    size: int
    quality: float | None = None
    kind: str
    verdict: str | None = None
    typical_queries: list[str]
    name: str | None = None  # that people gave it
    title: str | None = None  # the most typical query, with numbers, dates and names masked
    wordings: list[str]  # the typical queries, masked, without near-copies
    best_route: str | None = None  # of the best quality, of those that are offered and have at least 10 ratings
    former_best: str | None = None  # did better, and is no longer offered
    succeeded: str | None = None  # would be the best by all of its ratings, and got worse
    routes: dict[str, PatternRoute]
    rated: int  # ratings; older ones count less
    low: float | None = None
    high: float | None = None
    alike: list[str]  # routes that are not shown to be worse than the best
    cheapest: str | None = None  # of the best and of these; null: costs are not known
    per_thousand: float | None = None  # cost of 1,000 of its trajectories, by the mean costs of their routes
    judged: int  # trajectories with a verdict
    bad: int  # of these, failures
    members: list[UUID]  # patterns put together in it, the largest first, whose id it has


class PatternMapAnswer(BaseModel):
    """Patterns of a version on the plane of the served version's patterns."""

    version: int
    basis: int
    explained: tuple[float, float]  # share of the variance along each axis
    patterns: list[PatternPlace]
    left_out: int
    not_offered: list[str]  # routes that are no longer offered today
    topics: int | None = None  # at most so many, in which patterns are put together; null: each pattern is one
    levels: list[int]  # numbers of topics to choose from
    all_patterns: int
    cost_unit: str | None = None


class NodePlace(BaseModel):
    """A node of the memory graph with its place on the map."""

    id: str
    x: float
    y: float
    kind: str
    label: str | None = None  # typical query of a pattern, text or id of a candidate
    importance: float
    accesses: int
    strength: float  # sum of the weights of its edges


class EdgePlace(BaseModel):
    """An edge of the memory graph."""

    source: str
    target: str
    kind: str
    weight: float


class LastDreamsAnswer(BaseModel):
    """When the space dreamt last, and how many of these dreams passed."""

    ran_at: datetime
    count: int
    good: int  # of sufficient quality
    joined: int  # of sufficient integration as well: their connections joined the graph


class MemoryAnswer(BaseModel):
    """The best-connected nodes of the memory graph, and the edges between them."""

    nodes: list[NodePlace]
    edges: list[EdgePlace]
    all_nodes: int
    all_edges: int
    dream_edges: int
    matches: list[str]  # nodes that a search has found
    dreams: LastDreamsAnswer | None = None  # none: it has never dreamt


class TopicChangeAnswer(ChangeAnswer):
    """Change of a topic against the period before, with its own 95 % interval."""

    is_clear: bool  # beyond chance, with all topics of the period compared


class PeriodMeans(BaseModel):
    """Mean of the ratings of a period with its 95 % interval, and of the period before."""

    rated: int
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    before_rated: int
    before_quality: float | None = None


class TopicRoutePeriod(PeriodMeans):
    """How a route went in a topic."""

    route: str


class TopicPeriodRow(PeriodMeans):
    """How a topic went in a period, and its change."""

    pattern: UUID
    bad: int
    change: TopicChangeAnswer | None = None
    routes: list[TopicRoutePeriod]  # those with most ratings, the most first


class TopicRouteChangeRow(BaseModel):
    """A route whose quality changed in one topic beyond chance, and not likewise elsewhere."""

    route: str
    patterns: list[UUID]  # of the topic, in which it is rated
    sentence: str
    rated: int
    quality: float
    before_rated: int
    before_quality: float
    elsewhere_rated: int
    elsewhere_quality: float
    elsewhere_before_rated: int
    elsewhere_before_quality: float


class TopicPeriodsAnswer(BaseModel):
    """Topics with ratings in a period of whole days (UTC) or in the one before, the most bad ratings first."""

    first_day: date
    last_day: date
    topics: list[TopicPeriodRow]
    sampled: bool  # there are too many ratings to look at them all
    route_changes: list[TopicRouteChangeRow]  # the clearest, at most five
    more_route_changes: int  # as clear, and not among them


class LabelRow(BaseModel):
    """Quality of the requests with a label in a period, with its 95 % interval."""

    label: str
    rated: int
    quality: float
    low: float
    high: float
    downs: float  # of its ratings, as thumbs down; a grade of 40 % counts .6
    share_of_rated: float
    share_of_downs: float | None = None
    quality_without: float | None = None  # of the space without these requests


class QualityWithoutAnswer(BaseModel):
    """Quality of the space without the ratings of some users."""

    theirs: int  # ratings of these users
    rated: int  # the others
    quality: float | None = None  # of the others; null: there are none


class LabelsAnswer(BaseModel):
    """The 100 labels with most ratings in a period of whole days (UTC), and users who rated much down or all good."""

    first_day: date
    last_day: date
    labels: list[LabelRow]
    heavy_users: list[LabelRow]  # who gave more than a tenth of what was rated down, and five or more
    always_good: list[
        LabelRow
    ]  # who gave ten ratings or more, all good, where by those of others chance hardly does so
    without_always_good: QualityWithoutAnswer | None = None  # null: there are no such users


class TopicCostRow(BaseModel):
    """Costs of the questions of a live pattern."""

    pattern: UUID
    costed: int  # questions with a cost
    cost: float  # their sum


class TopicCostsAnswer(BaseModel):
    """Costs of each live pattern's questions, the most costly first; those without any are left out."""

    topics: list[TopicCostRow]
    latest: int | None = None  # of how many trajectories, the latest; null: of all
    cost_unit: str | None = None
