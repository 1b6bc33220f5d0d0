"""Statistics of each route over the whole space: the rated trajectories that took it, each counted once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.state import RouteStatistics
from sona_pg.limits import MOST_ROUTE_STATISTICS


def updated_routes(
    known: Mapping[str, RouteStatistics], claimed: LedgerSlice, version: int
) -> dict[str, RouteStatistics]:
    """Return the statistics after a slice, in order; of very many routes, those that changed last."""
    fresh, revised = claimed.fresh, claimed.revised
    rated: dict[str, list[tuple[float, float | None]]] = {}
    for route, outcome, latency in zip(fresh.routes, claimed.outcomes, fresh.latency_us.tolist(), strict=True):
        if route is not None and outcome.quality is not None:
            rated.setdefault(route, []).append((outcome.quality, None if math.isnan(latency) else latency))
    routes = {**known, **{route: known.get(route, RouteStatistics()).fold(told) for route, told in rated.items()}}
    rows = zip(revised.routes, claimed.before, claimed.after, revised.latency_us.tolist(), strict=True)
    for route, before, after, latency in rows:
        if route is not None:
            changed = _revised(
                routes.get(route), before.quality, after.quality, None if math.isnan(latency) else latency
            )
            routes.pop(route, None)
            if changed is not None:
                routes[route] = changed
    return _latest(known, routes, version)


def _revised(
    known: RouteStatistics | None, old: float | None, new: float | None, latency_us: float | None
) -> RouteStatistics | None:
    """Return a route's statistics after the quality of one of its trajectories changed; None if none is rated."""
    if old is None:
        return known if new is None else (known or RouteStatistics()).fold([(new, latency_us)])
    if known is None:  # forgotten meanwhile, of very many routes
        return None
    return known.unfold(old, latency_us) if new is None else known.revise(old, new)


def _latest(
    before: Mapping[str, RouteStatistics], after: Mapping[str, RouteStatistics], version: int
) -> dict[str, RouteStatistics]:
    """Return ``after`` with the version that changed each; of very many routes, those that changed last."""
    routes = {
        name: known if known is before.get(name) else dataclasses.replace(known, updated_version=version)
        for name, known in after.items()
    }
    if len(routes) <= MOST_ROUTE_STATISTICS:
        return routes
    order = sorted(routes, key=lambda name: (-routes[name].updated_version, -routes[name].size, name))
    kept = frozenset(order[:MOST_ROUTE_STATISTICS])
    return {name: known for name, known in routes.items() if name in kept}
