"""Changed routes: earlier evidence about a kind of query that newer evidence contradicts is forgotten.

In the direction u of a new event, the mean residual of a route's new events is compared with that of all earlier ones,
which its sums tell: an error of the model is in both, a change in one. Where they differ beyond chance, the information
of the sums in that direction is reduced to that of a few events (directional forgetting, Kulhavý and Kárný 1984):

    G ← G - (1 - k)·G·u·uᵀ·G / uᵀGu,    m ← m - (1 - k)·G·u·uᵀm / uᵀGu

In other directions it stays, as do the events' means there. What is forgotten is kept beside the sums, so that a
retraction can be exact. Other routes are doubted there too, less: what was best is
not, so they are tried again. The number of observations falls with the sums, and by it exploration rises. Evidence:
benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.router_basis import Doubles, Floats
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import Statistics, without_negative

ALARM = 3.8  # standard errors between the mean residuals of new and earlier events
LEAST_CHANGE = 0.15  # of quality
FEWEST, FEWEST_EARLIER = 4.0, 12.0  # new and earlier events of a kind of query
LEFT, LEFT_OTHERS = 3.0, 30.0  # events whose information is left in a direction, of the route and of the others
NEWEST = 512  # events of a route that are looked at
MOST = 96  # directions of one slice: those of more changed events are nearly the same
SMALL = 1e-6

Flags = NDArray[np.bool_]


def overruled(sums: Statistics, weights: Floats, noise: float, events: RouteEvents, phi: Floats) -> Statistics | None:
    """Forget in ``sums``, in place, what new events contradict; return that, None if there is none.

    Args:
        sums: of all earlier events.
        weights: (R + 1, p) learned from them.
        noise: variance of quality around its mean.
        events: new ones (n,).
        phi: (n, p) in the basis of the sums.
    """
    changes = []
    for route in np.unique(events.route[events.route < len(weights) - 1]).tolist():
        rows = np.flatnonzero(events.route == route)[-NEWEST:]
        if sums.totals[route, 0] >= FEWEST_EARLIER and len(rows) >= FEWEST:
            quality = events.quality[rows].astype(np.float64)
            found = _changed(sums, route, weights[route].astype(np.float64), noise, quality, phi[rows])
            changes += [(route, row) for row in rows[found].tolist()]
    if not changes:
        return None
    earlier, touched = Statistics(*(part.copy() for part in sums)), set()
    for route, row in changes[:: -(-len(changes) // MOST) or 1]:
        u = phi[row].astype(np.float64)
        u[0] = 0.0
        for each in range(len(sums.totals)):
            if sums.totals[each, 0] > 0 and _forget(sums, each, u, LEFT if each == route else LEFT_OTHERS):
                touched.add(each)
    for each in sorted(touched):
        sums.gram[each] = without_negative(sums.gram[each])
        sums.totals[each, 0] = sums.gram[each, 0, 0]
    if not touched:
        return None
    return Statistics(*(had - has for had, has in zip(earlier, sums, strict=True)))


def _changed(sums: Statistics, route: int, weights: Doubles, noise: float, quality: Doubles, phi: Floats) -> Flags:
    """Return (n,) which new events of a route are of a kind of query whose quality has changed."""
    x = phi.astype(np.float64)
    directions = x.copy()
    directions[:, 0] = 0.0
    near = np.maximum(directions @ x.T, 0.0)  # (n, n)
    expected = x @ weights
    mass = near.sum(axis=1)
    new = near @ (quality - expected) / np.maximum(mass, SMALL)
    count = mass**2 / np.maximum((near * near).sum(axis=1), SMALL)
    earlier_mass = directions @ sums.gram[route][:, 0]
    information = ((directions @ sums.gram[route]) * directions).sum(axis=1)
    left = directions @ (sums.moment[route] - sums.gram[route] @ weights)
    old = left / np.maximum(earlier_mass, SMALL)
    earlier = np.maximum(earlier_mass, 0.0) ** 2 / np.maximum(information, SMALL)
    usual = np.clip(near @ expected / np.maximum(mass, SMALL), 0.0, 1.0)
    now = np.clip(usual + new, 0.0, 1.0)
    variance = np.maximum(noise, np.maximum(usual * (1 - usual), now * (1 - now)))
    apart = np.abs(new - old)
    error = np.sqrt(variance * (1 / np.maximum(count, SMALL) + 1 / np.maximum(earlier, SMALL)))
    enough = (count >= FEWEST) & (earlier >= FEWEST_EARLIER) & (apart > LEAST_CHANGE)
    return np.asarray(enough & (apart > ALARM * error))


def _forget(sums: Statistics, route: int, u: Doubles, left: float) -> bool:
    """Reduce a route's information in direction ``u`` (p,) to that of ``left`` events; return whether it was more."""
    toward = sums.gram[route] @ u
    information, length = float(u @ toward), float(u @ u)
    keep = left * length * length
    if information <= keep or length < SMALL:
        return False
    gone = (1 - keep / information) / information
    good = sums.moment[route, 0]
    sums.moment[route] -= gone * float(u @ sums.moment[route]) * toward
    sums.paid[route] -= gone * (sums.paid[route] @ u)[..., None] * toward
    sums.gram[route] -= gone * np.outer(toward, toward)
    seen = max(sums.gram[route, 0, 0], SMALL)
    sums.moment[route, 0] = min(max(sums.moment[route, 0], 0.0), seen)
    share = sums.moment[route, 0] / good if good > 0 else seen / sums.totals[route, 0]
    sums.square[route] *= share
    sums.totals[route, 2:] *= seen / sums.totals[route, 0]
    sums.totals[route, :2] = seen, sums.moment[route, 0]
    return True


def packed(sums: Statistics) -> Floats:
    """Return sums as one array (R, p, p + 12), to be stored: Gram matrices, vectors, and scalars in their first row."""
    routes, p = sums.moment.shape
    out = np.zeros((routes, p, p + 12), np.float32)
    out[:, :, :p], out[:, :, p] = sums.gram, sums.moment
    out[:, :, p + 1 : p + 5] = sums.paid.reshape(routes, 4, p).transpose(0, 2, 1)
    out[:, 0, p + 5] = sums.square
    out[:, 0, p + 6 :] = sums.totals
    return out


def unpacked(stored: Floats, routes: int) -> Statistics:
    """Return the sums that ``packed`` has given, with room for ``routes``."""
    known, p = stored.shape[:2]
    sums, wide = Statistics.empty(routes, p), stored.astype(np.float64)
    sums.gram[:known], sums.moment[:known] = wide[:, :, :p], wide[:, :, p]
    sums.paid[:known] = wide[:, :, p + 1 : p + 5].transpose(0, 2, 1).reshape(known, 2, 2, p)
    sums.square[:known], sums.totals[:known] = wide[:, 0, p + 5], wide[:, 0, p + 6 :]
    return sums
