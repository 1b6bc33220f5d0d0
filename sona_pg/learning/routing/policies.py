"""Policies for off-policy evaluation: (n, k) probabilities of every route at every logged decision.

A model must not be evaluated on outcomes it was trained on. Predictions are therefore made in consecutive folds, each
by a router trained on earlier events only (cross-fitting, Chernozhukov et al. 2018; folds in order of time as in
progressive validation, Blum, Kalai and Langford 1999).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import InvalidValue
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import FIRST_BASIS, RouterConfig, fit

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

FOLDS = 5
REPLAY = 4096  # earlier events replayed when a fold's router is fitted, as in a cycle


@dataclass(frozen=True, slots=True, eq=False)
class DecisionLog:
    """n judged decisions in order of time, over k routes."""

    events: RouteEvents  # with propensities; routes numbered from 0 to k - 1
    offered: Flags  # (n, k) which routes were candidates
    costs: Doubles  # (k,) NaN where unknown

    def __len__(self) -> int:
        return len(self.events)


def first_judged(log: DecisionLog, start: int) -> int:
    """Return the first row to evaluate: ``start``, or the end of the first fifth if too few events precede it."""
    enough = max(FIRST_BASIS, (len(log) - start) // (FOLDS - 1))
    return start if start >= enough else max(start, len(log) // FOLDS)


def cross_fitted(log: DecisionLog, start: int, config: RouterConfig, seed: int) -> Doubles:
    """Return the expected quality (n, k) of every route from row `start` on, NaN before it, clipped to [0, 1].

    Each fold is predicted by a router fitted to earlier events only.
    """
    events = log.events
    routes = np.arange(log.offered.shape[1])
    expected = np.full(log.offered.shape, np.nan)
    state = RouterState.initial(events.query.shape[1], seed)
    bounds = np.linspace(start, len(log), FOLDS + 1).astype(int)
    learned = 0
    for first, last in itertools.pairwise(bounds):
        if first > learned:
            replay = events[slice(max(0, learned - REPLAY), learned)]
            state, learned = fit(state, events[slice(learned, first)], replay, config, seed), first
        part = slice(first, last)
        if last > first:
            features = None if events.features is None else events.features[part]
            known = features if len(state.basis.feature_mean) else None
            expected[part] = np.clip(state.predict(events.query[part], known, routes), 0, 1)
    return expected


def always(log: DecisionLog, route: int) -> Doubles:
    """Return the policy (n, k) that takes `route` where it was offered; rows of 0 elsewhere."""
    chosen = np.zeros(log.offered.shape)
    chosen[:, route] = log.offered[:, route]
    return chosen


def greedy(log: DecisionLog, expected: Doubles, price: float = 0.0) -> Doubles:
    """Return the policy (n, k) that takes the offered route of largest expected quality - price·cost."""
    net = expected if price == 0 else expected - price * log.costs
    chosen = np.zeros(log.offered.shape)
    chosen[np.arange(len(log)), np.where(log.offered, net, -np.inf).argmax(axis=1)] = 1.0
    return chosen


def unconditional(log: DecisionLog, expected: Doubles) -> Doubles:
    """Return for every decision (n, k) the mean expected quality of each route, over the decisions that offered it.

    A budget spent by it takes routes in constant shares, whatever is asked: what a choice by the question has to beat.
    """
    count = log.offered.sum(axis=0)
    means = np.where(log.offered, expected, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.broadcast_to(means, expected.shape)


def cheapest(log: DecisionLog) -> float:
    """Return the mean cost of the cheapest offered routes: no budget below it can be kept."""
    return float(np.where(log.offered, log.costs, np.inf).min(axis=1).mean())


def budgeted(log: DecisionLog, expected: Doubles, budget: float) -> Doubles:
    """Return the greedy policy (n, k) at the price of cost for which the mean cost equals `budget`.

    Bisection on costs and predictions finds the price; outcomes are not used. Where the cost jumps past the budget, the
    policies on both sides are mixed.

    Raises:
        InvalidValue: a cost is unknown, or the budget is below the cheapest routes.
    """
    if not np.isfinite(log.costs).all():
        raise InvalidValue("a budget needs what every route costs: none was logged with the decisions, so pass costs")

    def cost(policy: Doubles) -> float:
        return float((policy @ log.costs).mean())

    cheap_price, dear_price = 1.0, 0.0
    dear = greedy(log, expected)
    if cost(dear) <= budget:
        return dear
    least = cheapest(log)
    if least > budget:
        raise InvalidValue(f"budget={budget:g} is below {least:g}, the mean cost of the cheapest routes")
    while cost(greedy(log, expected, cheap_price)) > max(budget, least + 1e-12):
        cheap_price *= 2
    for _ in range(60):
        price = (cheap_price + dear_price) / 2
        if cost(greedy(log, expected, price)) <= budget:
            cheap_price = price
        else:
            dear_price = price
    cheap, dear = greedy(log, expected, cheap_price), greedy(log, expected, dear_price)
    spread = cost(dear) - cost(cheap)
    share = (budget - cost(cheap)) / spread if spread > 0 else 0.0
    return (1 - share) * cheap + share * dear
