"""Size of the differences between routes, by how hard the question is, where outcomes are yes or no.

Where few data are near, a linear model expects the same difference between two routes of every question. The chance of
a yes is closer to logistic: on a question that is easy or hopeless no route can be much better than another. So the
differences of a call's candidates from their mean u are multiplied by

    1 + t·(g(u) - 1),    g(u) = σ'(a + s·u) over its mean of all queries

with t the share of the prior's variance that data have left at this query: what data have said stays as it is. The
factor enlarges no difference beyond what fits between 0 and 1: where nearly every outcome is good, σ' is next to
nothing on average, and g(u) of a call with an untried route a hundred times that. The factor is common to all
candidates of a call and positive, so it never changes which of them is best, only which calls are worth money.
Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import numpy as np

from sona_pg.learning.routing.exploration import DENSITY, GRID
from sona_pg.learning.routing.router_basis import Doubles
from sona_pg.learning.routing.router_posterior import Statistics

STEEPNESS = 2.0  # s, in slopes at which the logistic curve is as steep as the linear model at the mean
GRADED = 0.1  # of the variance of yes-or-no outcomes may be missing: some sources give marks in between
EXTREME = 0.02  # a mean closer to 0 or 1 counts as this
TINY = 1e-12  # a difference below it is none
STRAIGHT = np.zeros(3)  # differences stay as the linear model has them


def curve_of(sums: Statistics, weights: Doubles) -> Doubles:
    """Return (3,) a, s and the reciprocal of the mean of σ'(a + s·u); zeros where outcomes are not yes or no."""
    tried = np.flatnonzero(sums.totals[:, 0] > 0)
    if weights.shape[1] == 1 or not len(tried):
        return STRAIGHT
    count, good = sums.totals[tried, 0], sums.totals[tried, 1]
    between = float((good - sums.square[tried]).sum())  # Σ w·q·(1 - q): 0 where every outcome is 0 or 1
    if between > GRADED * float((good * (1 - good / count)).sum()):
        return STRAIGHT
    usual = weights[:-1][tried].mean(axis=0)
    gram = sums.gram[tried].sum(axis=0) / count.sum()
    mean = float(gram[0] @ usual)
    spread = max(float(usual @ gram @ usual) - mean * mean, 0.0) ** 0.5
    centre = min(max(mean, EXTREME), 1 - EXTREME)
    slope = STEEPNESS / (centre * (1 - centre))
    intercept = float(np.log(centre / (1 - centre))) - slope * centre
    typical = float(DENSITY @ steepness(intercept + slope * (mean + spread * GRID)) / DENSITY.sum())
    return np.array([intercept, slope, 1 / typical])


def steepness(logit: Doubles) -> Doubles:
    """Return the derivative of the logistic function."""
    yes = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
    return np.asarray(yes * (1 - yes))


def curved(curve: Doubles, prior: float, scores: Doubles, squared: Doubles) -> Doubles:
    """Return the scores (n, k) of n calls, their differences sized by the curve.

    Args:
        curve: of `curve_of`.
        prior: variance of a route's deviation where nothing is known.
        scores: (n, k) expected by the linear model.
        squared: (n, k) posterior variances of the routes' deviations.
    """
    if curve[2] == 0:
        return scores
    usual = scores.mean(axis=1, keepdims=True)
    left = np.minimum(squared.mean(axis=1, keepdims=True) / prior, 1.0)
    size = 1 + left * (steepness(curve[0] + curve[1] * usual) * curve[2] - 1)
    above = np.maximum(scores.max(axis=1, keepdims=True) - usual, TINY)
    below = np.maximum(usual - scores.min(axis=1, keepdims=True), TINY)
    room = np.maximum(np.minimum((1 - usual) / above, usual / below), 1.0)
    return np.asarray(usual + (scores - usual) * np.minimum(size, room))
