"""Mean latency of each route, over the rated trajectories that took it and whose latency is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from sona_pg.domain.state import Arrays, LearnedState, RouteStatistics

PART = "latencies"  # of a state's arrays


@dataclass(frozen=True, slots=True)
class RouteLatency:
    """A mean and the number of latencies in it."""

    mean: float | None = None  # microseconds
    count: int = 0

    def fold(self, latencies: Iterable[float | None]) -> Self:
        """Return the mean with more latencies, of which some are unknown."""
        mean, count = self.mean, self.count
        for latency in latencies:
            if latency is not None:
                count += 1
                mean = latency if mean is None else mean + (latency - mean) / count
        return type(self)(mean, count)

    def unfold(self, latency: float | None) -> Self:
        """Return the mean with one latency taken out again."""
        if latency is None or self.mean is None:
            return self
        count = self.count - 1
        return type(self)(max(self.mean + (self.mean - latency) / count, 0.0), count) if count > 0 else type(self)()


def latencies_of(state: LearnedState) -> dict[str, RouteLatency]:
    """Return the latency of each route of a state; in one of an earlier release all trajectories count, as there."""
    counts = state.arrays.get(PART, {}).get("counts")
    if counts is None or len(counts) != len(state.routes):
        return {
            name: RouteLatency() if known.latency_us is None else RouteLatency(known.latency_us, known.size)
            for name, known in state.routes.items()
        }
    return {
        name: RouteLatency(state.routes[name].latency_us, int(count))
        for name, count in zip(sorted(state.routes), counts, strict=True)
    }


def to_arrays(routes: Mapping[str, RouteStatistics], latencies: Mapping[str, RouteLatency]) -> dict[str, Arrays]:
    """Return the part of a state's arrays: counts (n,) int64, by name of route."""
    if not routes:
        return {}
    return {PART: {"counts": np.array([latencies[name].count for name in sorted(routes)], np.int64)}}
