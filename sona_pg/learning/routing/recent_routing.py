"""Routing by feedback that no version has learned yet: the posterior of the routes it is about, given what they share.

By Bayes' rule on the version's own statistics, with the effect that all routes share held fixed: what a cycle will
learn, before it does, at the cost of the new events alone. A version without a basis gets one whose landmarks are the
judged queries themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_basis import LENGTH, Basis, Doubles, Floats, kernel, reduce_width
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_posterior import BIAS_ROUTE, steadied

USUAL_DISTANCE = 1.6  # squared, between the embeddings of two queries
MOST_LANDMARKS = 64  # of a version without a basis: the latest queries
LEAST_EIGENVALUE = 1e-4


class RecentRouting:
    """The router of one version, moved by judged decisions. Not safe for threads at once."""

    def __init__(self, router: Router) -> None:
        """Start from what a version says."""
        self._router = router
        self._covariance: dict[int, Doubles] = {}  # of the routes judged so far, as the version knows them

    def weighed(self, names: Sequence[str], events: RouteEvents, before: Floats) -> Router:
        """Return the router with judged decisions.

        Args:
            names: of the routes that the events number.
            events: the decisions; features of another number than the router's count as unknown.
            before: (n,) the quality that the version has learned of each, NaN where it has learned none.
        """
        router, width = self._router, self._router.width
        basis, state = router.state.basis, router.state
        if not basis.width:
            basis = _local_basis(events.query)
            state = _widened(state, basis)
        index = dict(router.index)
        known = list(router.names[: state.route_count])
        for name in names:
            if name not in index or index[name] >= state.route_count:
                index[name] = len(known)
                known.append(name)
        state = _with_room(state, len(known))
        features = events.features
        if width == 0 or features is None or features.shape[1] != width:
            features = None
        phi = basis(events.query, features).astype(np.float64)
        rows = np.array([index[name] for name in names], np.int64)[events.route]
        weights, variance, totals = state.weights.copy(), state.variance.copy(), state.totals.copy()
        for row in np.unique(rows).tolist():
            mine = rows == row
            quality, told = events.quality[mine].astype(np.float64), before[mine].astype(np.float64)
            mean, spread = self._posterior(state, row, phi[mine], quality, told)
            weights[row], variance[row] = mean, spread
            fresh = np.isnan(told)
            totals[row, :2] += fresh.sum(), quality.sum() - np.nansum(told)
        state = dataclasses.replace(state, weights=weights, variance=variance, totals=totals)
        return Router(state, tuple(known), index)

    def _posterior(
        self, state: RouterState, row: int, phi: Doubles, quality: Doubles, before: Doubles
    ) -> tuple[Doubles, Doubles]:
        """Return the mean and the variances of a route's weights after its events, (p,) each."""
        covariance = self._covariance_of(state, row)
        mean = state.weights[row].astype(np.float64)
        revised = np.isfinite(before)
        if revised.any():
            mean = mean + covariance @ ((quality - before)[revised] @ phi[revised]) / state.noise
        fresh, quality = phi[~revised], quality[~revised]
        if not len(fresh):
            return mean, np.diag(covariance)
        spread = fresh @ covariance  # (n, p)
        gain = np.linalg.solve(spread @ fresh.T + state.noise * np.eye(len(fresh)), spread)  # (n, p)
        mean = mean + (quality - fresh @ mean) @ gain
        return mean, np.maximum(np.diag(covariance) - np.einsum("np,np->p", spread, gain), 1e-9)

    def _covariance_of(self, state: RouterState, row: int) -> Doubles:
        p = state.weights.shape[1]
        known = self._covariance.get(row)
        if known is None or len(known) != p:
            inner = np.concatenate([[1 / BIAS_ROUTE], np.full(p - 1, 1 / state.prior_route)])
            if row < len(state.gram):
                precision = steadied(state.gram_of(row)) / state.noise + np.diag(inner)
                known = np.asarray(np.linalg.inv(precision), np.float64)
            else:
                known = np.diag(1 / inner)
            self._covariance[row] = known
        return known


def _local_basis(query: Floats) -> Basis:
    """Return a basis around judged queries (n, dim), the latest of them."""
    rows = reduce_width(query)[::-1]
    _, first = np.unique(rows, axis=0, return_index=True)
    marks = rows[np.sort(first)[:MOST_LANDMARKS]]
    length = LENGTH * USUAL_DISTANCE
    value, vector = np.linalg.eigh(kernel(marks, marks, length).astype(np.float64))
    keep = np.flatnonzero(value > LEAST_EIGENVALUE * value[-1])[::-1]
    transform = (vector[:, keep] / np.sqrt(value[keep])).astype(np.float32)
    none = np.zeros(0, np.float32)
    return Basis(np.ascontiguousarray(marks), transform, none, none, none, length, 1.0)


def _widened(state: RouterState, basis: Basis) -> RouterState:
    """Return a state that knows the means of its routes alone, in a basis."""
    more = ((0, 0), (0, basis.width))
    return dataclasses.replace(
        state,
        basis=basis,
        gram=np.pad(state.gram, ((0, 0), (0, basis.width), (0, basis.width))),
        moment=np.pad(state.moment, more),
        paid=np.pad(state.paid, ((0, 0), (0, 0), *more)),
        weights=np.pad(state.weights, more),
        variance=np.pad(state.variance, more, constant_values=state.prior_route),
        cost_weights=np.pad(state.cost_weights, ((0, 0), *more)),
    )


def _with_room(state: RouterState, routes: int) -> RouterState:
    """Return a state with rows for new routes, which it expects of what it does of any unknown one."""
    new = routes - state.route_count
    if not new:
        return state
    unknown = [state.route_count] * new
    return dataclasses.replace(
        state,
        totals=np.pad(state.totals, ((0, new), (0, 0))),
        weights=np.concatenate([state.weights[:-1], state.weights[unknown], state.weights[-1:]]),
        variance=np.concatenate([state.variance[:-1], state.variance[unknown], state.variance[-1:]]),
        cost_weights=np.concatenate(
            [state.cost_weights[:, :-1], state.cost_weights[:, unknown], state.cost_weights[:, -1:]], axis=1
        ),
        least=np.concatenate([state.least[:, :-1], state.least[:, unknown], state.least[:, -1:]], axis=1),
    )
