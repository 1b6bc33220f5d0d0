"""Share of a policy's decisions that the log cannot tell of, and the interval that allows for it.

A router that has learned sends some questions to one route with near certainty. What another route would have reached
there is never seen, no weight shows it, and the standard error of a doubly robust estimate leaves it out. Importance
weights average 1 where the log covers a policy: the share by which they fall short is not covered. There the quality
may be anything in [0, 1] (worst-case bounds: Manski 1990); the point estimate is the model's.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.off_policy import Z95

Doubles = NDArray[np.float64]


def uncovered_share(weights: Doubles) -> float:
    """Return the share by which the weights (n,) fall short of 1 on average, beyond their sampling error."""
    n = len(weights)
    if n < 2:
        return 0.0
    error = float(weights.std(ddof=1)) / math.sqrt(n)
    return min(max(1.0 - float(weights.mean()) - Z95 * error, 0.0), 1.0)


def widened(low: float, high: float, share: float, believed: float) -> tuple[float, float]:
    """Return an interval that holds whatever the quality is in the uncovered ``share``, where it is ``believed``."""
    if share == 0.0:
        return low, high
    return max(low - share * believed, 0.0), min(high + share * (1.0 - believed), 1.0)
