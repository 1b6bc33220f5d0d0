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

DEBT = 3.0  # calls of the dearest kind


class BudgetPacer:
    """Holds the mean cost of a stream of calls at or below `budget`, in the caller's unit of cost.

    `price()` before a decision, `record()` after it. With a budget that no choice can exceed the price is
    0; with one below the cheapest candidate the price makes the cheapest win.
    """

    def __init__(self, budget: float, window: int = 512, horizon: float = 100.0, refresh: int = 16) -> None:
        """`window` calls form the price, anew every `refresh`; a debt is paid back over at most `horizon`."""
        if not (math.isfinite(budget) and budget >= 0 and window >= 16 and horizon >= 1 and refresh >= 1):
            raise ConfigError(f"budget must be finite and >= 0, window >= 16, horizon and refresh >= 1; got {budget}")
        self.budget, self.window, self.horizon, self.refresh = float(budget), window, float(horizon), refresh
        self.calls, self.spent, self._owed = 0, 0.0, 0.0
        self._calls = PriceWindow(window)

    @property
    def mean_cost(self) -> float:
        """Mean cost of all calls recorded; NaN before the first."""
        return self.spent / self.calls if self.calls else float("nan")

    def price(self) -> float:
        """Current price: quality that a unit of cost must earn."""
        if not self.calls:
            return 0.0
        # Early on a debt is paid back at once: the share over all calls so far must not drift.
        return self._calls.price(self.budget - self._owed / min(self.horizon, max(8.0, self.calls / 50)))

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
        self.calls += 1
        self.spent += spent
        # A debt that cannot be paid (the budget is below every offered cost) must stay bounded.
        dearest = max(dearest, 1e-12)
        limit = 2 * self.horizon * dearest
        self._owed = min(max(self._owed + spent - self.budget, -limit), limit)
        # Early on, every learning cycle changes the scale of values, and a debt shows that the price is stale.
        stale = abs(self._owed) > DEBT * dearest and self.calls < 8 * self.window
        if stale or self.calls <= 4 * self.refresh or self.calls % self.refresh == 0:
            few = min(max(64, self.calls // 8), max(64, 8192 // self._calls.width))
            self._calls.reprice(self.calls - 1, min(self.calls, few))
