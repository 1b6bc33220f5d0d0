"""Statistics of each route over the whole space: the rated trajectories that took it, each counted once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.state import Arrays, LearnedState, RouteStatistics
from sona_pg.learning.routing.route_latency import RouteLatency, latencies_of, to_arrays
from sona_pg.limits import MOST_ROUTE_STATISTICS


def updated_routes(
    before: LearnedState, claimed: LedgerSlice, version: int
) -> tuple[dict[str, RouteStatistics], dict[str, Arrays]]:
    """Return the statistics after a slice, in order, and the state's arrays for them.

    Of very many routes, those that changed last.
    """
    fresh, revised = claimed.fresh, claimed.revised
    routes, latencies = dict(before.routes), latencies_of(before)
    rated: dict[str, list[tuple[float, float | None]]] = {}
    for route, outcome, latency in zip(fresh.routes, claimed.outcomes, fresh.latency_us.tolist(), strict=True):
        if route is not None and outcome.quality is not None:
            rated.setdefault(route, []).append((outcome.quality, None if math.isnan(latency) else latency))
    for route, told in rated.items():
        qualities, known = zip(*told, strict=True)
        latencies[route] = latencies.get(route, RouteLatency()).fold(known)
        folded = routes.get(route, RouteStatistics()).fold(qualities)
        routes[route] = dataclasses.replace(folded, latency_us=latencies[route].mean)
    rows = zip(revised.routes, claimed.before, claimed.after, revised.latency_us.tolist(), strict=True)
    for route, old, new, latency in rows:
        if route is None:
            continue
        latency = None if math.isnan(latency) else latency
        statistics, timed = routes.pop(route, None), latencies.get(route, RouteLatency())
        changed, latencies[route] = _revised(statistics, timed, old.quality, new.quality, latency)
        if changed is not None:
            routes[route] = changed
    latest = _latest(before.routes, routes, version)
    return latest, to_arrays(latest, latencies)


def _revised(
    known: RouteStatistics | None, timed: RouteLatency, old: float | None, new: float | None, latency: float | None
) -> tuple[RouteStatistics | None, RouteLatency]:
    """Return a route's statistics after the quality of one of its trajectories changed; None if none is rated."""
    if old is None:
        if new is None:
            return known, timed
        timed = timed.fold([latency])
        return dataclasses.replace((known or RouteStatistics()).fold([new]), latency_us=timed.mean), timed
    if known is None:  # forgotten meanwhile, of very many routes
        return None, RouteLatency()
    if new is not None:
        return known.revise(old, new), timed
    timed, left = timed.unfold(latency), known.unfold(old)
    return (None, RouteLatency()) if left is None else (dataclasses.replace(left, latency_us=timed.mean), timed)


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
