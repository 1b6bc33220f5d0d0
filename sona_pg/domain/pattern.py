"""Pattern: a cluster of trajectories with its statistics."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self, TypeVar, get_args
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.verdict import NO_VERDICTS, Verdict, VerdictCounts
from sona_pg.domain.wording import distinct
from sona_pg.limits import LONGEST_TYPICAL, MOST_LINEAGE, MOST_PATTERN_PARAMETERS

PatternKind = Literal["general", "reasoning", "factual", "creative", "code", "conversational"]
KINDS: tuple[PatternKind, ...] = get_args(PatternKind)

TYPICAL = 5  # typical queries kept per pattern
LOOKED_AT = 50  # texts nearest to a centroid among which different ones are looked for


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """Results of one route within one pattern."""

    size: int
    weight: float
    quality: float
    verdicts: VerdictCounts = NO_VERDICTS

    @property
    def rated(self) -> bool:
        """Whether there is any rating; without one ``quality`` is .5, which means nothing."""
        return self.weight > 0

    def merge(self, other: Self) -> Self:
        """Pool two records: sizes and weights add, qualities are averaged by weight."""
        weight = self.weight + other.weight
        mean = (self.quality * self.weight + other.quality * other.weight) / weight if weight else self.quality
        verdicts = self.verdicts + other.verdicts
        return dataclasses.replace(self, size=self.size + other.size, weight=weight, quality=mean, verdicts=verdicts)


@dataclass(frozen=True, slots=True)
class ParameterRecord:
    """Statistics of one parameter over a pattern's successful trajectories, each weighed by its quality."""

    size: int  # trajectories
    weight: float  # sum of their qualities
    total: float  # of weight times value
    squares: float  # of weight times value squared
    low: float  # the smallest value that ever succeeded
    high: float

    @classmethod
    def of(cls, value: float, quality: float) -> Self:
        """Return the record of one trajectory."""
        return cls(1, quality, quality * value, quality * value**2, value, value)

    @property
    def mean(self) -> float:
        """Mean value of successful trajectories, within the range tried."""
        return min(max(self.total / self.weight, self.low), self.high)

    @property
    def deviation(self) -> float:
        """Standard deviation over successful trajectories."""
        return math.sqrt(max(self.squares / self.weight - (self.total / self.weight) ** 2, 0.0))

    def merge(self, other: Self) -> Self:
        """Pool two records."""
        return type(self)(
            self.size + other.size,
            self.weight + other.weight,
            self.total + other.total,
            self.squares + other.squares,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    def times(self, factor: float) -> Self:
        """Return the record of ``factor`` times as many trajectories."""
        return dataclasses.replace(
            self,
            size=round(self.size * factor),
            weight=self.weight * factor,
            total=self.total * factor,
            squares=self.squares * factor,
        )

    def without(self, other: Self) -> Self | None:
        """Return this record minus ``other``, or None if nothing is left."""
        size, weight = self.size - other.size, self.weight - other.weight
        if size <= 0 or weight <= 1e-9:
            return None
        return dataclasses.replace(
            self, size=size, weight=weight, total=self.total - other.total, squares=self.squares - other.squares
        )


Record = TypeVar("Record", RouteRecord, ParameterRecord)
UNRATED = 0.5  # quality of a pattern, or of a route in it, without ratings: see ``rated``


class PatternUse(NamedTuple):
    """Use of a pattern; not part of what a version holds."""

    created_at: datetime | None  # when the cycle that made it was published; None where that version is forgotten
    access_count: int = 0  # how often it was found, on all servers
    last_accessed: datetime | None = None  # to within a heartbeat


NEVER_USED = PatternUse(None)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedPattern:
    """Cluster of trajectories: centroid, size, and quality statistics.

    The quality of a pattern that nobody rated is .5, as its type has no None: ask ``rated`` first. HTTP, SQL, the
    command line and JavaScript's ``quality`` say null. The same holds for the quality of a route in ``routes``.
    """

    id: UUID
    centroid: NDArray[np.float32] = field(repr=False)  # (dim,) float32, unit length
    size: int
    weight: float  # decayed number of rated trajectories
    quality: float  # weighted mean, in [0, 1]; UNRATED unless ``rated``
    kind: PatternKind = "general"
    routes: Mapping[str, RouteRecord] = field(default_factory=dict)
    typical_queries: tuple[str, ...] = ()  # nearest to the centroid first
    typical_similarities: tuple[float, ...] = ()  # cosine of each with the centroid at the time it was added
    created_version: int = 0
    updated_version: int = 0
    merged_from: tuple[UUID, ...] = ()
    verdicts: VerdictCounts = NO_VERDICTS  # of its trajectories
    parameters: Mapping[str, ParameterRecord] = field(default_factory=dict)  # parameters of successful trajectories
    similarity: float | None = None  # cosine with the query that found it
    # Of a pattern that was found: as its server knew when it was looked at, up to the last heartbeat.
    access_count: int = 0
    last_accessed: datetime | None = None
    created_at: datetime | None = None

    @property
    def rated(self) -> bool:
        """Whether any of its trajectories is rated; otherwise ``quality`` is .5, which means nothing."""
        return self.weight > 0

    @property
    def verdict(self) -> Verdict | None:
        """Prevailing verdict of its trajectories; None while none is judged."""
        return self.verdicts.prevailing

    @property
    def best_route(self) -> tuple[str, RouteRecord] | None:
        """Best route of the pattern, of equal ones the most frequent, then the first by name; None: none is rated."""
        return self.best_of(self.routes)

    def best_of(self, routes: Iterable[str]) -> tuple[str, RouteRecord] | None:
        """Return the best one of ``routes``, such as those that you offer now, by the order of ``best_route``."""
        rated = ((name, self.routes[name]) for name in routes if name in self.routes and self.routes[name].rated)
        return min(rated, key=lambda item: (-item[1].quality, -item[1].size, item[0]), default=None)

    def found(self, similarity: float, use: PatternUse = NEVER_USED) -> Self:
        """Return this pattern as a query finds it."""
        as_used = (use.access_count, use.last_accessed, use.created_at)
        return type(self)(*(*_stored_fields(self), similarity, *as_used))

    def merge(self, other: Self) -> Self:
        """Return this pattern with ``other`` pooled in; the id is ours, the lineage names the other.

        Sizes, weights and verdicts add; centroid and quality are means weighted by size and by weight, so merging is
        associative in size, weight, quality and routes up to rounding.
        """
        total = self.size + other.size
        centroid = (self.size * self.centroid + other.size * other.centroid) / max(total, 1)
        norm = float(np.linalg.norm(centroid))
        weight = self.weight + other.weight
        quality = (self.quality * self.weight + other.quality * other.weight) / weight if weight else self.quality
        routes = dict(self.routes)
        for name, record in other.routes.items():
            routes[name] = routes[name].merge(record) if name in routes else record
        typical = most_typical(
            zip(
                self.typical_queries + other.typical_queries,
                self.typical_similarities + other.typical_similarities,
                strict=True,
            )
        )
        return dataclasses.replace(
            self,
            centroid=(centroid / norm).astype(np.float32) if norm > 0 else self.centroid,
            size=total,
            weight=weight,
            quality=quality,
            routes=routes,
            typical_queries=tuple(query for query, _ in typical),
            typical_similarities=tuple(similarity for _, similarity in typical),
            created_version=min(self.created_version, other.created_version),
            merged_from=(*self.merged_from, other.id, *other.merged_from)[-MOST_LINEAGE:],
            verdicts=self.verdicts + other.verdicts,
            parameters=merged_parameters(self.parameters, other.parameters),
        )

    def decay(self, factor: float) -> Self:
        """Return this pattern with its weight, and its routes' weights, multiplied by ``factor`` in (0, 1]."""
        routes = {
            name: RouteRecord(record.size, record.weight * factor, record.quality, record.verdicts)
            for name, record in self.routes.items()
        }
        return dataclasses.replace(self, weight=self.weight * factor, routes=routes)

    def should_prune(self, min_quality: float, min_weight: float) -> bool:
        """Whether it may be forgotten: low quality, and little weight left."""
        return self.rated and self.quality < min_quality and self.weight < min_weight


_stored_fields: Any = attrgetter(
    *(known.name for known in dataclasses.fields(LearnedPattern)[:-4])
)  # all but similarity and use


def most_typical(queries: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return the ``TYPICAL`` texts most similar to a centroid (text, similarity), each once, best first.

    Near-copies ("where is order 17", "where is order 18") are taken only as far as there are too few different texts
    among the nearest ``LOOKED_AT``.
    """
    best: dict[str, float] = {}
    for query, similarity in queries:
        text = query[:LONGEST_TYPICAL]
        best[text] = max(similarity, best.get(text, -1.0))
    nearest = heapq.nsmallest(LOOKED_AT, best.items(), key=_by_similarity)
    if len(nearest) <= TYPICAL:
        return nearest
    chosen = frozenset(distinct((text for text, _ in nearest), TYPICAL))
    kept = [pair for pair in nearest if pair[0] in chosen]
    copies = [pair for pair in nearest if pair[0] not in chosen]
    return sorted(kept + copies[: TYPICAL - len(kept)], key=_by_similarity)


def _by_similarity(pair: tuple[str, float]) -> tuple[float, str]:
    return -pair[1], pair[0]


def merged_parameters(
    one: Mapping[str, ParameterRecord], other: Mapping[str, ParameterRecord]
) -> dict[str, ParameterRecord]:
    """Pool the records of each parameter."""
    merged = dict(one)
    for name, record in other.items():
        merged[name] = merged[name].merge(record) if name in merged else record
    return heaviest(merged, MOST_PATTERN_PARAMETERS)


def heaviest(records: dict[str, Record], most: int) -> dict[str, Record]:
    """Return the ``most`` heaviest of ``records``, of equal ones the first by name."""
    if len(records) <= most:
        return records
    kept = frozenset(sorted(records, key=lambda name: (-records[name].weight, name))[:most])
    return {name: record for name, record in records.items() if name in kept}
