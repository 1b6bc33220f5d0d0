"""Changed routes: earlier evidence about a kind of query that newer evidence contradicts is forgotten.

In the direction u of a new event, the mean residual of a route's new events is compared with that of all earlier ones,
which its sums tell: an error of the model is in both, a change in one. Where they differ beyond chance, the information
of the sums in that direction is reduced to that of a few events (directional forgetting, Kulhavý and Kárný 1984):

    G ← G - (1 - k)·G·u·uᵀ·G / uᵀGu,    m ← m - (1 - k)·G·u·uᵀm / uᵀGu

In other directions it stays, as do the events' means there. What was forgotten, and why, is kept beside the sums
(`forgotten`), so that a retraction can be exact. Other routes are doubted there too, less: what was best is
not, so they are tried again. The number of observations falls with the sums, and by it exploration rises. Evidence:
benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.forgotten import (
    ALARMED,
    AT,
    EARLIER,
    LEFT_THERE,
    LOST,
    ROUTE,
    SMALL,
    USUAL,
    WEIGHT,
    Forgotten,
    in_direction,
    reduce,
)
from sona_pg.learning.routing.router_basis import Doubles, Floats
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import Statistics

ALARM = 3.8  # standard errors between the mean residuals of new and earlier events
LEAST_CHANGE = 0.15  # of quality
FEWEST, FEWEST_EARLIER = 4.0, 12.0  # new and earlier events of a kind of query
LEFT, LEFT_OTHERS = 3.0, 30.0  # events whose information is left in a direction, of the route and of the others
NEWEST = 512  # events of a route that are looked at
MOST = 96  # directions of one slice: those of more changed events are nearly the same

Flags = NDArray[np.bool_]


def overruled(
    sums: Statistics, weights: Floats, noise: float, events: RouteEvents, phi: Floats, version: int
) -> Forgotten:
    """Forget in ``sums``, in place, what new events contradict; return that.

    Args:
        sums: of all earlier events.
        weights: (R + 1, p) learned from them.
        noise: variance of quality around its mean.
        events: new ones (n,).
        phi: (n, p) in the basis of the sums.
        version: of the state that learns the events.
    """
    changes = []
    for route in np.unique(events.route[events.route < len(weights) - 1]).tolist():
        rows = np.flatnonzero(events.route == route)[-NEWEST:]
        if sums.totals[route, 0] >= FEWEST_EARLIER and len(rows) >= FEWEST:
            found = _changed(sums, route, weights[route].astype(np.float64), noise, events[rows], phi[rows])
            changes += [(route, row) for row in rows[found].tolist()]
    if not changes:
        return Forgotten.empty()
    earlier, made = sums._replace(gram=sums.gram.copy(), moment=sums.moment.copy()), []
    for route, row in changes[:: -(-len(changes) // MOST) or 1]:
        u = phi[row].astype(np.float64)
        u[0] = 0.0
        taken = _forget(sums, route, u)
        if taken is not None:
            made.append((route, u, *taken))
    if not made:
        return Forgotten.empty()
    causes = [
        _cause(version, route, u, in_direction(earlier, route, u), in_direction(sums, route, u), events, phi)
        for route, u, *_ in made
    ]
    toward, lost = (np.array(each) for each in ([toward for *_, toward, _ in made], [lost for *_, lost in made]))
    return Forgotten(
        np.array([u for _, u, *_ in made], np.float32), toward.astype(np.float32),
        (toward * lost[..., [WEIGHT]]).astype(np.float32), lost, np.array(causes),
    )  # fmt: skip


def _forget(sums: Statistics, route: int, u: Doubles) -> tuple[Doubles, Doubles] | None:
    """Reduce the information of all routes in direction ``u`` (p,), in place; return (R, p) and (R, 15) of it."""
    toward, lost = np.zeros(sums.moment.shape), np.zeros((len(sums.totals), LOST))
    for each in np.flatnonzero(sums.totals[:, 0] > 0).tolist():
        taken = reduce(sums, each, u, LEFT if each == route else LEFT_OTHERS)
        if taken is not None:
            toward[each], lost[each] = taken
    return (toward, lost) if lost.any() else None


def _cause(
    version: int, route: int, u: Doubles, had: Doubles, has: Doubles, events: RouteEvents, phi: Floats
) -> Doubles:
    """Return (11,) why the information in direction ``u`` was reduced from what a route ``had`` to what it ``has``."""
    rows = np.flatnonzero(events.route == route)[-NEWEST:]
    a = np.maximum(phi[rows].astype(np.float64) @ u, 0.0)
    mass = max(had[0], SMALL)
    alarmed = a.sum(), a @ events.quality[rows], a @ a
    taken = 1 - has[2] / max(had[2], SMALL)
    return np.array([version, route, had[1] / mass, mass**2 / max(had[2], SMALL), *alarmed, *has, taken])


def reconsidered(forgotten: Forgotten, rows: NDArray[np.intp], sums: Statistics, noise: float) -> Forgotten:
    """Decide some reductions again, the newest first, and change ``sums``, in place; return those that remain.

    One stays in force while the events that raised the alarm, or all later ones, contradict the earlier ones, and one
    that is lifted comes back once the former do. Lifted ones that too few of the former are left for are dropped.
    """
    for version in np.unique(forgotten.cause[rows, AT])[::-1].tolist():
        of_it = rows[forgotten.cause[rows, AT] == version]
        turning = np.array([k for k in of_it.tolist() if _turns(forgotten, k, sums, noise)], np.intp)
        forgotten = forgotten.turned(sums, turning) if len(turning) else forgotten
    stays = forgotten.in_force() | _enough_alarmed(forgotten)
    return forgotten if stays.all() else forgotten.only(np.flatnonzero(stays))


def held_by_later(forgotten: Forgotten, sums: Statistics, noise: float) -> Flags:
    """Return (K,) for which reductions all later events are the reason, or alone can be, its own being taken back.

    A word about a later event decides nothing of others: an alarm compared residuals, which these sums do not tell.
    """
    held = [_later_contradict(forgotten, k, sums, noise) for k in range(len(forgotten))]
    return np.array(held, np.bool_) | ~_enough_alarmed(forgotten)


def _enough_alarmed(forgotten: Forgotten) -> Flags:
    """Return (K,) of which reductions enough of the events that raised the alarm stand to raise one."""
    left = forgotten.cause[:, ALARMED]
    return np.asarray(np.maximum(left[:, 0], 0.0) ** 2 / np.maximum(left[:, 2], SMALL) >= FEWEST, np.bool_)


def _turns(forgotten: Forgotten, k: int, sums: Statistics, noise: float) -> bool:
    """Return whether a reduction in force has lost its reasons, or one that is lifted has them again."""
    cause = forgotten.cause[k]
    alarmed = _contradict(cause[ALARMED], cause[USUAL], cause[EARLIER], noise)
    if not forgotten.in_force()[k]:
        return alarmed
    return not (alarmed or _later_contradict(forgotten, k, sums, noise))


def _later_contradict(forgotten: Forgotten, k: int, sums: Statistics, noise: float) -> bool:
    cause, u = forgotten.cause[k], forgotten.direction[k].astype(np.float64)
    later = in_direction(sums, int(cause[ROUTE]), u) - cause[LEFT_THERE]
    return _contradict(later, cause[USUAL], cause[EARLIER], noise)


def _contradict(told: Doubles, usual: float, earlier: float, noise: float) -> bool:
    """Return whether events with these sums (3,) in a direction differ from the ``earlier`` of ``usual`` quality."""
    mass = max(told[0], SMALL)
    count, now = mass**2 / max(told[2], SMALL), min(max(told[1] / mass, 0.0), 1.0)
    apart = np.array([now - usual])
    return bool(_beyond_chance(apart, np.array([usual]), np.array([now]), np.array([count]), earlier, noise)[0])


def repeats(events: RouteEvents) -> Doubles:
    """Return (n,) the weight of each event: n of one query and outcome weigh 1 + ln n together."""
    same = np.column_stack([events.query, events.quality >= 0.5])
    _, group, count = np.unique(same, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(((1 + np.log(count)) / count)[group.ravel()], np.float64)


def _changed(sums: Statistics, route: int, weights: Doubles, noise: float, events: RouteEvents, phi: Floats) -> Flags:
    """Return (n,) which new events of a route are of a kind of query whose quality has changed."""
    x, quality, weight = phi.astype(np.float64), events.quality.astype(np.float64), repeats(events)
    directions = x.copy()
    directions[:, 0] = 0.0
    near = np.maximum(directions @ x.T, 0.0)  # (n, n)
    expected = x @ weights
    mass = near @ weight
    new = near @ (weight * (quality - expected)) / np.maximum(mass, SMALL)
    count = mass**2 / np.maximum((near * near) @ weight, SMALL)
    earlier_mass = directions @ sums.gram[route][:, 0]
    information = ((directions @ sums.gram[route]) * directions).sum(axis=1)
    left = directions @ (sums.moment[route] - sums.gram[route] @ weights)
    old = left / np.maximum(earlier_mass, SMALL)
    earlier = np.maximum(earlier_mass, 0.0) ** 2 / np.maximum(information, SMALL)
    usual = np.clip(near @ (weight * expected) / np.maximum(mass, SMALL), 0.0, 1.0)
    now = np.clip(usual + new, 0.0, 1.0)
    return _beyond_chance(new - old, usual, now, count, earlier, noise)


def _beyond_chance(
    apart: Doubles, usual: Doubles, now: Doubles, count: Doubles, earlier: Doubles | float, noise: float
) -> Flags:
    """Return (n,) which means ``usual`` and ``now`` of so many ``earlier`` and new events differ, being ``apart``."""
    variance = np.maximum(noise, np.maximum(usual * (1 - usual), now * (1 - now)))
    error = np.sqrt(variance * (1 / np.maximum(count, SMALL) + 1 / np.maximum(earlier, SMALL)))
    enough = (count >= FEWEST) & (earlier >= FEWEST_EARLIER) & (np.abs(apart) > LEAST_CHANGE)
    return np.asarray(enough & (np.abs(apart) > ALARM * error))
