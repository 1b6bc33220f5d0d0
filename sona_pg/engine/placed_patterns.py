"""Patterns as the dashboard shows them: on a plane, with their routes and the best of these."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sona_pg.domain.overview_figures import PlacedPattern, interval
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.route_choice import (
    NONE_SINCE,
    BestRoutes,
    RatedRoute,
    RatingsSince,
    cheapest,
    choose,
    not_worse,
    rated_routes,
)

PLACED_ROUTES = 8  # of a pattern
SHOWN_OF_ROUTE = ("size", "rated", "quality", "low", "high", "cost", "since")


class ShownTexts(NamedTuple):
    """What people see of a pattern's texts."""

    name: str | None
    title: str | None
    wordings: Sequence[str]
    members: Sequence[UUID]  # patterns put together in it


def placed(
    pattern: LearnedPattern,
    place: Sequence[float],
    costs: Mapping[str, float],
    not_offered: Collection[str],
    shown: ShownTexts,
    since: Mapping[str, RatingsSince] = NONE_SINCE,
    told: BestRoutes | None = None,
) -> PlacedPattern:
    """Return a pattern at its ``place`` on the plane, with the routes that did best in it.

    Args:
        pattern: of one version.
        place: x and y.
        costs: mean costs of routes in the whole space.
        not_offered: routes that are no advice any more.
        shown: its texts.
        since: ratings of routes that got worse since then.
        told: its best routes; by default the best one is chosen by the ratings of the pattern.
    """
    routes = rated_routes(pattern.routes, costs, since)
    told = told or choose(routes)
    best = next((one for one in routes if one.route == told.best), None)
    alike = [] if best is None else not_worse(best, routes, not_offered)
    cheap = None if best is None else _name(cheapest(best, alike))
    rated = round(pattern.weight)
    mean = pattern.quality if pattern.rated else None
    low, high = (None, None) if mean is None else interval(min(max(mean, 0.0), 1.0), max(rated, 1))
    priced = [one for one in routes if one.cost is not None]
    asked = sum(one.size for one in priced)
    cost = math.fsum(one.size * (one.cost or 0.0) for one in priced) / asked if asked else None
    return PlacedPattern(
        pattern.id, place[0], place[1], pattern.size, mean, pattern.kind, pattern.verdict, pattern.typical_queries,
        shown.name, shown.title, shown.wordings,
        told.best, told.former, told.succeeded, _shown(routes, {*told, cheap}),
        rated, low, high, [one.route for one in alike],
        cheap, None if cost is None else 1000 * cost, pattern.verdicts.judged, pattern.verdicts.failure, shown.members,
    )  # fmt: skip


def _name(route: RatedRoute | None) -> str | None:
    return None if route is None else route.route


def _shown(routes: Sequence[RatedRoute], named: Collection[str | None]) -> dict[str, dict[str, Any]]:
    """Return the routes that have most ratings, and the ``named`` ones."""
    shown = [one for place, one in enumerate(routes) if place < PLACED_ROUTES or one.route in named]
    return {one.route: {name: getattr(one, name) for name in SHOWN_OF_ROUTE} for one in shown}
