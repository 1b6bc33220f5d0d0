"""Sufficient statistics of a router's events in a basis."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.routing.router_basis import Basis, Doubles, Floats
from sona_pg.learning.routing.router_costs import paid_sums
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import Statistics

ADDED_AT_ONCE = 2048  # events


def add_events(sums: Statistics, basis: Basis, events: RouteEvents, known: Floats | None = None) -> Statistics:
    """`sums`, changed in place, with every event added. `known` are the events in the basis, if that is known."""
    phi = basis(events.query, events.features) if known is None else known
    weight = np.ones(len(events)) if events.weight is None else events.weight.astype(np.float64)
    for route in np.unique(events.route).tolist():
        rows = events.route == route
        w, q, x = weight[rows], events.quality[rows].astype(np.float64), phi[rows]
        weighed = x if events.weight is None else x * w[:, None].astype(np.float32)
        for start in range(0, len(x), ADDED_AT_ONCE):  # each product is in single precision, their sum is not
            part = slice(start, start + ADDED_AT_ONCE)
            sums.gram[route] += weighed[part].T @ x[part]
        sums.moment[route] += (w * q) @ x
        sums.square[route] += w @ q**2
        sums.totals[route, :2] += w.sum(), w @ q
        if events.latency is not None:
            known_latency = np.isfinite(events.latency[rows])
            latency = events.latency[rows][known_latency]
            sums.totals[route, 4:6] += w[known_latency].sum(), w[known_latency] @ latency
    add_costs(sums, events, weight, phi)
    return sums


def add_costs(sums: Statistics, events: RouteEvents, weight: Doubles, phi: Floats) -> None:
    """Add what the events (n,) with these weights (n,) cost, in place; ``phi`` (n, p) are they in the basis."""
    costs = events.known_cost()
    if costs is None:
        return
    for route in np.unique(events.route).tolist():
        rows = events.route == route
        w, known = weight[rows], np.isfinite(costs[rows])
        sums.totals[route, 2:4] += w[known].sum(), w[known] @ costs[rows][known]
        sums.paid[route] += paid_sums(events, rows, w, phi[rows])
