"""Best route of a pattern as people are told it, by ``sona.best_routes``, and those that are not shown to be worse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from sona_pg.domain.overview_figures import interval
from sona_pg.domain.pattern import RouteRecord
from sona_pg.domain.period_figures import difference_interval

RATINGS = 10.0  # that a route needs to be called the best, as in sona.best_routes


class BestRoutes(NamedTuple):
    """Routes of a pattern that people are told, as ``sona.best_routes`` has them."""

    best: str | None
    former: str | None  # it was better, and is no longer offered
    succeeded: str | None  # it was the best until it got worse


NONE_BEST = BestRoutes(None, None, None)


class RatingsSince(NamedTuple):
    """Ratings of a route within a pattern since its quality changed for the worse."""

    since: date
    rated: int
    quality: float


NONE_SINCE: Mapping[str, RatingsSince] = MappingProxyType({})


class RatedRoute(NamedTuple):
    """A route within a pattern, with the 95 % interval of its quality."""

    route: str
    size: int  # trajectories, rated or not
    rated: int  # ratings, of which older ones count less
    quality: float | None  # None: none is rated
    low: float | None
    high: float | None
    cost: float | None  # mean cost of a trajectory of the route in the whole space
    weight: float = 0.0  # `rated` before it is rounded
    since: date | None = None  # it got worse that day: these are its ratings since


def rated_routes(
    routes: Mapping[str, RouteRecord], costs: Mapping[str, float], since: Mapping[str, RatingsSince] = NONE_SINCE
) -> list[RatedRoute]:
    """Return the routes of a pattern, those with most ratings first; of those that got worse, the ratings ``since``."""
    made = []
    for name, record in routes.items():
        changed = since.get(name)
        weight = record.weight if changed is None else float(changed.rated)
        mean = (record.quality if changed is None else changed.quality) if weight > 0 else None
        rated = round(weight)
        low, high = (None, None) if mean is None else interval(min(max(mean, 0.0), 1.0), max(rated, 1))
        day = None if changed is None else changed.since
        made.append(RatedRoute(name, record.size, rated, mean, low, high, costs.get(name), weight, day))
    return sorted(made, key=lambda one: (-one.rated, -one.size, one.route))


def choose(routes: Sequence[RatedRoute]) -> BestRoutes:
    """Return the best route of a pattern by these ratings alone, as earlier versions had it; none while few.

    It is the one whose interval has the highest lower end.
    """
    best = min((one for one in routes if _enough(one)), key=_order, default=None)
    return NONE_BEST if best is None else BestRoutes(best.route, None, None)


def not_worse(best: RatedRoute, routes: Sequence[RatedRoute], not_offered: Collection[str] = ()) -> list[RatedRoute]:
    """Return the others with enough ratings whose difference from the ``best`` has a 95 % interval that is not below 0.

    Args:
        best: the best one.
        routes: the routes of its pattern.
        not_offered: those that are no advice any more (``sona.routes_not_offered``).
    """
    offered = [one for one in routes if _enough(one) and one.route not in not_offered]
    return [one for one in offered if one is not best and not _worse(one, best)]


def cheapest(best: RatedRoute, alike: Sequence[RatedRoute]) -> RatedRoute | None:
    """Return the one of the least cost of the ``best`` and those ``alike``; None where its cost is not known."""
    priced = [one for one in (best, *alike) if one.cost is not None]
    return None if best.cost is None else min(priced, key=lambda one: (one.cost or 0.0, *_order(one)))


def _enough(one: RatedRoute) -> bool:
    return one.weight >= RATINGS and one.low is not None


def _order(one: RatedRoute) -> tuple[float, str]:
    return -(one.low or 0.0), one.route


def _worse(one: RatedRoute, other: RatedRoute) -> bool:
    _, high = difference_interval((one.quality or 0.0, one.rated), (other.quality or 0.0, other.rated))
    return high < 0
