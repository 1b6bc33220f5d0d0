"""Aggregate statistics of trajectories; add them to or subtract them from a pattern."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import (
    UNRATED,
    LearnedPattern,
    ParameterRecord,
    RouteRecord,
    heaviest,
    merged_parameters,
    most_typical,
)
from sona_pg.domain.verdict import VERDICTS, Verdict, VerdictCounts
from sona_pg.limits import LONGEST_TYPICAL, MOST_PATTERN_ROUTES


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Trajectories to be clustered, by column. Quality NaN means not rated."""

    embeddings: NDArray[np.float32]  # (n, dim) float32, unit rows
    quality: NDArray[np.float64]  # (n,)
    routes: Sequence[str | None]
    queries: Sequence[str | None]
    verdicts: Sequence[Verdict | None]
    parameters: Sequence[Mapping[str, float] | None]

    def __len__(self) -> int:
        return len(self.embeddings)

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Return no trajectories."""
        return cls(np.zeros((0, dim), np.float32), np.zeros(0), [], [], [], [])

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the trajectories at ``rows``."""
        return type(self)(
            np.ascontiguousarray(self.embeddings[rows]),
            self.quality[rows],
            [self.routes[row] for row in rows.tolist()],
            [self.queries[row] for row in rows.tolist()],
            [self.verdicts[row] for row in rows.tolist()],
            [self.parameters[row] for row in rows.tolist()],
        )


@dataclass(slots=True)
class Sums:
    """Counts of trajectories: all, the rated with the sum of their qualities, and the judged by verdict."""

    size: float = 0.0
    weight: float = 0.0
    total: float = 0.0
    verdicts: list[float] = field(default_factory=lambda: [0.0] * len(VERDICTS))

    def count(self, quality: float, verdict: Verdict | None, each: float) -> None:
        """Count trajectories that stand for ``each``."""
        self.size += each
        if quality == quality:  # not NaN
            self.weight += each
            self.total += each * quality
        if verdict is not None:
            self.verdicts[VERDICTS.index(verdict)] += each


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over some trajectories, over those of each route, and over the parameters of the successful ones."""

    all: Sums = field(default_factory=Sums)
    routes: dict[str, Sums] = field(default_factory=dict)
    parameters: dict[str, ParameterRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, seen: Observations, rows: Iterable[int], each: float = 1.0) -> Self:
        """Count the trajectories at ``rows``, each of which stands for ``each``."""
        tally = cls()
        for row in rows:
            quality, route, verdict = float(seen.quality[row]), seen.routes[row], seen.verdicts[row]
            tally.all.count(quality, verdict, each)
            if route is not None:
                tally.routes.setdefault(route, Sums()).count(quality, verdict, each)
            for name, record in worked(seen.parameters[row], quality, verdict).items():
                known = tally.parameters.get(name)
                tally.parameters[name] = record if known is None else known.merge(record)
        for name, record in tally.parameters.items() if each != 1.0 else ():
            tally.parameters[name] = record.times(each)
        return tally


def worked(
    parameters: Mapping[str, float] | None, quality: float, verdict: Verdict | None
) -> dict[str, ParameterRecord]:
    """Return the parameters of a trajectory if it succeeded, else none."""
    if not parameters or verdict not in ("success", "recovered"):
        return {}
    return {name: ParameterRecord.of(value, quality) for name, value in parameters.items()}


def add(pattern: LearnedPattern, tally: Tally) -> LearnedPattern:
    """Return ``pattern`` with the tally counted in."""
    size, weight, quality, verdicts = _added(pattern, tally.all)
    routes = dict(pattern.routes)
    for name, sums in tally.routes.items():
        routes[name] = RouteRecord(*_added(routes.get(name, RouteRecord(0, 0.0, UNRATED)), sums))
    return dataclasses.replace(
        pattern,
        size=size,
        weight=weight,
        quality=quality,
        routes=heaviest(routes, MOST_PATTERN_ROUTES),
        verdicts=verdicts,
        parameters=merged_parameters(pattern.parameters, tally.parameters),
    )


def remove(pattern: LearnedPattern, tally: Tally) -> LearnedPattern:
    """Return ``pattern`` minus the tally, as far as it is there; routes without a rest are removed."""
    size, weight, quality, verdicts = _added(pattern, tally.all, -1.0)
    routes = dict(pattern.routes)
    for name, sums in tally.routes.items():
        if name in routes:
            record = RouteRecord(*_added(routes.pop(name), sums, -1.0))
            if record.size > 0:
                routes[name] = record
    return dataclasses.replace(
        pattern,
        size=size,
        weight=weight,
        quality=quality,
        routes=routes,
        verdicts=verdicts,
        parameters=without_parameters(pattern.parameters, tally.parameters),
    )


def without_parameters(
    kept: Mapping[str, ParameterRecord], gone: Mapping[str, ParameterRecord]
) -> dict[str, ParameterRecord]:
    """Return the records of ``kept`` minus those of ``gone``, as far as they are there."""
    left = dict(kept)
    for name, record in gone.items():
        if name in left and (rest := left.pop(name).without(record)) is not None:
            left[name] = rest
    return left


def typical(
    pattern: LearnedPattern, queries: Iterable[tuple[str | None, float]], gone: frozenset[str] = frozenset()
) -> LearnedPattern:
    """Return ``pattern`` with the best of its typical queries and of ``queries`` (text, similarity)."""
    known = zip(pattern.typical_queries, pattern.typical_similarities, strict=True)
    absent = {query[:LONGEST_TYPICAL] for query in gone}
    told = [
        (query[:LONGEST_TYPICAL], similarity)
        for query, similarity in (*known, *queries)
        if query and query[:LONGEST_TYPICAL] not in absent
    ]
    best = most_typical(told)
    return dataclasses.replace(
        pattern,
        typical_queries=tuple(query for query, _ in best),
        typical_similarities=tuple(similarity for _, similarity in best),
    )


def _added(
    known: LearnedPattern | RouteRecord, sums: Sums, sign: float = 1.0
) -> tuple[int, float, float, VerdictCounts]:
    weight = max(known.weight + sign * sums.weight, 0.0)
    mean = (known.quality * known.weight + sign * sums.total) / weight if weight > 1e-9 else UNRATED
    verdicts = [
        max(round(have + sign * more), 0) for have, more in zip(known.verdicts.counts, sums.verdicts, strict=True)
    ]
    return max(round(known.size + sign * sums.size), 0), weight, min(max(mean, 0.0), 1.0), VerdictCounts(*verdicts)
