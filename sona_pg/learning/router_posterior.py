"""The posterior of the router's hierarchical linear model, from sufficient statistics alone.

    quality = 1/2 + (b₀ + b_r) + (w₀ + w_r)·φ + ε,    w₀ ~ N(0, main),  w_r ~ N(0, route),  ε ~ N(0, noise)

A difference between two routes shrinks to the main effect they share unless the evidence says otherwise. With
feedback from the chosen route only, the shared effect does what the residual on the mean outcome does in
the R-learner (Nie and Wager 2021): it takes the question's difficulty out of the comparison.

The system is an arrowhead: given w₀ the routes are independent. With Λ the prior precision of w_r, Λ₀ that
of w₀ and M_r = G_r/noise + Λ, the Schur complement for w₀ is Λ₀ + Σ_r (Λ - Λ M_r⁻¹ Λ), since G_r/noise =
M_r - Λ: one inverse per route and no products of matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sona_pg.learning.router_basis import Doubles

BIAS_MAIN, BIAS_ROUTE = 1.0, 0.25  # prior variances of b₀ and b_r
BOUNDS = 1e-3, 1.0  # of the prior variances
SMALLEST_RATIO = 0.35  # route to main: the evidence, blind to errors that routes share, shrinks differences too far
TUNED_ROUTES = 8  # prior variances are chosen on so many of the busiest routes
NOISE = 0.01, 0.25  # bounds; quality lies in [0, 1], so its variance cannot be larger


class Statistics(NamedTuple):
    """Running sums per route; p = width of the basis + 1."""

    gram: Doubles  # (R, p, p)
    moment: Doubles  # (R, p)
    square: Doubles  # (R,)
    totals: Doubles  # (R, 6)

    @classmethod
    def zero(cls, routes: int, p: int) -> Statistics:
        return cls(np.zeros((routes, p, p)), np.zeros((routes, p)), np.zeros(routes), np.zeros((routes, 6)))


class Posterior(NamedTuple):
    weights: Doubles  # (R+1, p) means of w₀ + w_r, biases first; the last row is w₀
    variance: Doubles  # (R+1, p) variances of w_r given w₀, the diagonal
    evidence: float  # log marginal likelihood up to a constant, NaN unless asked for


def solve(sums: Statistics, main: float, route: float, noise: float, with_evidence: bool = False) -> Posterior:
    """The posterior at these variances; routes without events keep the prior."""
    routes, p = sums.moment.shape
    inner = np.concatenate([[1 / BIAS_ROUTE], np.full(p - 1, 1 / route)])  # Λ
    outer = np.concatenate([[1 / BIAS_MAIN], np.full(p - 1, 1 / main)])  # Λ₀
    target = (sums.moment - 0.5 * sums.gram[:, 0]) / noise
    schur, right = np.diag(outer), np.zeros(p)
    variance = np.tile(1 / inner, (routes + 1, 1))
    evidence = 0.5 * float(np.log(outer).sum())
    inverse = {}
    for r in np.flatnonzero(sums.totals[:, 0] > 0).tolist():
        precision = sums.gram[r] / noise + np.diag(inner)
        inverse[r] = np.linalg.inv(precision)
        variance[r] = np.diag(inverse[r])
        schur += np.diag(inner) - inner[:, None] * inverse[r] * inner
        right += inner * (inverse[r] @ target[r])
        if with_evidence:
            fitted = float(target[r] @ inverse[r] @ target[r])
            evidence += 0.5 * (float(np.log(inner).sum()) - _log_determinant(precision) + fitted)
    shared = np.linalg.solve(schur, right)
    weights = np.tile(shared, (routes + 1, 1))
    for r, covariance in inverse.items():
        weights[r] += covariance @ (target[r] - sums.gram[r] @ shared / noise)
    weights[:, 0] += 0.5
    if with_evidence:
        evidence += 0.5 * (float(right @ shared) - _log_determinant(schur))
    return Posterior(weights, variance, evidence if with_evidence else float("nan"))


def tune(sums: Statistics, main: float, route: float, noise: float, step: float) -> tuple[float, float]:
    """The variances of largest evidence among the present ones and their neighbours at factor `step`."""
    busiest = np.argsort(-sums.totals[:, 0], kind="stable")[:TUNED_ROUTES]
    part = Statistics(*(column[busiest] for column in sums))
    tries = [(1.0, 1.0), (step, 1.0), (1 / step, 1.0), (1.0, step), (1.0, 1 / step)]
    pairs = []
    for a, b in tries:
        outer = float(np.clip(main * a, *BOUNDS))
        pairs.append((outer, float(np.clip(route * b, outer * SMALLEST_RATIO, BOUNDS[1]))))

    def evidence(pair: tuple[float, float]) -> float:
        return solve(part, pair[0], pair[1], noise, with_evidence=True).evidence

    return max(pairs, key=evidence)


def residual(sums: Statistics, weights: Doubles, noise: float) -> float:
    """The mean squared residual of `weights` (R+1, p), half way from the old `noise`."""
    w, seen = weights[:-1], float(sums.totals[:, 0].sum())
    if seen <= 0:
        return noise
    explained = 2 * np.einsum("rp,rp->r", w, sums.moment) - np.einsum("rp,rpq,rq->r", w, sums.gram, w)
    squared = max(float((sums.square - explained).sum()), 0.0) / seen
    return float(np.clip(0.5 * (noise + squared), *NOISE))


def _log_determinant(matrix: Doubles) -> float:
    return float(np.linalg.slogdet(matrix)[1])
