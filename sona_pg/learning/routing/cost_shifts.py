"""Sudden changes of a route's real costs, noticed by one server before a cycle can learn them.

A change is found in the logarithms of real over expected cost: the mean of a route's last two, three, five or eight is
too far from 0 to be chance. From then on their exponential mean is its changed price, by which expected costs are
multiplied. What later cycles learn leaves the ratios, and so the shift, by itself. Evidence:
benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict

from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router_costs import COST, LEAST_SHARE, RATIO

MEMORY = 15.0  # observations of the mean while a route is shifted
WINDOWS = 2, 3, 5, 8  # last observations that are looked at for a change
ALARM, OVER = 4.0, 1.0  # standard errors at which a shift begins, and below which it ends
SPREAD = 0.5, 100.0  # variance of a logarithm at first, and observations over which it is measured
WIDEST = 4.0  # square of a logarithm's distance from the mean: more counts as this
STEP = 0.05  # of the logarithm: less does not change decisions
FAR = 1000.0  # times: no cost counts as further from what was expected
MOST = 1024  # routes


@dataclasses.dataclass(slots=True)
class _Ratios:
    recent: tuple[float, ...] = ()  # the last logarithms, at most as many as the longest window
    count: float = 0.0
    mean: float = 0.0  # of the logarithms while it is shifted
    variance: float = SPREAD[0]
    shifted: bool = False
    shown: float = 0.0  # logarithm of the factor that decisions have

    def add(self, logarithm: float) -> None:
        """Take an observation; begin or end a shift."""
        self.recent = (*self.recent, logarithm)[-WINDOWS[-1] :]
        if self.shifted:
            self.count = min(self.count + 1, MEMORY)
            apart = logarithm - self.mean
            self.mean += apart / self.count
            self.shifted = abs(self.errors) > OVER
        else:
            apart = logarithm
            for length in (each for each in WINDOWS if each <= len(self.recent)):
                self.count, self.mean = float(length), sum(self.recent[-length:]) / length
                self.shifted = abs(self.errors) > ALARM
                if self.shifted:
                    return  # its spread is that of two prices
        self.variance += (min(apart * apart, WIDEST) - self.variance) / SPREAD[1]

    @property
    def level(self) -> float:
        """Logarithm of the mean ratio: expected costs are means, and the mean of logarithms is below theirs."""
        return self.mean + self.variance / 2

    @property
    def errors(self) -> float:
        """The level in its standard errors."""
        return self.level * math.sqrt(self.count / max(self.variance, 1e-4))


class CostShifts:
    """Cost ratios of the routes that one server has taken lately. Not safe for threads at once."""

    def __init__(self) -> None:
        """Start without any."""
        self._routes: OrderedDict[str, _Ratios] = OrderedDict()

    def factor(self, route: str) -> float:
        """Return the factor that decisions have on the expected costs of a route."""
        known = self._routes.get(route)
        return 1.0 if known is None or not known.shown else math.exp(known.shown)

    def tell(self, route: str, expected: float, cost: float) -> bool:
        """Take the real cost of a call; return whether decisions must be made anew by ``applied``.

        Args:
            route: its name.
            expected: its expected cost, without a shift.
            cost: its real one.
        """
        if not (0 < expected < math.inf and 0 <= cost < math.inf):
            return False
        told = self._routes.setdefault(route, _Ratios())
        self._routes.move_to_end(route)
        while len(self._routes) > MOST:
            self._routes.popitem(last=False)
        told.add(math.log(min(max(cost / expected, 1 / FAR), FAR)))
        return abs((told.level if told.shifted else 0.0) - told.shown) > STEP

    def applied(self, router: Router) -> Router:
        """Return ``router`` as decisions are to see it now, and note what they see."""
        state = router.state
        weights, least = state.cost_weights.copy(), state.least.copy()
        changed = False
        for name, told in self._routes.items():
            told.shown = told.level if told.shifted else 0.0
            row = router.index.get(name)
            if not told.shown or row is None or row >= state.route_count:
                continue
            factor, changed = math.exp(told.shown), True
            for kind in (COST, RATIO):
                if least[kind, row] >= 0:
                    weights[kind, row] *= factor
                    least[kind, row] *= factor
                elif kind == RATIO:  # estimates alone are known
                    weights[kind, row], weights[kind, row, 0] = 0.0, factor
                    least[kind, row] = LEAST_SHARE * factor
        if not changed:
            return router
        return dataclasses.replace(router, state=dataclasses.replace(state, cost_weights=weights, least=least))
