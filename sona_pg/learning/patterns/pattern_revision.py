"""Feedback on a trajectory already counted in a pattern: late, revised, or retracted.

The weight of a pattern decays, its verdicts do not: a rated trajectory still weighs the weight divided by the number
of verdicts. Retracting all of them therefore leaves exactly zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import UNRATED, LearnedPattern, RouteRecord, merged_parameters
from sona_pg.domain.verdict import NO_VERDICTS, Verdict, VerdictCounts
from sona_pg.learning.patterns.tally import without_parameters, worked


@dataclass(frozen=True, slots=True)
class Counted:
    """One trajectory as a pattern counts it."""

    route: str | None
    quality: float | None  # None: not rated
    verdict: Verdict | None = None
    parameters: Mapping[str, float] | None = None


def revise(pattern: LearnedPattern, old: Counted, new: Counted) -> LearnedPattern:
    """Return ``pattern`` after the outcome of one of its trajectories changed; its route cannot have."""
    quality, weight, verdicts = _revised(pattern, old, new)
    routes = dict(pattern.routes)
    route = new.route
    if route is not None and (route in routes or new.quality is not None):
        record = routes.get(route, RouteRecord(1, 0.0, UNRATED))
        mean, total, counts = _revised(record, old, new)
        routes[route] = RouteRecord(record.size, total, mean, counts)
    left = without_parameters(pattern.parameters, worked(old.parameters, old.quality or 0.0, old.verdict))
    return dataclasses.replace(
        pattern,
        quality=quality,
        weight=weight,
        routes=routes,
        verdicts=verdicts,
        parameters=merged_parameters(left, worked(new.parameters, new.quality or 0.0, new.verdict)),
    )


def unrated(pattern: LearnedPattern) -> LearnedPattern:
    """Return ``pattern`` without any ratings."""
    routes = {name: RouteRecord(record.size, 0.0, UNRATED) for name, record in pattern.routes.items()}
    return dataclasses.replace(
        pattern, weight=0.0, quality=UNRATED, routes=routes, verdicts=NO_VERDICTS, parameters={}
    )  # fmt: skip


def home_of(patterns: Sequence[LearnedPattern], similarities: NDArray[np.float32], counted: Counted) -> int:
    """Return the index of the pattern that counts a trajectory: the nearest one with such a verdict on its route.

    For a trajectory without a verdict it is the nearest with an unrated one on its route. The nearest of all need not
    be the one: patterns have moved since, and new ones have come.
    """
    nearest = int(np.argmax(similarities))
    verdict, route = counted.verdict, counted.route
    for place in (nearest, *np.argsort(-similarities, kind="stable").tolist()):
        pattern = patterns[place]
        record = pattern if route is None else pattern.routes.get(route)
        if record is None:
            continue
        counts = record.verdicts
        if counts.of(verdict) > 0 if verdict is not None else record.size > counts.judged:
            return int(place)
    return nearest


def _revised(known: LearnedPattern | RouteRecord, old: Counted, new: Counted) -> tuple[float, float, VerdictCounts]:
    """Return quality, weight and verdicts after one outcome was taken out and another one put in."""
    quality, weight, counts = known.quality, known.weight, known.verdicts
    if old.quality is not None:
        each = weight / counts.judged if counts.judged else min(weight, 1.0)
        left = 0.0 if counts.judged == 1 else max(weight - each, 0.0)
        total = quality * weight - old.quality * each
        quality = min(max(total / left, 0.0), 1.0) if left > 0 else UNRATED
        weight = left
    if new.quality is not None:
        quality = min(max((quality * weight + new.quality) / (weight + 1.0), 0.0), 1.0)
        weight += 1.0
    return quality, weight, counts.revised(old.verdict, new.verdict)
