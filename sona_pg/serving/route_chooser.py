"""Choosing a route: the router's decision under a budget that one server keeps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.domain.answer import Decision
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.kernels import RouterBlock, is_direction, prices_of
from sona_pg.learning.routing.cost_shifts import CostShifts
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.pacing import BudgetPacer
from sona_pg.learning.routing.route_shifts import RouteShifts
from sona_pg.learning.routing.router import Utility
from sona_pg.learning.routing.router_basis import SKETCH_WIDTH, reduce_width
from sona_pg.learning.routing.router_prepared import prepared_router
from sona_pg.learning.vectors import unit
from sona_pg.limits import MAX_FEATURES
from sona_pg.serving.arguments import as_direction
from sona_pg.serving.candidate_sets import KEPT_SETS, KeepSet, NamedSets
from sona_pg.serving.space_budget import SpaceBudget
from sona_pg.serving.spending import Booking

KEPT_PACERS = 64  # budgets with a pacer in a server's cache


class _ReadyRouter(NamedTuple):
    """A router prepared for decisions."""

    router: Router
    shown: Router  # the same with what its routes have shown lately
    block: RouterBlock
    rows: dict[tuple[str, ...], NDArray[np.int64]]  # rows of the block, for recent candidates


class RouteChooser:
    """State between decisions: the random stream, and a pacer for each budget."""

    def __init__(self, seed: int, keep: KeepSet) -> None:
        """Start with nothing spent; ``keep`` is called with every new set of routes."""
        self._named = NamedSets("route", keep)
        self._rng = draws(seed)  # has a lock of its own
        self._pacers: OrderedDict[float, BudgetPacer] = OrderedDict()
        self.lock = threading.RLock()  # of the pacers; a signal handler may interrupt a decision to end a trajectory
        self.space_budget = SpaceBudget(self.lock)
        self._shifts = RouteShifts()
        self._cost_shifts = CostShifts()
        self._ready: _ReadyRouter | None = None  # replaced by one assignment, so threads may race

    def choose(
        self,
        router: Router,
        version: int,
        query: ArrayLike,
        candidates: Sequence[str],
        *,
        features: NDArray[np.float32] | None,
        costs: Mapping[str, float] | None,
        budget: float | None,
        cost_weight: float,
        latency_weight: float,
    ) -> Decision:
        """Return the decision; see ``SonaEngine.route``.

        Raises:
            InvalidValue: there is no candidate, one is named twice, a cost that is needed is missing, or the cheapest
                routes cost more than the budget.
        """
        named = self._named.number(candidates)
        names = named.ids
        prices = None if costs is None else _prices(names, costs)
        if cost_weight or latency_weight:
            Utility(cost=cost_weight, latency=latency_weight)  # validates the weights
        ready = self._ready
        if ready is None or ready.router is not router:
            ready = self._ready = self._made_ready(router)
        told = self._checked(router, features)
        vector = _direction(query, router.state.dim)
        rows = ready.rows.get(names)
        if rows is None:
            rows = _rows(ready, names)
        of_space = self.space_budget.pacer if budget is None else None
        costs_count = budget is not None or of_space is not None or cost_weight > 0
        knows_costs = prices is not None or (costs_count and ready.router.state.knows_costs(rows))
        if not knows_costs and (budget is not None or cost_weight > 0):
            raise InvalidValue(
                "costs of all candidates are needed for a budget or a cost weight, until a cycle has learned the real "
                "costs that trajectories ended with"
            )
        weights = (cost_weight, latency_weight / 1e6)
        pacer = move = None
        if budget is None and of_space is None:
            made = ready.block.decide(vector, told, rows, prices, 0.0, None, *weights, self._draw(names))
        else:
            with self.lock:
                pacer = of_space or self._pacer(budget, names, prices)
                price, stake = (pacer.price(), pacer.stake) if knows_costs else (0.0, None)
                made = ready.block.decide(vector, told, rows, prices, price, stake, *weights, self._draw(names))
                if made is not None:
                    if knows_costs:
                        pacer.record(made[4], made[5], made[5][made[0]])
                    else:  # a space's budget waits for the first real costs, which count
                        pacer.note()
                    if of_space is not None:
                        self.space_budget.repace()
                        move = self.space_budget.mover()
        if made is None:
            raise InvalidValue("x points in no direction once it is reduced to the router's width: check the embedder")
        place, propensity, reason, scores, _, booked, *_ = made
        chosen, cost = names[place], booked[place] if knows_costs else 0.0
        expected, listed = scores[place] - self._shifts.shown(chosen), cost / self._cost_shifts.factor(chosen)
        return Decision(
            chosen,
            propensity,
            dict(zip(names, scores, strict=True)),
            version,
            reason,
            named.number,
            None if prices is None else prices[place],
            features,
            Booking(pacer, self.lock, cost, self._judge, chosen, router, expected, self._price, listed, move),
        )

    def _made_ready(self, router: Router) -> _ReadyRouter:
        with self.lock:
            self._shifts.follow(router)
            shown = self._cost_shifts.applied(self._shifts.applied(router))
            shifted = self._shifts.shifted(router)
        return _ReadyRouter(router, shown, prepared_router(shown.state, shifted=shifted), {})

    def _judge(self, route: str, router: Router, expected: float, quality: float) -> None:
        """Compare the quality of a route with what ``router`` expected, under the lock."""
        if self._shifts.tell(route, quality - expected, route in router.index):
            self._ready = None

    def _price(self, route: str, expected: float, cost: float) -> None:
        """Compare the real cost of a route with the expected one, under the lock."""
        if self._cost_shifts.tell(route, expected, cost):
            self._ready = None

    def _draw(self, names: Sequence[str]) -> float:
        """Return a number in [0, 1) of the stream; an only candidate takes none."""
        return self._rng.random() if len(names) > 1 else 0.0

    def _checked(self, router: Router, features: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Return the features of the router's width; None if it has learned without features."""
        if features is None:
            return None
        if len(features) > MAX_FEATURES:
            raise InvalidValue(f"{len(features)} features: expected at most {MAX_FEATURES}")
        if router.width not in (0, len(features)):
            raise DimensionMismatch(router.width, len(features), "features")
        return features if router.width else None

    def _pacer(self, budget: float | None, names: Sequence[str], prices: Sequence[float] | None) -> BudgetPacer:
        """Return the pacer of a budget given by a call; of a space's, the cheapest route is taken where none fits."""
        assert budget is not None
        pacer = self._pacers.get(budget) or BudgetPacer(budget)
        # A mean: a single call may cost more where others cost less.
        if prices is not None and min(prices) > budget and pacer.least_mean(prices) > budget:
            cheapest = prices.index(min(prices))
            raise InvalidValue(
                f"budget {budget!r} cannot be kept: the cheapest route {names[cheapest]!r} costs "
                f"{prices[cheapest]:g}; raise the budget, or offer a cheaper route"
            )
        self._pacers[budget] = pacer
        self._pacers.move_to_end(budget)
        while len(self._pacers) > KEPT_PACERS:
            self._pacers.popitem(last=False)
        return pacer


def draws(seed: int) -> np.random.Generator:
    """Return the random numbers of decisions; seed 0 is another stream in each process and engine."""
    return np.random.default_rng(seed or None)


def _prices(names: tuple[str, ...], costs: Mapping[str, float]) -> tuple[float, ...]:
    prices = prices_of(names, costs)
    if prices is not None:
        return prices
    missing = [name for name in names if name not in costs]
    if missing:
        raise InvalidValue(f"costs has no entry for {', '.join(map(repr, missing))}: expected one for every candidate")
    for name in names:
        if not isinstance(costs[name], int | float | np.number) or not 0 <= costs[name] < np.inf:
            raise InvalidValue(f"costs[{name!r}] is {costs[name]!r}: expected a finite number, 0 or more")
    return tuple(float(costs[name]) for name in names)


def _direction(query: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Return ``query`` checked, and reduced to the router's width."""
    if dim <= SKETCH_WIDTH and isinstance(query, np.ndarray) and is_direction(query, dim):
        return query
    row = as_direction(query, dim, "x")[None, :]
    narrow: NDArray[np.float32] = (reduce_width(row) if dim > SKETCH_WIDTH else unit(row))[0]
    return narrow


def _rows(ready: _ReadyRouter, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the rows of the candidates in the router's arrays, and cache them."""
    rows = np.asarray(ready.shown.state.rows_of(ready.shown.known(names)), np.int64)
    if len(ready.rows) >= KEPT_SETS:
        ready.rows.clear()
    ready.rows[names] = rows
    return rows
