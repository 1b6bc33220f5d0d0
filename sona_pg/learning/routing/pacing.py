"""Spends a budget evenly: the price of cost at which the calls seen lately would have cost what may be spent.

Maximising quality under a mean cost has a dual: choose the largest value - price·cost, at one price
(Agrawal and Devanur 2014; for two routes, a quantile of the predicted gain). The pacer keeps the last
calls' values and costs, reads that price off a grid, and corrects for what was really spent (integral
control), so that the mean cost has no drift. It is a server's own: every server on its budget puts the
fleet on it. Not safe for threads at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.errors import ConfigError

Doubles = NDArray[np.float64]

DEBT = 3.0  # calls of the dearest kind
PRICES = 48  # quantiles of the prices at which some call would change its route


class BudgetPacer:
    """Holds the mean cost of a stream of calls at or below `budget`, in the caller's unit of cost.

    `price()` before a decision, `record()` after it. With a budget that no choice can exceed the price is
    0; with one below the cheapest candidate the price is what makes the cheapest win.
    """

    def __init__(self, budget: float, window: int = 512, horizon: float = 100.0, refresh: int = 16) -> None:
        """`window` calls form the price, anew every `refresh`; a debt is paid back over at most `horizon`."""
        if not (np.isfinite(budget) and budget >= 0 and window >= 16 and horizon >= 1 and refresh >= 1):
            raise ConfigError(f"budget must be finite and >= 0, window >= 16, horizon and refresh >= 1; got {budget}")
        self.budget, self.window, self.horizon, self.refresh = float(budget), window, float(horizon), refresh
        self.calls, self.spent, self._owed = 0, 0.0, 0.0
        self._values = np.full((window, 2), -np.inf)  # (window, k) ring; absent candidates are -inf
        self._costs = np.zeros((window, 2))
        self._prices, self._spend = np.zeros(1), np.zeros(1)

    @property
    def mean_cost(self) -> float:
        """Mean cost of all calls recorded; NaN before the first."""
        return self.spent / self.calls if self.calls else float("nan")

    def price(self) -> float:
        """What a unit of cost must earn in quality now."""
        if not self.calls:
            return 0.0
        # Early on a debt is paid back at once: the share of all calls so far is what must not drift.
        wanted = self.budget - self._owed / min(self.horizon, max(8.0, self.calls / 50))
        return float(np.interp(wanted, self._spend[::-1], self._prices[::-1]))

    def least_mean(self, costs: ArrayLike) -> float:
        """Mean cost of the remembered calls and one with ``costs`` (k,), had each chosen its cheapest candidate."""
        seen = min(self.calls, self.window)
        there = np.isfinite(self._values[:seen])
        cheapest = np.where(there, self._costs[:seen], np.inf).min(axis=1)
        return float((cheapest.sum() + np.min(costs)) / (seen + 1))

    def record(self, values: ArrayLike, costs: ArrayLike, spent: float) -> None:
        """One call: its candidates' values (k,) and costs (k,), and what the chosen one cost. Not finite: ignored."""
        value, cost = np.asarray(values, np.float64), np.asarray(costs, np.float64)
        finite = np.isfinite(value).all() and np.isfinite(cost).all() and np.isfinite(spent)
        if value.shape != cost.shape or not value.size or not finite:
            return
        if len(value) > self._values.shape[1]:
            extra = len(value) - self._values.shape[1]
            self._values = np.pad(self._values, ((0, 0), (0, extra)), constant_values=-np.inf)
            self._costs = np.pad(self._costs, ((0, 0), (0, extra)))
        slot = self.calls % self.window
        self._values[slot], self._costs[slot] = -np.inf, 0.0
        self._values[slot, : len(value)], self._costs[slot, : len(value)] = value, cost
        self.calls += 1
        self.spent += spent
        # A debt that cannot be worked off (the budget is below what is offered) must not grow without end.
        dearest = max(float(np.ptp(cost)), 1e-12)
        limit = 2 * self.horizon * dearest
        self._owed = float(np.clip(self._owed + spent - self.budget, -limit, limit))
        # Early on every cycle of learning changes what values mean, and a debt says that the price is stale.
        stale = abs(self._owed) > DEBT * dearest and self.calls < 8 * self.window
        if stale or self.calls <= 4 * self.refresh or self.calls % self.refresh == 0:
            self._reprice()

    def _reprice(self) -> None:
        """The mean cost of the remembered calls at a grid of prices, which is what `price` inverts."""
        few = min(max(64, self.calls // 8), max(64, 8192 // self._values.shape[1]))
        seen = min(self.calls, self.window, few)
        recent = (self.calls - 1 - np.arange(seen)) % self.window
        value, cost = self._values[recent], self._costs[recent]
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = value[:, :, None] - value[:, None, :]
            turning = gain / (cost[:, :, None] - cost[:, None, :])
        turning = turning[np.isfinite(turning) & (turning > 0)]
        if not len(turning):
            self._prices, self._spend = np.zeros(1), np.zeros(1)
            return
        marks = np.quantile(turning, np.linspace(0, 1, PRICES))
        self._prices = np.concatenate([[0.0], marks, [marks[-1] * 1.01 + 1e-9]])
        net = value - self._prices[:, None, None] * cost  # (prices, calls, k)
        chosen = np.where(np.isfinite(value), net, -np.inf).argmax(axis=2)
        self._spend = cost[np.arange(seen), chosen].mean(axis=1)
