"""Best route of a pattern, as people are told it: offered, enough ratings, the highest lower end of its interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from sona_pg.domain.overview_figures import interval
from sona_pg.domain.pattern import RouteRecord
from sona_pg.domain.period_figures import difference_interval

RATINGS = 10.0  # that a route needs to be called the best, as in sona.best_routes
SUCCEEDS = 5  # ratings, where a route got worse, of another that is shown to be better than those with enough


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


class RouteChoice(NamedTuple):
    """The route of the best quality of those that are offered, and those that are not shown to be worse."""

    best: RatedRoute | None  # None: none that is offered has enough ratings
    alike: Sequence[str]
    cheapest: RatedRoute | None  # of all of these; None: costs are not known
    former: RatedRoute | None = None  # one that did better, and is no longer offered
    succeeded: RatedRoute | None = None  # one that got worse, and would be the best by all of its ratings


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


def choose_now(
    routes: Mapping[str, RouteRecord], rated: Sequence[RatedRoute], not_offered: Collection[str] = ()
) -> RouteChoice | None:
    """Return the best of some routes as ``choose`` does, and the one that was until it got worse.

    Args:
        routes: the routes of a pattern, by all of their ratings.
        rated: the same as they are now.
        not_offered: those that are no advice any more.
    """
    found = choose(rated, not_offered)
    if all(one.since is None for one in rated):
        return found
    before = choose(rated_routes(routes, {}), not_offered)
    changed = {one.route: one for one in rated if one.since is not None}
    was = None if before is None or before.best is None else changed.get(before.best.route)
    if was is None or (found is not None and found.best is not None and found.best.route == was.route):
        return found
    return (RouteChoice(None, (), None) if found is None else found)._replace(succeeded=was)


def choose(routes: Sequence[RatedRoute], not_offered: Collection[str] = ()) -> RouteChoice | None:
    """Return the best of some routes; None while no route has enough ratings.

    It is the one whose interval has the highest lower end, as ``sona.best_routes`` has it. Another is shown to
    be worse where the 95 % interval of their difference is below 0.

    Args:
        routes: the routes of a pattern.
        not_offered: those that are no advice any more (``sona.routes_not_offered``).
    """
    enough = [one for one in routes if one.weight >= RATINGS and one.low is not None]
    ever = min(enough, key=_order, default=None)
    if ever is None:
        return None
    former = ever if ever.route in not_offered else None
    offered = [one for one in enough if one.route not in not_offered]
    first = min(offered, key=_order, default=None)
    if first is not None and any(one.since is not None for one in routes):
        first = _successor(first, [one for one in routes if one.route not in not_offered])
        offered = [first, *(one for one in offered if one is not first)]
    if first is None:
        return RouteChoice(None, (), None, former)
    alike = [one for one in offered if one is first or not _worse(one, first)]
    priced = [one for one in alike if one.cost is not None]
    cheapest = min(priced, key=lambda one: (one.cost or 0.0, *_order(one)), default=None)
    return RouteChoice(
        first, [one.route for one in alike if one is not first], None if first.cost is None else cheapest, former
    )


def _successor(first: RatedRoute, routes: Sequence[RatedRoute]) -> RatedRoute:
    """Return which of some routes is shown to be better than the ``first``, though it has few ratings yet."""
    better = [one for one in routes if one.rated >= SUCCEEDS and one.low is not None and _worse(first, one)]
    return min(better, key=_order, default=first)


def _order(one: RatedRoute) -> tuple[float, str]:
    return -(one.low or 0.0), one.route


def _worse(one: RatedRoute, other: RatedRoute) -> bool:
    _, high = difference_interval((one.quality or 0.0, one.rated), (other.quality or 0.0, other.rated))
    return high < 0
