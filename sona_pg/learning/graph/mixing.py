"""Mixing: how much each way of activation counts in recall, learned from which memories were used.

A linear model of the features of ``activation``, fitted by a softmax over the nodes that a query activated (conditional
logit: McFadden 1974) with a Gaussian prior around the defaults. The few weights are shared by all nodes: a handful of
judged queries moves them, and the defaults need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.graph.activation import FEATURES

# Of a match of 1; chosen on half of LoCoMo's conversations without feedback (benchmarks/eval/EVIDENCE.md). These have
# no sequence of questions: an expectation decides between candidates that match about equally.
DEFAULTS = {
    "before": 0.25, "after": 0.2, "two_away": 0.1, "group": 0.6, "similar": -0.4, "co_active": 0.05, "hubness": -0.5,
    "expected": 0.3,
}  # fmt: skip
SHARPNESS = 14.0  # logits that a match of 1 is worth before anything was learned
PRIOR_VARIANCE = 25.0  # of a weight in logits, around its default
STEPS = 25  # Newton steps at most; the loss is convex


@dataclass(frozen=True, slots=True, eq=False)
class Mixing:
    """Weight of each feature of ``FEATURES``, in logits."""

    weights: NDArray[np.float64]  # (len(FEATURES),)

    @classmethod
    def initial(cls) -> Mixing:
        """Return the defaults: the match, and its neighbours in sequence and group."""
        own = {"own": 1.0, **DEFAULTS}
        return cls(np.array([SHARPNESS * own.get(name, 0.0) for name in FEATURES]))

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logit (m,) of each activated node."""
        return features.astype(np.float64) @ self.weights


@dataclass(frozen=True, slots=True, eq=False)
class JudgedRecall:
    """One query whose useful memories are known."""

    features: NDArray[np.float32]  # (m, len(FEATURES)) of the activated nodes
    used: NDArray[np.float64]  # (m,) share of the use that each node had; sums to 1


def fit_mixing(
    judged: Sequence[JudgedRecall], before: Mixing | None = None, precision: NDArray[np.float64] | None = None
) -> Mixing:
    """Return the mixing that makes the used memories most likely, by Newton's method from the prior's mean.

    ``before`` is the mean of the prior, the defaults without; ``precision`` (f, f) its inverse covariance.
    """
    prior = (before or Mixing.initial()).weights
    certainty = np.eye(len(prior)) / PRIOR_VARIANCE if precision is None else precision
    weights = prior.copy()
    if not judged:
        return Mixing(weights)
    for _ in range(STEPS):
        gradient, curvature = certainty @ (weights - prior), certainty.copy()
        for recall in judged:
            features = recall.features.astype(np.float64)
            expected = _softmax(features @ weights)
            gradient += expected @ features - recall.used @ features
            curvature += _covariance(features, expected)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))  # trust region of 5 logits
        if float(np.abs(step).max()) < 1e-6:
            break
    return Mixing(weights)


def information(judged: Sequence[JudgedRecall], mixing: Mixing) -> NDArray[np.float64]:
    """Return the Fisher information (f, f) of some recalls about the weights."""
    total = np.zeros((len(mixing.weights),) * 2)
    for recall in judged:
        features = recall.features.astype(np.float64)
        total += _covariance(features, _softmax(features @ mixing.weights))
    return total


def _covariance(features: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = shares @ features
    return np.asarray((features * shares[:, None]).T @ features - np.outer(mean, mean), np.float64)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum(), np.float64)
