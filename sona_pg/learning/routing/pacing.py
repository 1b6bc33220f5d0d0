"""Budget pacing: the price of cost at which the recent calls would have spent exactly the budget.

Maximising quality under a mean cost has a dual: choose the largest value - price·cost, at one price
(Agrawal and Devanur 2014; for two routes, a quantile of the predicted gain). The pacer keeps the last
calls' values and costs, reads that price off a grid, and corrects for the actual spending (integral
control), so that the mean cost has no drift. It is a server's own: every server on its budget puts the
fleet on it. Not safe for threads at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sona_pg.errors import ConfigError
from sona_pg.kernels import PriceWindow
from sona_pg.limits import BUDGET

DEBT = 3.0  # calls of the dearest kind
SOON = 4  # calls between two prices while a debt is larger
VARIED, EARLY, LONGEST = 40.0, 3.0, 800.0  # calls over which a debt is paid back: see BudgetPacer._payback
REMEMBERED = 2048  # calls
SMALLEST_STAKE = 0.1  # of the budget
CREDIT = 20.0  # calls whose budget may be saved up
FIRST_PRICE = 0.1  # quality that a call must gain for each budget that it costs, until prices can be formed


class BudgetPacer:
    """Holds the mean cost of a stream of calls at or below `budget`, in the caller's unit of cost.

    `price()` before a decision, `record()` after it. With a budget that no choice can exceed the price is
    0; with one below the cheapest candidate the price makes the cheapest win.
    """

    def __init__(self, budget: float, window: int = 512, horizon: float = 100.0, refresh: int = 16) -> None:
        """`window` calls form the price, anew every `refresh`; a debt is paid back over at most `horizon`."""
        if not (math.isfinite(budget) and budget >= 0 and window >= 16 and horizon >= 1 and refresh >= 1):
            raise ConfigError(f"budget must be finite and >= 0, window >= 16, horizon and refresh >= 1; got {budget}")
        self.budget, self.window, self.horizon, self.refresh = _bounded(budget), window, float(horizon), refresh
        self.calls, self.spent, self._owed = 0, 0.0, 0.0
        self._square = 0.0  # mean of squared costs
        self._dearest = math.inf  # of the last call's candidates
        self._limit = 0.0  # of a debt: one that cannot be paid must stay bounded
        self._calls = PriceWindow(window)
        # Mean cost of the next calls: the budget less what is paid back of a debt, plus what was saved. A decision
        # asks twice, so it is kept.
        self.wanted = self.budget

    @property
    def mean_cost(self) -> float:
        """Mean cost of all calls recorded; NaN before the first."""
        return self.spent / self.calls if self.calls else float("nan")

    def price(self) -> float:
        """Current price: quality that a unit of cost must earn."""
        if not self._calls.turning:  # nothing tells routes apart yet: the cheapest, unless the budget lets others pass
            return FIRST_PRICE / self.budget if self.budget > 0 and self._dearest > self.budget else 0.0
        return self._calls.price(self.wanted)

    @property
    def stake(self) -> float:
        """Budget of which forced exploration may stake a share: what is saved is free for it, a debt limits it."""
        least = SMALLEST_STAKE * self.budget
        return self.wanted if self.wanted > least else least

    def _payback(self) -> float:
        """Return the number of calls over which a debt is paid back.

        Few early on, for the share over all calls so far must not drift; more where the budget buys few dear calls: to
        pay one of them back at once, calls that cost no more than the budget would be given up.
        """
        usual = min(self.horizon, max(8.0, self.calls / 50))
        if self.budget <= 0:
            return usual
        varied = VARIED * (self._square / (self.budget * self.budget) - 1.0)
        if varied <= usual:
            return usual
        return max(usual, min(varied, max(8.0, self.calls / EARLY), LONGEST))

    def least_mean(self, costs: Sequence[float]) -> float:
        """Mean cost of the remembered calls and one with ``costs`` (k,), had each chosen its cheapest candidate."""
        seen = min(self.calls, self.window)
        return (self._calls.least_cost(seen) + min(costs)) / (seen + 1)

    def record(self, values: Sequence[float], costs: Sequence[float], spent: float) -> None:
        """Record one call: values (k,) and costs (k,) of its candidates, and the cost paid; ignored if not finite."""
        if not math.isfinite(spent):
            return
        dearest = self._calls.put(self.calls, values, costs)
        if dearest < 0:
            return
        self._dearest = max(costs)
        self.calls += 1
        self.spent += spent
        self._square += (spent * spent - self._square) / min(self.calls, REMEMBERED)
        dearest = max(dearest, 1e-12)
        self._limit = 2 * self.horizon * dearest
        self._owe(spent - self.budget)
        # Early on, every learning cycle changes the scale of values, and a debt shows that the price is stale.
        stale = self.calls % SOON == 0 and self.calls < 8 * self.window and abs(self._owed) > DEBT * dearest
        if stale or self.calls <= 4 * self.refresh or self.calls % self.refresh == 0:
            few = min(max(64, self.calls // 8), max(64, 8192 // self._calls.width))
            self._calls.reprice(self.calls - 1, min(self.calls, few))

    def note(self) -> None:
        """Count a call of which no cost is known yet; ``settle`` may tell it."""
        self.calls += 1
        self._owe(-self.budget)

    def resume(self, budget: float, owed: float) -> None:
        """Continue with another budget and debt."""
        self.budget, self._owed = _bounded(budget), owed
        self._owe(0.0)

    def settle(self, booked: float, cost: float) -> None:
        """Replace what was ``booked`` for a call by its real ``cost``."""
        if self.calls and math.isfinite(cost):
            self.spent += cost - booked
            self._square = max(self._square + (cost * cost - booked * booked) / min(self.calls, REMEMBERED), 0.0)
            self._owe(cost - booked)

    def _owe(self, more: float) -> None:
        self._owed = min(max(self._owed + more, -CREDIT * self.budget), self._limit)
        self.wanted = self.budget - self._owed / self._payback()


def _bounded(budget: float) -> float:
    """Return a budget whose square is not 0, unless it is 0."""
    return max(float(budget), BUDGET[0]) if budget > 0 else 0.0
