"""Choosing a route: the router's decision under a budget that one server keeps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.answer import Decision
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.pacing import BudgetPacer
from sona_pg.learning.routing.router import Utility, decide
from sona_pg.learning.vectors import unit
from sona_pg.limits import MAX_FEATURES
from sona_pg.serving.candidate_sets import KeepSet, NamedSets

KEPT_PACERS = 64  # budgets whose spending a server remembers at a time


class RouteChooser:
    """Keeps what decisions need between them: the random stream, and a pacer for each budget."""

    def __init__(self, seed: int, keep: KeepSet) -> None:
        """Start with nothing spent; ``keep`` is told of every set of routes that is met for the first time."""
        self._named = NamedSets("route", keep)
        self._rng = np.random.default_rng(seed or None)
        self._pacers: OrderedDict[float, BudgetPacer] = OrderedDict()
        self._lock = threading.Lock()

    def choose(
        self,
        router: Router,
        version: int,
        query: NDArray[np.float32],
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
        prices = _prices(names, costs, budget is not None or cost_weight > 0)
        routes = router.known(names)
        if features is not None and len(features) > MAX_FEATURES:
            raise InvalidValue(f"{len(features)} features: expected at most {MAX_FEATURES}")
        if features is not None and router.width not in (0, len(features)):
            raise DimensionMismatch(router.width, len(features), "features")
        with self._lock:
            pacer = None if budget is None or prices is None else self._pacer(budget, names, prices)
            choice = decide(
                router.state,
                unit(query),
                routes,
                self._rng,
                features=features if router.width else None,
                costs=prices,
                price=0.0 if pacer is None else pacer.price(),
                budget=budget,
                utility=Utility(cost=cost_weight, latency=latency_weight / 1e6),
            )
            place = int(np.flatnonzero(routes == choice.route)[0])
            if pacer is not None and prices is not None:
                pacer.record(choice.values, prices, prices[place])
        return Decision(
            route=names[place],
            propensity=float(choice.propensity),
            scores={name: float(score) for name, score in zip(names, choice.scores, strict=True)},
            version=version,
            reason=choice.reason,
            cost=None if prices is None else float(prices[place]),
            features=features,
            candidate_set=named.number,
        )

    def _pacer(self, budget: float, names: Sequence[str], prices: NDArray[np.float64]) -> BudgetPacer:
        pacer = self._pacers.get(budget) or BudgetPacer(budget)
        # A mean: a single call may cost more where others cost less.
        if prices.min() > budget and pacer.least_mean(prices) > budget:
            cheapest = int(prices.argmin())
            raise InvalidValue(
                f"budget={budget!r} cannot be kept: the cheapest route {names[cheapest]!r} costs "
                f"{prices[cheapest]:g}; raise the budget, or offer a cheaper route"
            )
        self._pacers[budget] = pacer
        self._pacers.move_to_end(budget)
        while len(self._pacers) > KEPT_PACERS:
            self._pacers.popitem(last=False)
        return pacer


def _prices(names: Sequence[str], costs: Mapping[str, float] | None, needed: bool) -> NDArray[np.float64] | None:
    if costs is None:
        if needed:
            raise InvalidValue("a budget or a cost weight needs costs={route: cost, …} for every candidate")
        return None
    missing = [name for name in names if name not in costs]
    if missing:
        raise InvalidValue(f"costs has no entry for {', '.join(map(repr, missing))}: expected one for every candidate")
    for name in names:
        if not isinstance(costs[name], int | float | np.number) or not 0 <= costs[name] < np.inf:
            raise InvalidValue(f"costs[{name!r}] is {costs[name]!r}: expected a finite number, 0 or more")
    return np.array([costs[name] for name in names], np.float64)
