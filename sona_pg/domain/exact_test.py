"""Exact chance of a difference between the ratings of two periods."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Counted = tuple[int, float, int, float]  # ratings of a period and their sum, and those of the other period


def chance_of(parts: Iterable[Counted]) -> float:
    """Return the chance of a difference as large within ``parts`` if nothing had changed (Fisher 1935, two-sided).

    Of each part the ratings of both periods are shuffled: the good ones of the period are hypergeometric, their sum
    over parts is the convolution. It holds also where nearly all is good, or a period has few. Grades between good and
    bad are rounded in their sum.
    """
    chances, least, now = np.ones(1), 0, 0
    for rated, total, before, before_total in parts:
        good = round(total + before_total)
        low, high = max(0, good - before), min(rated, good)
        counts = np.arange(low, high + 1)
        logs = _log_choose(rated, counts) + _log_choose(before, good - counts)
        weights = np.exp(logs - logs.max())
        chances = np.convolve(chances, weights / weights.sum())
        least += low
        now += min(max(round(total), low), high)
    place = now - least
    return float(min(1.0, 2 * min(chances[: place + 1].sum(), chances[place:].sum())))


def _log_choose(of: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, of + 1, dtype=np.float64)))))
    return np.asarray(logs[of] - logs[counts] - logs[of - counts])
