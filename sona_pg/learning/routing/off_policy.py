"""Off-policy evaluation: estimates the mean reward of another policy from the log of the executed one.

Every estimate comes with its effective sample size and a confidence interval. Below a minimal effective size it is
refused (NaN, with the reason), because a few heavy weights would dominate it. Events without a propensity are left out
and counted.

- IPS: mean of w·reward, w = target probability / propensity (Horvitz and Thompson 1952). Unbiased, noisy.
- SNIPS: the same over the mean of w (Swaminathan and Joachims 2015). Little bias, much steadier.
- DR: a model's value under the target plus w·(reward - model) (Dudik, Langford and Li 2011). Unbiased while
  either the propensities or the model are right; the model must not have been fitted on these events.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.errors import LearningError

Doubles = NDArray[np.float64]

EFFECTIVE_FLOOR = 50.0  # effective events below which no estimate is given
Z95 = 1.959964


class Estimate(NamedTuple):
    """Mean reward of a policy per call; the figures are NaN if `refused` gives a reason."""

    method: str  # "ips", "snips" or "dr"
    value: float
    standard_error: float
    low: float  # 95 % interval, from the asymptotic normal
    high: float
    effective_size: float  # Kish: (Σw)² / Σw²
    events: int  # used
    left_out: int  # events without a usable propensity or reward
    largest_weight: float
    refused: str  # reason, "" for an estimate


class _Log(NamedTuple):
    weight: Doubles  # (n,) target probability / propensity
    reward: Doubles  # (n,)
    kept: NDArray[np.intp]  # rows of the input
    left_out: int


def ips(reward: ArrayLike, propensity: ArrayLike, target: ArrayLike, floor: float = EFFECTIVE_FLOOR) -> Estimate:
    """Estimate by inverse propensity scoring.

    Args:
        reward: (n,) of the chosen routes.
        propensity: (n,) probabilities with which the logging policy chose them.
        target: (n,) probabilities with which the evaluated policy would choose them.
        floor: minimal effective sample size.

    Raises:
        LearningError: the lengths differ, or a target probability is outside [0, 1].
    """
    log = _read(reward, propensity, target)
    return _estimate("ips", log.weight * log.reward, log, floor)


def snips(reward: ArrayLike, propensity: ArrayLike, target: ArrayLike, floor: float = EFFECTIVE_FLOOR) -> Estimate:
    """Estimate by self-normalised IPS; arguments as in `ips`. Standard error by the delta method."""
    log = _read(reward, propensity, target)
    total = log.weight.sum()
    if total <= 0:
        return _estimate("snips", log.weight, log, floor)
    value = float(log.weight @ log.reward / total)
    influence = log.weight / log.weight.mean() * (log.reward - value)
    return _estimate("snips", value + influence, log, floor)


def doubly_robust(
    reward: ArrayLike,
    propensity: ArrayLike,
    target: ArrayLike,
    predicted: ArrayLike,
    predicted_target: ArrayLike,
    floor: float = EFFECTIVE_FLOOR,
) -> Estimate:
    """Return the doubly robust estimate; arguments as in `ips`, and two predictions of a reward model.

    Args:
        predicted: (n,) for the chosen route.
        predicted_target: (n,) mean under the evaluated policy, Σ_k target_k·model_k.
    """
    log = _read(reward, propensity, target)
    q, v = (np.asarray(a, np.float64) for a in (predicted, predicted_target))
    if q.shape != v.shape or len(q) != len(log.reward) + log.left_out or not np.isfinite([q, v]).all():
        raise LearningError("predictions must be finite, one per event for the chosen route and for the policy")
    return _estimate("dr", v[log.kept] + log.weight * (log.reward - q[log.kept]), log, floor)


def _read(reward: ArrayLike, propensity: ArrayLike, target: ArrayLike) -> _Log:
    r, p, t = (np.asarray(a, np.float64) for a in (reward, propensity, target))
    if r.ndim != 1 or r.shape != p.shape or r.shape != t.shape:
        raise LearningError(
            f"rewards, propensities and targets must be equally long, got {r.shape}, {p.shape}, {t.shape}"
        )
    if len(t) and not ((t >= 0) & (t <= 1 + 1e-9)).all():
        raise LearningError("target probabilities must lie in [0, 1]; give one per event, for the route in the log")
    kept = np.flatnonzero(np.isfinite(r) & (p > 0) & (p <= 1 + 1e-6))
    return _Log(t[kept] / p[kept], r[kept], kept, len(r) - len(kept))


def _estimate(method: str, contribution: Doubles, log: _Log, floor: float) -> Estimate:
    """Return the mean of the contributions with its confidence interval, or a refusal."""
    w, n = log.weight, len(log.weight)
    largest = float(w.max()) if n else 0.0
    squares = float(w @ w)
    size = float(w.sum() ** 2 / squares) if squares > 0 else 0.0
    nan = float("nan")
    if size < floor or n < 2:
        why = f"effective sample size {size:.1f} of {n} events is below the floor of {floor:g}"
        return Estimate(method, nan, nan, nan, nan, size, n, log.left_out, largest, why)
    value, error = float(contribution.mean()), float(contribution.std(ddof=1) / n**0.5)
    return Estimate(method, value, error, value - Z95 * error, value + Z95 * error, size, n, log.left_out, largest, "")
