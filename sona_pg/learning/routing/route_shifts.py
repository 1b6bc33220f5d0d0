"""Sudden changes of a route's quality, noticed by one server before a cycle can learn them.

For each route a short exponential mean of its residuals: quality less what was expected. Once the mean is too far from
0 to be chance, it is added to what is expected of the route, and the route counts as little known again: it is explored
more, without a budget by a share of its own (`exploration.AGAIN`), by which its recovery is noticed. A route that no
version knows yet is judged in the same way. Residuals are those of the router that decides, so what a later version or
recent evidence has learned leaves them at once. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict

import numpy as np

from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router_basis import Doubles
from sona_pg.learning.routing.router_curve import STRAIGHT

MEMORY, SHORT_MEMORY = 40.0, 15.0  # observations of the mean, usually and while a route is shifted
FEWEST = 6  # observations that can be no chance
ALARM, OVER = 4.0, 1.0  # standard errors at which a shift begins, and below which it ends
SPREAD = 0.04, 100.0  # least variance of a residual at first, and observations over which it is measured
STEP = 0.02  # of quality: less does not change decisions
DOUBTED = 10.0  # observations that a shifted route counts as
POOR, KNOWN_POOR = 3.0, 500.0  # standard errors below the expectation; observations that such a newcomer counts as
NEWCOMER = 5.0  # observations for which the expectation of an unknown route counts
MOST = 1024  # routes


@dataclasses.dataclass(slots=True)
class _Residuals:
    count: float = 0.0
    mean: float = 0.0
    variance: float = SPREAD[0]
    shifted: bool = False
    shown: float = 0.0  # shift that decisions have
    shown_count: float = 0.0
    level: float | None = (
        None  # what the router that decides expects of a usual query; None: it does not know the route
    )

    @property
    def errors(self) -> float:
        """The mean in its standard errors."""
        return self.mean * math.sqrt(self.count / max(self.variance, 1e-4))

    @property
    def poor(self) -> bool:
        """Whether it is worse than expected, beyond chance."""
        return self.errors < -POOR


class RouteShifts:
    """Residuals of the routes that one server has taken lately. Not safe for threads at once."""

    def __init__(self) -> None:
        """Start without any."""
        self._routes: OrderedDict[str, _Residuals] = OrderedDict()
        self._router: Router | None = None  # which decides
        self._usual: Doubles | None = None  # (p,) mean query in its basis
        self._noise = SPREAD[0]  # variance of the first residuals

    def shown(self, route: str) -> float:
        """Return the shift that decisions have of a route."""
        known = self._routes.get(route)
        return known.shown if known is not None else 0.0

    def follow(self, router: Router) -> None:
        """Turn the residuals into those of ``router``, which decides from now on."""
        state = router.state
        seen = float(state.gram[:, 0, 0].sum())
        self._router, self._noise = router, max(state.noise, SPREAD[0])
        self._usual = state.gram[:, 0].sum(axis=0, dtype=np.float64) / seen if seen > 0 else None
        for name, told in self._routes.items():
            before, told.level = told.level, self._level(name)
            if before is not None and told.level is not None:
                told.mean += before - told.level

    def _level(self, route: str) -> float | None:
        """Return what is expected of a route on a usual query, without a shift; None if nothing is known of it."""
        if self._router is None or self._usual is None:
            return None
        row = self._router.index.get(route, len(self._router.state.gram))
        return float(self._router.state.weights[row] @ self._usual) if row < len(self._router.state.gram) else None

    def shifted(self, router: Router) -> list[int]:
        """Return the routes that ``router`` knows and whose shift decisions have."""
        shown = (router.index.get(name) for name, told in self._routes.items() if told.shifted and told.shown)
        return [row for row in shown if row is not None and row < router.state.route_count]

    def tell(self, route: str, residual: float, known: bool) -> bool:
        """Take a residual of a route; return whether decisions must be made anew by ``applied``.

        Args:
            route: its name.
            residual: quality less expectation, without a shift.
            known: whether the version that decides knows the route.
        """
        told = self._routes.get(route)
        if told is None:
            told = self._routes[route] = _Residuals(level=self._level(route), variance=self._noise)
        self._routes.move_to_end(route)
        while len(self._routes) > MOST:
            self._routes.popitem(last=False)
        told.count = min(told.count + 1, SHORT_MEMORY if told.shifted else MEMORY)
        apart = residual - told.mean
        told.mean += apart / told.count
        told.variance += (min(apart * apart, 1.0) - told.variance) / SPREAD[1]
        errors = abs(told.errors)
        told.shifted = errors > OVER if told.shifted else told.count >= FEWEST and errors > ALARM
        if not known:
            return told.count - told.shown_count >= 3 or told.poor
        return abs((told.mean if told.shifted else 0.0) - told.shown) > STEP

    def applied(self, router: Router) -> Router:
        """Return ``router`` as decisions are to see it now; its sums are not those of what it expects."""
        state = router.state
        names = list(router.names[: state.route_count])
        weights, totals, variance = state.weights.copy(), state.totals.copy(), state.variance.copy()
        changed = False
        fresh: list[tuple[str, _Residuals]] = []
        for name, told in self._routes.items():
            row = router.index.get(name)
            if row is None:
                fresh.append((name, told))
                continue
            if row >= state.route_count:  # none of its events could be learned
                continue
            told.shown = told.mean if told.shifted else 0.0
            if told.shown:
                weights[row, 0] += told.shown
                totals[row, 0] = min(totals[row, 0], DOUBTED)
                variance[row, 0] += told.shown * told.shown
                changed = True
        if not fresh or not state.basis.width:
            # The curve sizes differences by how hard a question is for all: one broken route must not move the others.
            seen = dataclasses.replace(state, weights=weights, totals=totals, variance=variance, curve=STRAIGHT)
            return dataclasses.replace(router, state=seen) if changed else router
        rows = [state.route_count] * len(fresh)
        more = weights[rows].copy()
        counts = np.zeros((len(fresh), totals.shape[1]))
        for place, (name, told) in enumerate(fresh):
            told.shown = told.mean * told.count / (told.count + NEWCOMER)
            told.shown_count = told.count
            more[place, 0] += told.shown
            counts[place, 0] = KNOWN_POOR if told.poor else told.count
            names.append(name)
        grown = dataclasses.replace(
            state,
            curve=STRAIGHT if changed else state.curve,
            weights=np.concatenate([weights[:-1], more, weights[-1:]]),
            variance=np.concatenate([variance[:-1], variance[rows], variance[-1:]]),
            totals=np.concatenate([totals, counts]),
            cost_weights=np.concatenate(
                [state.cost_weights[:, :-1], state.cost_weights[:, rows], state.cost_weights[:, -1:]], axis=1
            ),
            least=np.concatenate([state.least[:, :-1], state.least[:, rows], state.least[:, -1:]], axis=1),
        )
        return Router(grown, tuple(names), {name: row for row, name in enumerate(names)})
