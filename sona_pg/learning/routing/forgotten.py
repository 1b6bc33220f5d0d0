"""Forgotten evidence: each reduction of a router's sums, so that earlier events can still be taken out or revised.

A reduction in the direction u maps a route's sums linearly: with c = (1 - k) / uᵀGu,

    G ← S·G,    m ← S·m,    S = I - c·G·u·uᵀ

An event x that was learned before therefore stands in the sums as S·x, no longer as x; one that was learned later
stands in full. Taken out as they stand, all earlier events leave exactly nothing. Kept are u and c·Gu, which also tell
what was lost: c·Guuᵀ·G of the Gram matrix and (uᵀm)·c·Gu of the moment. It is added again once neither the events that
raised the alarm nor all later ones contradict it any more, because those were retracted or revised.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.router_basis import Doubles, Floats
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import Statistics

MOST = 256  # reductions; of more the weakest are dropped
SMALL = 1e-6
UNKNOWN = -1  # learned before whatever was forgotten

# Columns of ``lost``: 1/c, uᵀm, uᵀ of the four vectors of costs, the sum of squares, totals, and the factors by which
# the sum of squares and the totals of costs and latencies were reduced, since these have no direction.
WEIGHT, MOMENT, PAID, SQUARE, TOTALS = 0, 1, slice(2, 6), 6, slice(7, 13)
SQUARE_LEFT, TOTALS_LEFT, LOST = 13, 14, 15
# Columns of ``cause``: version and route of the alarm; mean quality and number of the earlier events in the direction;
# Σ a, Σ a·quality and Σ a² (a = uᵀx) of the events that raised it, and of what the reduction left; share that it took.
AT, ROUTE, USUAL, EARLIER, ALARMED, LEFT_THERE, TAKEN, CAUSE = 0, 1, 2, 3, slice(4, 7), slice(7, 10), 10, 11


class Remainder(NamedTuple):
    """Events as the sums still have them."""

    phi: Doubles  # (n, p)
    square: Doubles  # (n,) share of the squared quality
    totals: Doubles  # (n,) share of cost and latency


@dataclass(frozen=True, slots=True)
class Forgotten:
    """K reductions of the sums of R routes, in their order; p = width of the basis + 1."""

    direction: Floats  # (K, p) u
    toward: Floats  # (K, R, p) c·G·u
    lost: Doubles  # (K, R, 15)
    cause: Doubles  # (K, 11)

    @classmethod
    def empty(cls) -> Self:
        """Return no reductions."""
        vectors = np.zeros((0, 1), np.float32), np.zeros((0, 0, 1), np.float32)
        return cls(*vectors, np.zeros((0, 0, LOST)), np.zeros((0, CAUSE)))

    def __len__(self) -> int:
        return len(self.direction)

    def followed_by(self, later: Self) -> Self:
        """Return both; of too many the strongest, in their order."""
        if not len(self):
            return later
        routes = later.toward.shape[1]
        both = (np.concatenate([getattr(part, f.name) for part in (self.widened(routes), later)]) for f in fields(self))
        every = type(self)(*both)
        return every.only(np.sort(np.argsort(-every.cause[:, TAKEN], kind="stable")[:MOST]))

    def only(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the reductions."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def widened(self, routes: int) -> Self:
        """Return the same with room for routes that are new."""
        if not len(self):
            return self
        more = ((0, 0), (0, routes - self.toward.shape[1]), (0, 0))
        return replace(self, toward=np.pad(self.toward, more), lost=np.pad(self.lost, more, constant_values=0.0))

    def narrowed(self, p: int) -> Self:
        """Return the same in the first ``p`` numbers of the basis."""
        if not len(self):
            return self
        return replace(self, direction=self.direction[:, :p].copy(), toward=self.toward[..., :p].copy())

    def carried(self, m: Doubles) -> Self:
        """Return the same in another basis, φ_new ≈ φ_old·m: S·x is carried as x is, uᵀx stays."""
        if not len(self):
            return self
        direction = np.linalg.lstsq(m, self.direction.T.astype(np.float64), rcond=SMALL)[0].T
        return replace(self, direction=direction.astype(np.float32), toward=(self.toward @ m).astype(np.float32))

    def standing(self, phi: Floats, events: RouteEvents) -> Remainder:
        """Return the events (n,), ``phi`` (n, p) in the basis, as the sums have them since."""
        left, square, totals = phi.astype(np.float64), np.ones(len(phi)), np.ones(len(phi))
        learned = _learned(events)
        for k, at in enumerate(self.cause[:, AT].tolist()):
            rows = np.flatnonzero(learned < at)
            where = events.route[rows]
            left[rows] -= (left[rows] @ self.direction[k])[:, None] * self.toward[k, where]
            reduced = self.lost[k, where, WEIGHT] > 0
            square[rows] *= np.where(reduced, self.lost[k, where, SQUARE_LEFT], 1.0)
            totals[rows] *= np.where(reduced, self.lost[k, where, TOTALS_LEFT], 1.0)
        return Remainder(left, square, totals)

    def changed_by(
        self, phi: Floats, events: RouteEvents, mass: float, change: Doubles
    ) -> tuple[Self, NDArray[np.intp]]:
        """Return the reductions whose alarm some events no longer raise as they did, and which these are.

        Args:
            phi: (n, p) in the basis.
            events: (n,) retracted or revised.
            mass: 1 where they are retracted, 0 where only their quality changed.
            change: (n,) what their quality has lost.
        """
        learned, cause = _learned(events), self.cause.copy()
        touched = []
        for k, (at, route) in enumerate(self.cause[:, [AT, ROUTE]].tolist()):
            rows = np.flatnonzero((learned == at) & (events.route == route))
            a = np.maximum(phi[rows].astype(np.float64) @ self.direction[k], 0.0)
            if a.any():
                cause[k, ALARMED] -= mass * a.sum(), a @ change[rows], mass * (a @ a)
                touched.append(k)
        return replace(self, cause=cause), np.array(touched, np.intp)

    def added_again(self, sums: Statistics, rows: NDArray[np.intp]) -> Self:
        """Add what some reductions took to ``sums``, in place, as later ones leave it; return the others."""
        others = np.setdiff1d(np.arange(len(self)), rows)
        for k in rows.tolist():
            for route in np.flatnonzero(self.lost[k, :, WEIGHT]).tolist():
                lost, toward = self.lost[k, route].copy(), self.toward[k, route].astype(np.float64)
                for later in others[others > k].tolist():
                    toward -= float(toward @ self.direction[later]) * self.toward[later, route]
                    if self.lost[later, route, WEIGHT]:
                        lost[SQUARE] *= self.lost[later, route, SQUARE_LEFT]
                        lost[TOTALS] *= self.lost[later, route, TOTALS_LEFT]
                sums.gram[route] += lost[WEIGHT] * np.outer(toward, toward)
                sums.moment[route] += lost[MOMENT] * toward
                sums.paid[route] += lost[PAID].reshape(2, 2, 1) * toward
                sums.square[route] += lost[SQUARE]
                sums.totals[route, 2:] += lost[TOTALS][2:]
        return self.only(others)

    def without_routes(self, gone: NDArray[np.bool_]) -> Self:
        """Return the same for routes of which those ``gone`` (R,) are as if they had never been tried."""
        toward, lost = self.toward.copy(), self.lost.copy()
        toward[:, gone], lost[:, gone] = 0.0, 0.0
        return replace(self, toward=toward, lost=lost).only(np.flatnonzero((lost[:, :, WEIGHT] > 0).any(axis=1)))


def _learned(events: RouteEvents) -> NDArray[np.int64]:
    if events.learned is None:
        return np.full(len(events), UNKNOWN)
    return events.learned.astype(np.int64)


def in_direction(sums: Statistics, route: int, u: Doubles) -> Doubles:
    """Return (3,) Σ a, Σ a·quality and Σ a² of a route's events in the direction ``u`` (p,)."""
    gram = sums.gram[route]
    return np.array([u @ gram[:, 0], u @ sums.moment[route], u @ gram @ u])


def reduce(sums: Statistics, route: int, u: Doubles, left: float) -> tuple[Doubles, Doubles] | None:
    """Reduce a route's information in direction ``u`` (p,) to that of ``left`` events, in place.

    Return (p,) c·Gu and (15,) what was lost; None if there was no more.
    """
    gu = sums.gram[route] @ u
    information, length = float(u @ gu), float(u @ u)
    keep = left * length * length
    if information <= keep or length < SMALL:
        return None
    c = (1 - keep / information) / information
    toward, lost, good = c * gu, np.zeros(LOST), sums.totals[route, 1]
    before = sums.square[route], sums.totals[route].copy()
    lost[WEIGHT], lost[MOMENT], lost[PAID] = 1 / c, u @ sums.moment[route], (sums.paid[route] @ u).ravel()
    sums.moment[route] -= lost[MOMENT] * toward
    sums.paid[route] -= lost[PAID].reshape(2, 2, 1) * toward
    sums.gram[route] -= np.outer(toward, gu)
    seen = max(sums.gram[route, 0, 0], SMALL)
    now = min(max(sums.moment[route, 0], 0.0), seen)
    lost[TOTALS_LEFT] = seen / sums.totals[route, 0]
    lost[SQUARE_LEFT] = now / good if good > 0 else lost[TOTALS_LEFT]
    sums.square[route] *= lost[SQUARE_LEFT]
    sums.totals[route, 2:] *= lost[TOTALS_LEFT]
    sums.totals[route, :2] = seen, now
    lost[SQUARE], lost[TOTALS] = before[0] - sums.square[route], before[1] - sums.totals[route]
    return toward, lost
