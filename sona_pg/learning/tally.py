"""What some trajectories say together, and adding it to a pattern or taking it out again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import LearnedPattern, RouteRecord

TYPICAL = 5  # typical queries kept per pattern


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Trajectories to be clustered, by column. Quality NaN means that nobody has said."""

    embeddings: NDArray[np.float32]  # (n, dim) float32, unit rows
    quality: NDArray[np.float64]  # (n,)
    routes: Sequence[str | None]
    queries: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.embeddings)

    @classmethod
    def none(cls, dim: int) -> Self:
        """Return no trajectories."""
        return cls(np.zeros((0, dim), np.float32), np.zeros(0), [], [])

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the trajectories at ``rows``."""
        return type(self)(
            np.ascontiguousarray(self.embeddings[rows]),
            self.quality[rows],
            [self.routes[row] for row in rows.tolist()],
            [self.queries[row] for row in rows.tolist()],
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """Counts of trajectories: all, and the rated with the sum of their qualities."""

    size: float = 0.0
    weight: float = 0.0
    total: float = 0.0

    def plus(self, size: float, weight: float, total: float) -> Self:
        """Return the sums with more counted in."""
        return type(self)(self.size + size, self.weight + weight, self.total + total)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over some trajectories, and over those of each route."""

    all: Sums = Sums()
    routes: Mapping[str, Sums] = field(default_factory=dict)

    @classmethod
    def of(cls, seen: Observations, rows: Iterable[int], each: float = 1.0) -> Self:
        """Count the trajectories at ``rows``, each of which stands for ``each``."""
        everything, routes = Sums(), dict[str, Sums]()
        for row in rows:
            quality, route = float(seen.quality[row]), seen.routes[row]
            rated = quality == quality  # not NaN
            counted = (each, each * rated, each * quality if rated else 0.0)
            everything = everything.plus(*counted)
            if route is not None:
                routes[route] = routes.get(route, Sums()).plus(*counted)
        return cls(everything, routes)


def add(pattern: LearnedPattern, tally: Tally) -> LearnedPattern:
    """Return ``pattern`` with the tally counted in."""
    return _moved(pattern, tally, 1.0)


def remove(pattern: LearnedPattern, tally: Tally) -> LearnedPattern:
    """Return ``pattern`` with the tally taken out, as far as it is there; routes that were only in it go."""
    return _moved(pattern, tally, -1.0)


def typical(
    pattern: LearnedPattern, queries: Iterable[tuple[str | None, float]], gone: frozenset[str] = frozenset()
) -> LearnedPattern:
    """Return ``pattern`` with the best of its typical queries and of ``queries`` (text, similarity)."""
    best = dict(zip(pattern.typical_queries, pattern.typical_similarities, strict=True))
    for query, similarity in queries:
        if query:
            best[query] = max(similarity, best.get(query, -1.0))
    ranked = sorted(((text, score) for text, score in best.items() if text not in gone), key=lambda p: (-p[1], p[0]))
    return dataclasses.replace(
        pattern,
        typical_queries=tuple(text for text, _ in ranked[:TYPICAL]),
        typical_similarities=tuple(score for _, score in ranked[:TYPICAL]),
    )


def _moved(pattern: LearnedPattern, tally: Tally, sign: float) -> LearnedPattern:
    size, weight, quality = _counted(pattern.size, pattern.weight, pattern.quality, tally.all, sign)
    routes = dict(pattern.routes)
    for name, sums in tally.routes.items():
        old = routes.get(name, RouteRecord(0, 0.0, pattern.quality))
        if sign < 0 and name not in routes:
            continue
        record = RouteRecord(*_counted(old.size, old.weight, old.quality, sums, sign))
        if record.size > 0:
            routes[name] = record
        else:
            routes.pop(name)
    return dataclasses.replace(pattern, size=size, weight=weight, quality=quality, routes=routes)


def _counted(size: int, weight: float, quality: float, sums: Sums, sign: float) -> tuple[int, float, float]:
    left = max(weight + sign * sums.weight, 0.0)
    mean = (quality * weight + sign * sums.total) / left if left > 1e-9 else quality
    return max(round(size + sign * sums.size), 0), left, min(max(mean, 0.0), 1.0)
