"""Overview of a space for people: quality over time and by version, the map of patterns, routes, earlier answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, NamedTuple, Self, TypeVar
from uuid import UUID

Point = TypeVar("Point")
SURE = 1.96  # standard errors of a 95 % interval


class SpanSums(NamedTuple):
    """Sums over the trajectories of one span of time."""

    trajectories: int
    rated: int
    quality: float  # sum over the rated ones


class MeanQuality(NamedTuple):
    """Mean quality of some trajectories, with its 95 % interval."""

    trajectories: int
    rated: int
    quality: float | None  # None: none is rated
    low: float | None
    high: float | None

    @classmethod
    def of(cls, spans: Iterable[SpanSums]) -> Self:
        """Return the mean over those that are rated in some spans."""
        known = list(spans)
        trajectories, rated = sum(one.trajectories for one in known), sum(one.rated for one in known)
        if not rated:
            return cls(trajectories, 0, None, None, None)
        mean = min(max(math.fsum(one.quality for one in known) / rated, 0.0), 1.0)
        return cls(trajectories, rated, mean, *interval(mean, rated))


def interval(mean: float, size: int, sure: float = SURE) -> tuple[float, float]:
    """Return the interval of a mean quality of ``size`` ratings, 1 or more (Wilson 1927).

    Of ``sure`` standard deviations to each side: by default 95 %.

    Exact as thumbs are, and wider than needed for grades between: no quality in [0, 1] varies more than a thumb.
    """
    doubt = sure**2 / size
    centre = (mean + doubt / 2) / (1 + doubt)
    apart = sure / (1 + doubt) * math.sqrt(max(mean * (1 - mean), 0.0) / size + doubt / (4 * size))
    return max(centre - apart, 0.0), min(centre + apart, 1.0)


@dataclass(frozen=True, slots=True)
class QualitySpan:
    """Quality within one span of time."""

    start: datetime
    end: datetime
    mean: MeanQuality


@dataclass(frozen=True, slots=True)
class VersionQuality:
    """Quality of the trajectories that a version decided."""

    version: int
    origin: str | None  # None: it is not kept any more
    made_at: datetime | None
    learned: int  # trajectories and feedback that its cycle read; 0: not recorded any more
    first_day: date | None  # of what it decided
    last_day: date | None
    mean: MeanQuality


@dataclass(frozen=True, slots=True)
class VersionCurve:
    """Quality of what the latest versions decided, oldest first, and of what tells no version."""

    points: Sequence[VersionQuality]
    undecided: MeanQuality  # imported, or recorded with neither a ranking nor a decision
    missing_days: int  # not summed yet, left out


@dataclass(frozen=True, slots=True)
class QualityCurve(Generic[Point]):
    """Points of a curve of quality, oldest first."""

    points: Sequence[Point]
    sampled: bool  # they hold too many trajectories to read them all


@dataclass(frozen=True, slots=True)
class PlacedPattern:
    """Pattern with its place on the map."""

    id: UUID
    x: float
    y: float
    size: int
    quality: float | None
    kind: str
    verdict: str | None
    typical_queries: Sequence[str]
    name: str | None  # that people gave it
    title: str | None  # its most typical query, with numbers, dates and names masked; None: recorded without texts
    wordings: Sequence[str]  # its typical queries, masked, without near-copies
    best_route: str | None  # of the best quality, of those that are offered, with enough ratings
    former_best: str | None  # did better, and is no longer offered
    succeeded: str | None  # would be the best by all of its ratings, and got worse
    routes: Mapping[str, Mapping[str, Any]]
    rated: int  # ratings, of which older ones count less
    low: float | None
    high: float | None
    alike: Sequence[str]  # routes that are not shown to be worse than the best
    cheapest: str | None  # of the best and of these; None: costs are not known
    per_thousand: float | None  # cost of 1,000 of its trajectories, by the mean costs of their routes
    judged: int  # trajectories with a verdict
    bad: int  # of these, failures
    members: Sequence[UUID]  # patterns put together in it, the largest, whose id it has, first


@dataclass(frozen=True, slots=True)
class PatternMap:
    """Patterns of a version, projected to two dimensions."""

    version: int
    basis: int  # the version whose centroids span the plane
    explained: tuple[float, float]  # share of the centroids' variance along each axis
    patterns: Sequence[PlacedPattern]
    left_out: int  # smaller patterns that are not placed
    not_offered: Sequence[str] = ()  # of the routes, today
    topics: int | None = None  # at most so many, in which patterns are put together; None: each pattern is one
    levels: Sequence[int] = ()  # numbers of topics to choose from
    all_patterns: int = 0


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """Node of the memory graph, with its place on the map."""

    id: str  # kind and source
    x: float
    y: float
    kind: str
    label: str | None  # typical query of a pattern, text or id of a candidate
    importance: float
    accesses: int
    strength: float  # sum of the weights of its edges


@dataclass(frozen=True, slots=True)
class PlacedEdge:
    """Edge of the memory graph."""

    source: str
    target: str
    kind: str
    weight: float


@dataclass(frozen=True, slots=True)
class LastDreams:
    """When a space dreamt last, and how many of these dreams passed."""

    ran_at: datetime
    count: int
    good: int  # of sufficient quality
    joined: int  # of sufficient integration as well: their connections joined the graph


@dataclass(frozen=True, slots=True)
class PlacedGraph:
    """The best-connected nodes of a memory graph, and the edges between them."""

    nodes: Sequence[PlacedNode]
    edges: Sequence[PlacedEdge]
    all_nodes: int
    all_edges: int
    dream_edges: int
    matches: Sequence[str]  # nodes that a search has found, the strongest first


@dataclass(frozen=True, slots=True)
class WantedFacts:
    """Which facts of feedback are looked for: when they were recorded, if they call one bad, by whom, about what."""

    since: datetime | None = None
    until: datetime | None = None  # without it
    bad: bool = False
    source: str | None = None
    asked_since: datetime | None = None  # of their trajectories
    asked_until: datetime | None = None  # without it
    standing: bool = False  # ratings and corrections alone that count now


@dataclass(frozen=True, slots=True)
class ToldFact:
    """A fact of feedback with the trajectory that it is about."""

    trajectory: UUID
    recorded_at: datetime
    source: str
    quality: float | None
    correction: str | None
    paid: float | None
    query: str | None
    route: str | None
    in_chat: bool  # whoever asked tried the space out on the page of the chat
    stands: bool  # False: its source has said something else since, or has taken it back


class CandidateMatch(NamedTuple):
    """A candidate that was looked for."""

    id: str
    text: str | None  # None: its content has none
    is_retired: bool


class CandidateMatches(NamedTuple):
    """The first candidates that fit, and how many do."""

    candidates: Sequence[CandidateMatch]
    all: int


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate or a route with its score."""

    id: str
    score: float
    added: int | None = None  # of a candidate: the first kept version that was made with it; None: none was yet


@dataclass(frozen=True, slots=True)
class NearPattern:
    """A pattern near a query."""

    id: UUID
    similarity: float
    size: int
    quality: float | None
    rated: int  # ratings, of which older ones count less
    typical_query: str | None
    title: str | None  # that query, with numbers, dates and names masked
    best_route: str | None
    name: str | None = None  # that people gave it
    best_quality: float | None = None
    best_rated: int | None = None  # ratings of the best route, of which older ones count less
    best_since: date | None = None  # it got worse that day: these are its ratings since
    succeeded: str | None = None  # would be the best by all of its ratings, and got worse


@dataclass(frozen=True, slots=True)
class AnswerThen:
    """What a version answers to a query."""

    version: int
    ranking: Sequence[Scored]  # of the stored candidates, best first; empty without any
    routes: Sequence[Scored]  # expected quality of each route, best first; empty before any was learned
    patterns: Sequence[NearPattern]
    turned: float  # degrees by which the micro adapter turns the query


@dataclass(frozen=True, slots=True)
class LearnedFact:
    """A judged trajectory near a query, with the version that has learned it."""

    trajectory: UUID
    similarity: float
    started_at: datetime
    query: str | None
    route: str | None
    quality: float | None
    correction: str | None
    version: int | None  # of the cycle that read it first; None: unlearned
    feedback_version: int | None  # of the cycle that read its latest feedback
    decided_by: int | None = None  # version whose router chose its route; None: no router did
    sources: Sequence[str] = ()  # whose word about it stands
