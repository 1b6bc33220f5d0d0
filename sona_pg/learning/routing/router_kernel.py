"""Chooses the kernel of a router's basis: Gaussian, or half of it linear in the embedding.

A linear part learns outcomes that are linear in many coordinates from fewer events; for the sign of a product of two
coordinates it needs many times as many. The marginal likelihood of the router's own model tells which. Both are
compared at each doubling of the events, the linear one also in a wider basis: in queries without a low-rank structure
the usual width leaves out a third of what a linear part could learn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sona_pg.learning.routing import router_basis, router_posterior
from sona_pg.learning.routing.router_basis import Basis, Landmarks
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import NOISE, TUNED_ROUTES, Statistics
from sona_pg.learning.routing.router_sums import add_events

LINEAR = 0.5  # share of the linear kernel: benchmarks/eval/EVIDENCE.md
FIRST_COMPARED = 1000  # events; fewer hardly tell kernels apart
COMPARED = 4096  # events at most, which bounds the cost
MARGIN = 2.0  # nats by which another kernel must beat the present one
LEFT_OUT = 0.5  # a wider basis costs a decision more, and gains only where the usual one leaves out more of the queries
# At the best of these they are compared: prior variances, shared and of each route; noise in variances of the quality.
PRIORS = (0.05, 0.02), (0.0125, 0.005), (0.0125, 0.08)
NOISES = 1.0, 0.7


class Widths(NamedTuple):
    """Most numbers in a basis."""

    usual: int
    linear: int  # where the events are more likely in a wider basis with a linear part


def is_compared(compared_at: float, folded: float, readable: int) -> bool:
    """Return whether kernels are due to be compared after ``folded`` events, of which so many are readable."""
    return folded >= 2 * compared_at and readable >= FIRST_COMPARED


def best_basis(
    present: Basis, pool: RouteEvents, landmarks: int, widths: Widths, seed: int, *, due: bool, compared: bool
) -> Basis:
    """Return ``present``, or a basis with landmarks of the pool: if one is ``due``, or another kernel likelier.

    Kernels are ``compared`` on the same landmarks, so that these decide nothing. Deterministic for its arguments.
    """
    drawn = router_basis.draw_landmarks(pool.query, pool.features, pool.route, pool.quality, landmarks, seed)
    own = _kind(present, widths)
    same = drawn.basis(widths.linear if own.wide else widths.usual, own.linear)
    best = same if due else present
    if not compared:
        return best
    events = _busiest(pool[np.random.default_rng(seed).permutation(len(pool))[:COMPARED]])
    likeliest = _log_evidence(same, events) + MARGIN
    for other in _candidates(drawn, widths):
        if _kind(other, widths) != own:
            likely = _log_evidence(other, events)
            if likely > likeliest:
                best, likeliest = other, likely
    return best


class _Kind(NamedTuple):
    linear: float
    wide: bool


def _kind(basis: Basis, widths: Widths) -> _Kind:
    return _Kind(basis.linear, basis.linear > 0 and basis.width > widths.usual)


def _candidates(drawn: Landmarks, widths: Widths) -> list[Basis]:
    linear = drawn.basis(widths.usual, LINEAR)
    bases = [drawn.basis(widths.usual), linear]
    return [*bases, drawn.basis(widths.linear, LINEAR)] if linear.unexplained > LEFT_OUT else bases


def _busiest(events: RouteEvents) -> RouteEvents:
    """Return the qualities of the routes that have most events, numbered anew."""
    count = np.bincount(events.route)
    kept = np.flatnonzero(count)[np.argsort(-count[count > 0], kind="stable")][:TUNED_ROUTES]
    events = events[np.flatnonzero(np.isin(events.route, kept))]
    route = np.searchsorted(np.sort(kept), events.route).astype(np.int32)
    return RouteEvents(events.query, route, events.quality, events.features, weight=events.weight)


def _log_evidence(basis: Basis, events: RouteEvents) -> float:
    """Return the log marginal likelihood of events at the best variances, up to a constant."""
    sums = add_events(Statistics.empty(int(events.route.max()) + 1, basis.width + 1), basis, events)
    count, total = sums.totals[:, :2].sum(axis=0)
    squares = float(sums.square.sum() - total + 0.25 * count)  # around 1/2
    usual = max(float(events.quality.var()), NOISE[0])

    def at(main: float, route: float, noise: float) -> float:
        given = router_posterior.given_shared(sums, route, noise, with_evidence=True)
        fitted = router_posterior.solve(sums, main, route, noise, given).evidence
        return fitted - 0.5 * float(count * np.log(noise) + squares / noise)

    return max(at(*prior, share * usual) for prior in PRIORS for share in NOISES)
