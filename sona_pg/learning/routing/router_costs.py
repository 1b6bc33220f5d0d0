"""Cost of a query by route, learned from real costs: a long question costs more than a short one, on every route.

A ridge regression for each route on the router's own basis, of two targets relative to their means: the real cost, and
its ratio to the decision's estimate. Where a caller gives estimates, the ratio corrects them, so that a changed price
list counts at once; where not, the cost itself is used. Sums for both are kept beside those of the quality, and share
their Gram matrix, scaled to the share of the events that have a real cost. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import numpy as np

from sona_pg.learning.routing.router_basis import Doubles, Floats
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import steadied

COST, RATIO = 0, 1  # kinds of target
RIDGE = 3.0  # events
TRUST = 2.0  # events for which an estimate counts
LEAST_SHARE = 0.1  # of the mean: no query costs less
FEWEST = 0.5  # events: less is rounding
NEWEST, FEWEST_CHANGED = 256, 3  # events of a route by which a change is found
ALARM = 4.0  # standard errors of the mean logarithm beyond which costs have changed
LEAST_CHANGE, LEAST_VARIANCE = 0.2, 0.25  # of that logarithm
UNKNOWN = -1.0  # least cost where none was learned


def paid_sums(events: RouteEvents, rows: Doubles | np.ndarray, weight: Doubles, phi: Floats) -> Doubles:
    """Return (2, 2, p) of the events at ``rows``: by kind, Σ w·target·φ and Σ w·φ over those with a real cost.

    Args:
        events: of which ``rows`` are of one route.
        rows: (n,) flags.
        weight: (r,) of these.
        phi: (r, p) in the basis.
    """
    sums = np.zeros((2, 2, phi.shape[1]))
    if events.paid is None:
        return sums
    paid = events.paid[rows].astype(np.float64)
    told = np.isfinite(paid)
    estimate = np.full(len(paid), np.nan) if events.cost is None else events.cost[rows].astype(np.float64)
    estimated = told & (estimate > 0)
    ratio = paid[estimated] / estimate[estimated]
    for kind, known, target in ((COST, told, paid[told]), (RATIO, estimated, ratio)):
        w, x = weight[known], phi[known]
        sums[kind, 0], sums[kind, 1] = (w * target) @ x, w @ x
    return sums


def changed_costs(events: RouteEvents, phi: Floats, weights: Floats, least: Doubles, paid: Doubles) -> list[int]:
    """Return the routes whose costs have changed since they were learned, beyond chance.

    Args:
        events: new ones (n,).
        phi: (n, p) in the basis of the weights.
        weights: (2, R + 1, p) of the costs learned before, and
        least: (2, R + 1) the least of each; see ``cost_weights``.
        paid: (R, 2, 2, p) the sums that they were learned from.
    """
    if events.paid is None:
        return []
    changed = []
    for route in np.unique(events.route[events.route < len(paid)]).tolist():
        rows = np.flatnonzero((events.route == route) & np.isfinite(events.paid))[-NEWEST:]
        if len(rows) < FEWEST_CHANGED or least[COST, route] <= 0:
            continue
        expected = np.maximum(phi[rows] @ weights[COST, route], least[COST, route]).astype(np.float64)
        ratio = np.log(np.clip(events.paid[rows] / expected, 1e-3, 1e3))
        variance = max(float(ratio.var()), LEAST_VARIANCE)
        level = float(ratio.mean()) + variance / 2  # expected costs are means: those of logarithms are below
        error = (variance / len(rows) + variance / max(paid[route, COST, 1, 0], FEWEST)) ** 0.5
        if abs(level) > max(ALARM * error, LEAST_CHANGE):
            changed.append(route)
    return changed


def cost_weights(gram: Doubles, totals: Doubles, paid: Doubles) -> tuple[Floats, Doubles]:
    """Return weights (2, R + 1, p) of both targets, and the least (2, R + 1), negative where none was learned."""
    routes, p = paid.shape[0], paid.shape[-1]
    weights, least = np.zeros((2, routes + 1, p), np.float32), np.full((2, routes + 1), UNKNOWN)
    penalty = RIDGE * np.eye(p)
    for route, kind in np.argwhere(paid[:, :, 1, 0] > FEWEST).tolist():
        moment, seen = paid[route, kind]
        mean = moment[0] / seen[0]
        if mean > 0:
            share = min(seen[0] / totals[route, 0], 1.0)
            apart = np.linalg.solve(share * steadied(gram[route]) + penalty, moment / mean - seen)
            level = (moment[0] + TRUST) / (seen[0] + TRUST) if kind == RATIO else mean
            apart[0] += 1.0
            weights[kind, route] = level * apart
            least[kind, route] = LEAST_SHARE * level
        else:
            least[kind, route] = 0.0
    return weights, least
