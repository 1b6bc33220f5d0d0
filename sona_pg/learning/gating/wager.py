"""Confidence sequence for a mean, by betting: valid at every time, however often and whenever it is looked at.

For each hypothetical mean m a gambler bets that the differences are larger, another that they are smaller. Against a
true m the capital of either is a nonnegative supermartingale, so it exceeds 1/α at any time with probability α at most
(Ville 1939). All m that neither gambler has refuted form the confidence sequence (Waudby-Smith and Ramdas,
arXiv 2010.09686; Howard et al. 2021). The stakes depend on earlier differences only, and never exceed ``MOST_STAKE`` of
what a single difference can cost; a difference is bounded on both sides by a bound that is known before its outcome.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

MOST_STAKE = 0.75  # share of the capital that one difference can cost
MEMORY = 100  # differences by which the stakes are chosen: a fall after a long calm is noticed as soon
PRIOR = (4.0, 0.25)  # weight in differences, and variance, of the stakes' first estimate
GRID = 41  # hypothetical means from -1 to 1, besides those that decide


@dataclass(frozen=True, slots=True, eq=False)
class Wager:
    """Capitals of all gamblers in s streams of differences; one stream in a gate, thousands in a simulation."""

    means: Doubles  # (g,) hypothetical means, ascending
    capital: Doubles  # (2, s, g) logarithms: bets on larger ones, on smaller ones
    highest: Doubles  # (2, s, g) highest logarithms so far
    seen: int  # differences
    total: Doubles  # (s,) sum of differences
    moments: Doubles  # (2, s) recent mean and mean square

    @classmethod
    def opened(cls, deciding: ArrayLike, streams: int = 1, grid: int = GRID) -> Self:
        """Return the state before any difference; ``deciding`` are means that will be asked about exactly."""
        means = np.union1d(np.linspace(-1.0, 1.0, grid) if grid else [], np.asarray(deciding, np.float64))
        nothing = np.zeros((2, streams, len(means)))
        first = np.stack([np.zeros(streams), np.full(streams, PRIOR[1])])
        return cls(means, nothing, nothing, 0, np.zeros(streams), first)

    def fold(self, differences: ArrayLike, bound: float = 1.0) -> Self:
        """Return the state after one more difference in each stream, (s,), each within ``bound`` of 0."""
        told = np.clip(np.asarray(differences, np.float64), -bound, bound)
        mean, square = self.moments
        apart = mean[:, None] - self.means
        stake = np.abs(apart) / (np.maximum(square - mean**2, 1e-6)[:, None] + apart**2)
        larger = np.where(apart > 0.0, np.minimum(stake, MOST_STAKE / np.maximum(bound + self.means, 1e-9)), 0.0)
        smaller = np.where(apart < 0.0, np.minimum(stake, MOST_STAKE / np.maximum(bound - self.means, 1e-9)), 0.0)
        gain = told[:, None] - self.means
        capital = self.capital + np.stack([_logs(larger, gain), _logs(smaller, -gain)])
        weight = max(1.0 / (self.seen + 1 + PRIOR[0]), 1.0 / MEMORY)
        moments = self.moments + weight * (np.stack([told, told**2]) - self.moments)
        return type(self)(
            self.means, capital, np.maximum(self.highest, capital), self.seen + 1, self.total + told, moments
        )

    def exceeds(self, mean: float, confidence: float) -> NDArray[np.bool_]:
        """Return (s,) whether the true mean was shown to be larger than ``mean``, one of the deciding means."""
        return np.asarray(self.highest[0, :, self._place(mean)] >= -math.log1p(-confidence), np.bool_)

    def is_below(self, mean: float, confidence: float) -> NDArray[np.bool_]:
        """Return (s,) whether the true mean was shown to be smaller than ``mean``, one of the deciding means."""
        return np.asarray(self.highest[1, :, self._place(mean)] >= -math.log1p(-confidence), np.bool_)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return lower and upper bound of the first stream's mean, on the grid; each holds with ``confidence``."""
        refuted = self.highest[:, 0] >= -math.log1p(-confidence)
        low = float(self.means[refuted[0]].max(initial=-1.0))
        return low, float(self.means[refuted[1]].min(initial=1.0))

    @property
    def mean(self) -> float:
        """Mean difference of the first stream; 0 before any."""
        return float(self.total[0]) / self.seen if self.seen else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the first stream as JSON-ready values."""
        return {
            "means": self.means.tolist(),
            "capital": self.capital[:, 0].tolist(),
            "highest": self.highest[:, 0].tolist(),
            "seen": self.seen,
            "total": float(self.total[0]),
            "moments": self.moments[:, 0].tolist(),
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Self:
        """Restore from ``as_dict``."""
        capital, highest = (np.array(told[name], np.float64)[:, None, :] for name in ("capital", "highest"))
        moments = np.array(told["moments"], np.float64)[:, None]
        return cls(np.array(told["means"]), capital, highest, told["seen"], np.array([told["total"]]), moments)

    def _place(self, mean: float) -> int:
        return int(np.flatnonzero(self.means == mean)[0])


def _logs(stake: Doubles, gain: Doubles) -> Doubles:
    return np.asarray(np.log1p(np.maximum(stake * gain, -MOST_STAKE)), np.float64)
