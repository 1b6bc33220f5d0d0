"""Forgotten evidence: each reduction of a router's sums, so that earlier events can still be taken out or revised.

A reduction in the direction u maps a route's sums linearly: with c = (1 - k) / uᵀGu,

    E ← (S·E + E·Sᵀ) / 2,    m ← S·m,    S = I - c·G·u·uᵀ

which is S·G for the G at the alarm. Sums of any events pass through the reductions that came after they were learned;
so they stand in the router's sums, and so they are taken out. Beside its map a reduction keeps what it took, as E·u and
uᵀm of the events that came to it; of events that are taken out this goes as well. Thus sums and losses are at any time
those of the events that still stand, as if there had never been others. A loss is given back, through the later
reductions, once neither the events that raised the alarm nor all later ones contradict it any more, because those were
retracted or revised. Where events that raised the alarm stand, the reduction is lifted rather than dropped: it goes on
keeping what it would take, and takes that again once they contradict as before. Sums and losses in force together count
every event that stands exactly once: of a route without any nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.router_basis import Doubles, Floats
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import Statistics

MOST = 256  # reductions; of more the weakest are dropped
SMALL = 1e-6
CHANGED = 1e-4  # of a vector: less is rounding
IMPOSSIBLE = 1e-3  # of the trace: eigenvalues that are less negative are rounding
UNKNOWN = -1  # learned before whatever was forgotten

# Columns of ``lost``: 1/c, uᵀm, uᵀ of the four vectors of costs, what was taken of the sum of squares and of totals,
# factors by which the sum of squares and the totals of costs and latencies were reduced, since these have no direction.
# 1/c is 0 for a route that nothing was taken of, and negative while the reduction is lifted.
WEIGHT, MOMENT, PAID, SQUARE, TOTALS = 0, 1, slice(2, 6), 6, slice(7, 13)
SQUARE_LEFT, TOTALS_LEFT, LOST = 13, 14, 15
# Columns of ``cause``: version and route of the alarm; mean quality and number of the earlier events in the direction;
# Σ a, Σ a·quality and Σ a² (a = uᵀx) of the events that raised it, and of what the reduction left; share that it took.
AT, ROUTE, USUAL, EARLIER, ALARMED, LEFT_THERE, TAKEN, CAUSE = 0, 1, 2, 3, slice(4, 7), slice(7, 10), 10, 11


@dataclass(frozen=True, slots=True)
class Forgotten:
    """K reductions of the sums of R routes, in their order; p = width of the basis + 1."""

    direction: Floats  # (K, p) u
    toward: Floats  # (K, R, p) c·G·u
    told: Floats  # (K, R, p) E·u of the events that came to it and still stand
    lost: Doubles  # (K, R, 15)
    cause: Doubles  # (K, 11)

    @classmethod
    def empty(cls) -> Self:
        """Return no reductions."""
        vectors = np.zeros((0, 0, 1), np.float32)
        return cls(np.zeros((0, 1), np.float32), vectors, vectors, np.zeros((0, 0, LOST)), np.zeros((0, CAUSE)))

    def __len__(self) -> int:
        return len(self.direction)

    def followed_by(self, later: Self) -> Self:
        """Return both; of too many the strongest in force, in their order."""
        if not len(self):
            return later
        routes = later.toward.shape[1]
        both = (np.concatenate([getattr(part, f.name) for part in (self.widened(routes), later)]) for f in fields(self))
        every = type(self)(*both)
        strength = np.where(every.in_force(), every.cause[:, TAKEN], -1.0)
        return every.only(np.sort(np.argsort(-strength, kind="stable")[:MOST]))

    def in_force(self) -> NDArray[np.bool_]:
        """Return (K,) which reductions are not lifted."""
        return np.asarray((self.lost[..., WEIGHT] > 0).any(axis=1), np.bool_)

    def only(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the reductions."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def widened(self, routes: int) -> Self:
        """Return the same with room for routes that are new."""
        if not len(self):
            return self
        more = ((0, 0), (0, routes - self.toward.shape[1]), (0, 0))
        return replace(self, **{name: np.pad(getattr(self, name), more) for name in ("toward", "told", "lost")})

    def narrowed(self, p: int) -> Self:
        """Return the same in the first ``p`` numbers of the basis."""
        if not len(self):
            return self
        return replace(
            self, direction=self.direction[:, :p].copy(), toward=self.toward[..., :p].copy(),
            told=self.told[..., :p].copy(),
        )  # fmt: skip

    def carried(self, m: Doubles) -> Self:
        """Return the same in another basis, φ_new ≈ φ_old·m: S·x is carried as x is, uᵀx stays."""
        if not len(self):
            return self
        direction = np.linalg.lstsq(m, self.direction.T.astype(np.float64), rcond=SMALL)[0].T
        return replace(
            self, direction=direction.astype(np.float32), toward=(self.toward @ m).astype(np.float32),
            told=(self.told @ m).astype(np.float32),
        )  # fmt: skip

    def first_after(self, events: RouteEvents) -> NDArray[np.intp]:
        """Return (n,) the first reduction that came after each event was learned; their number where none did."""
        return np.searchsorted(self.cause[:, AT], _learned(events), side="right")

    def added(self, sums: Statistics, entering: Iterable[tuple[int, Statistics]]) -> Self:
        """Add to ``sums``, in place, what the reductions leave of others; return these with what they take of those.

        Args:
            sums: of the router.
            entering: what is added, negative where events are taken out, each after the number of the reduction that it
                comes to first; in order.
        """
        changed = replace(self, told=self.told.astype(np.float64), lost=self.lost.copy(), cause=self.cause.copy())
        going, place = Statistics.empty(*sums.moment.shape), None
        for first, more in entering:
            changed._pass(going, range(first if place is None else place, first))
            _add(going, more)
            place = first
        changed._pass(going, range(len(self) if place is None else place, len(self)))
        _add(sums, going)
        return replace(changed, told=changed.told.astype(np.float32))

    def _pass(self, going: Statistics, through: range, losses: Mapping[int, Statistics] = MappingProxyType({})) -> None:
        """Take from sums, in place, what some reductions take, and add that to their own; ``losses`` join at theirs."""
        ends = np.searchsorted(self.cause[:, AT], self.cause[:, AT], side="right")
        for k in through:
            for route in np.flatnonzero(self.lost[k, :, WEIGHT]).tolist():
                self._take(k, route, going)
            if k in losses:
                _add(going, losses[k])
            if k + 1 == ends[k]:  # what is left there was noted after all reductions of a version
                for each in np.flatnonzero(ends == ends[k]).tolist():
                    route, u = int(self.cause[each, ROUTE]), self.direction[each].astype(np.float64)
                    self.cause[each, LEFT_THERE] += in_direction(going, route, u)

    def _take(self, k: int, route: int, going: Statistics) -> None:
        lost = self.lost[k, route]
        u, toward = self.direction[k].astype(np.float64), self.toward[k, route].astype(np.float64)
        if going.gram[route].any():
            gu = going.gram[route] @ u
            self.told[k, route] += gu
            if lost[WEIGHT] > 0:
                going.gram[route] -= _symmetric(toward, gu)
        moment, paid = float(u @ going.moment[route]), going.paid[route] @ u
        square = (1 - lost[SQUARE_LEFT]) * going.square[route]
        totals = (1 - lost[TOTALS_LEFT]) * going.totals[route]
        lost[MOMENT] += moment
        lost[PAID] += paid.ravel()
        lost[SQUARE] += square
        lost[TOTALS] += totals
        if lost[WEIGHT] < 0:
            return
        going.moment[route] -= moment * toward
        going.paid[route] -= paid[..., None] * toward
        going.square[route] -= square
        going.totals[route] -= totals

    def changed_by(
        self, phi: Floats, events: RouteEvents, mass: float, change: Doubles, held: NDArray[np.bool_]
    ) -> tuple[Self, NDArray[np.intp]]:
        """Return the reductions with the sums of the alarm as some events now raise it, and which these may decide.

        Those are all that the events came with, and earlier ones for which later events are the reason.

        Args:
            phi: (n, p) in the basis.
            events: (n,) retracted or revised.
            mass: 1 where they are retracted, 0 where only their quality changed.
            change: (n,) what their quality has lost.
            held: (K,) which reductions later events are, or may be, the reason for.
        """
        learned, cause = _learned(events), self.cause.copy()
        touched = []
        for k, (at, route) in enumerate(self.cause[:, [AT, ROUTE]].tolist()):
            rows = np.flatnonzero((learned >= at) & (events.route == route))
            a = np.maximum(phi[rows].astype(np.float64) @ self.direction[k], 0.0)
            later, a = a, np.where(learned[rows] == at, a, 0.0)
            if a.any() or (held[k] and later.any()):
                touched.append(k)
            cause[k, ALARMED] -= mass * a.sum(), a @ change[rows], mass * (a @ a)
        return replace(self, cause=cause), np.array(touched, np.intp)

    def turned(self, sums: Statistics, rows: NDArray[np.intp]) -> Self:
        """Lift some reductions, or those of them that are lifted put in force, and return all.

        What they took is added to ``sums``, in place, or what they take is taken, each as later ones leave it.
        """
        lost = self.lost.copy()
        lost[rows, :, WEIGHT] *= -1
        changed = replace(self, told=self.told.astype(np.float64), lost=lost, cause=self.cause.copy())
        going = Statistics.empty(*sums.moment.shape)
        changed._pass(going, range(len(self)), {k: self._loss(k) for k in rows.tolist()})
        _add(sums, going)
        sums.totals[:, 0], sums.totals[:, 1] = sums.gram[:, 0, 0], sums.moment[:, 0]
        return replace(changed, told=changed.told.astype(np.float32))

    def _loss(self, k: int) -> Statistics:
        """Return what a reduction took of all routes; of one that is lifted, negative, what it would take."""
        lost = self.lost[k] * (1.0 if self.in_force()[k] else -1.0)
        toward = self.toward[k].astype(np.float64)
        told = self.told[k].astype(np.float64) * (1.0 if self.in_force()[k] else -1.0)
        gram = [_symmetric(*vectors) for vectors in zip(toward, told, strict=True)]
        paid = lost[:, PAID].reshape(-1, 2, 2, 1) * toward[:, None, None]
        return Statistics(np.array(gram), lost[:, [MOMENT]] * toward, lost[:, SQUARE], lost[:, TOTALS], paid)

    def events_of(self, sums: Statistics) -> Doubles:
        """Return (R,) how many events of each route stand, whole or in part."""
        taken = self.toward[..., 0].astype(np.float64) * self.told[..., 0] * (self.lost[..., WEIGHT] > 0)
        return np.asarray(sums.gram[:, 0, 0] + taken.sum(axis=0), np.float64)

    def seen(self, sums: Statistics) -> Statistics:
        """Return sums as they are solved: those of some events in full and of others in part need be none of any.

        Where nothing was forgotten they are returned as they are.
        """
        if not len(self):
            return sums
        totals, gram, moment = sums.totals.copy(), sums.gram.copy(), sums.moment.copy()
        totals[:, 0] = np.clip(gram[:, 0, 0], 0.0, np.maximum(self.events_of(sums), 0.0))
        for route in self._in_part().tolist():
            gram[route], moment[route] = _possible(gram[route], moment[route], float(totals[route, 0]))
        totals[:, 1] = np.clip(moment[:, 0], 0.0, totals[:, 0])
        totals[:, 2:] = np.maximum(totals[:, 2:], 0.0)
        square = np.clip(sums.square, 0.0, totals[:, 1])
        return sums._replace(gram=gram, moment=moment, square=square, totals=totals)

    def _in_part(self) -> NDArray[np.intp]:
        """Return the routes of which events were taken out, or came back, that reductions were told of."""
        whole = self.toward * np.abs(self.lost[..., [WEIGHT]])
        apart = np.abs(self.told - whole).max(axis=2) > CHANGED * np.abs(whole).max(axis=2)
        return np.flatnonzero(apart.any(axis=0))

    def without_routes(self, gone: NDArray[np.bool_]) -> Self:
        """Return the same for routes of which those ``gone`` (R,) are as if they had never been tried."""
        toward, told, lost = self.toward.copy(), self.told.copy(), self.lost.copy()
        toward[:, gone], told[:, gone], lost[:, gone] = 0.0, 0.0, 0.0
        return replace(self, toward=toward, told=told, lost=lost).only(np.flatnonzero(lost[:, :, WEIGHT].any(axis=1)))


def _learned(events: RouteEvents) -> NDArray[np.int64]:
    if events.learned is None:
        return np.full(len(events), UNKNOWN)
    return events.learned.astype(np.int64)


def _add(sums: Statistics, more: Statistics) -> None:
    for have, each in zip(sums, more, strict=True):
        have += each


def _possible(gram: Doubles, moment: Doubles, count: float) -> tuple[Doubles, Doubles]:
    """Return the nearest Gram matrix (p, p) and moment (p,) that ``count`` events with a quality in [0, 1] can have.

    With t = m - g₀/2 the quadratic form of (x, q - 1/2) is positive, and its last entry at most a quarter of the count.
    """
    if not count:
        return np.zeros_like(gram), np.zeros_like(moment)
    apart = (moment - 0.5 * gram[0])[:, None]
    form = np.block([[gram, apart], [apart.T, np.array([[0.25 * count]])]])
    try:
        np.linalg.cholesky(form + IMPOSSIBLE * float(np.trace(gram)) * np.eye(len(form)))
        return gram, moment
    except np.linalg.LinAlgError:
        value, vector = np.linalg.eigh(form)
    form = (vector * np.maximum(value, 0.0)) @ vector.T
    form *= count / form[0, 0]
    return form[:-1, :-1], form[:-1, -1] + 0.5 * form[0, :-1]


def _symmetric(left: Doubles, right: Doubles) -> Doubles:
    product = np.outer(left, right)
    return 0.5 * (product + product.T)


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
