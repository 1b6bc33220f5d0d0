"""The posterior of the router's hierarchical linear model, from sufficient statistics alone.

    quality = 1/2 + (b₀ + b_r) + (w₀ + w_r)·φ + ε,    w₀ ~ N(0, main),  w_r ~ N(0, route),  ε ~ N(0, noise)

A difference between two routes shrinks to the main effect they share unless the evidence says otherwise. With
feedback from the chosen route only, the shared effect plays the role of the residual on the mean outcome in
the R-learner (Nie and Wager 2021): it takes the question's difficulty out of the comparison.

The system is an arrowhead: given w₀ the routes are independent. With Λ the prior precision of w_r, Λ₀ that
of w₀ and M_r = G_r/noise + Λ, the Schur complement for w₀ is Λ₀ + Σ_r (Λ - Λ M_r⁻¹ Λ), since G_r/noise =
M_r - Λ: one inverse per route and no products of matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sona_pg.learning.routing.router_basis import Doubles

BIAS_MAIN, BIAS_ROUTE = 1.0, 0.25  # prior variances of b₀ and b_r
BOUNDS = 1e-3, 1.0  # of the prior variances
SMALLEST_RATIO = 0.35  # route to main: the evidence, blind to errors that routes share, shrinks differences too far
# Of the trace of a Gram matrix, added to its diagonal: far above what rounding to float32 takes from it in each cycle.
# Many records of one query leave it nearly singular, and divided by the noise its errors outweighed the prior.
ROUNDING, HARMLESS = 4e-6, 1000.0  # of a smaller trace rounding takes nothing that matters
TUNED_ROUTES = 8  # prior variances are chosen on so many of the busiest routes
NOISE = 0.01, 0.25  # bounds; quality lies in [0, 1], so its variance cannot be larger


class Statistics(NamedTuple):
    """Running sums per route; p = width of the basis + 1."""

    gram: Doubles  # (R, p, p)
    moment: Doubles  # (R, p)
    square: Doubles  # (R,)
    totals: Doubles  # (R, 6)
    paid: Doubles  # (R, 2, 2, p): see router_costs

    @classmethod
    def empty(cls, routes: int, p: int) -> Statistics:
        paid = np.zeros((routes, 2, 2, p))
        return cls(np.zeros((routes, p, p)), np.zeros((routes, p)), np.zeros(routes), np.zeros((routes, 6)), paid)


class Posterior(NamedTuple):
    weights: Doubles  # (R+1, p) means of w₀ + w_r, biases first; the last row is w₀
    variance: Doubles  # (R+1, p) variances of w_r given w₀, the diagonal
    evidence: float  # log marginal likelihood up to a constant, NaN unless asked for


class Given(NamedTuple):
    """Factors of the routes conditional on w₀, at one prior variance; inputs of the solve for w₀."""

    target: Doubles  # (R, p)
    inverse: dict[int, Doubles]  # route -> M_r⁻¹ (p, p), of those with events
    variance: Doubles  # (R+1, p)
    schur: Doubles  # (p, p) Σ_r (Λ - Λ M_r⁻¹ Λ)
    right: Doubles  # (p,)
    evidence: float  # their part of it; NaN unless asked for


def given_shared(sums: Statistics, route: float, noise: float, with_evidence: bool = False) -> Given:
    """Posterior of each route, conditional on the shared effect; routes without events keep the prior."""
    routes, p = sums.moment.shape
    inner = np.concatenate([[1 / BIAS_ROUTE], np.full(p - 1, 1 / route)])  # Λ
    target = (sums.moment - 0.5 * sums.gram[:, 0]) / noise
    schur, right, inverse = np.zeros((p, p)), np.zeros(p), {}
    variance = np.tile(1 / inner, (routes + 1, 1))
    evidence = 0.0 if with_evidence else float("nan")
    for r in np.flatnonzero(sums.totals[:, 0] > 0).tolist():
        precision = steadied(sums.gram[r]) / noise + np.diag(inner)
        inverse[r] = np.asarray(np.linalg.inv(precision), np.float64)
        variance[r] = np.diag(inverse[r])
        schur += np.diag(inner) - inner[:, None] * inverse[r] * inner
        right += inner * (inverse[r] @ target[r])
        if with_evidence:
            fitted = float(target[r] @ inverse[r] @ target[r])
            evidence += 0.5 * (float(np.log(inner).sum()) - _log_determinant(precision) + fitted)
    return Given(target, inverse, variance, schur, right, evidence)


def solve(sums: Statistics, main: float, route: float, noise: float, given: Given | None = None) -> Posterior:
    """The posterior at these variances; with its evidence if it is in ``given``, which else is made here."""
    given = given or given_shared(sums, route, noise)
    p = sums.moment.shape[1]
    outer = np.concatenate([[1 / BIAS_MAIN], np.full(p - 1, 1 / main)])  # Λ₀
    schur = given.schur + np.diag(outer)
    shared = np.linalg.solve(schur, given.right)
    weights = np.tile(shared, (len(given.variance), 1))
    for r, covariance in given.inverse.items():
        weights[r] += covariance @ (given.target[r] - steadied(sums.gram[r]) @ shared / noise)
    weights[:, 0] += 0.5
    evidence = given.evidence
    if evidence == evidence:  # not NaN
        evidence += 0.5 * (float(np.log(outer).sum()) + float(given.right @ shared) - _log_determinant(schur))
    return Posterior(weights, given.variance, evidence)


def tune(sums: Statistics, main: float, route: float, noise: float, step: float) -> tuple[float, float]:
    """The variances of largest evidence among the present ones and their neighbours at factor `step`."""
    busiest = np.argsort(-sums.totals[:, 0], kind="stable")[:TUNED_ROUTES]
    part = Statistics(*(column[busiest] for column in sums))
    tries = [(1.0, 1.0), (step, 1.0), (1 / step, 1.0), (1.0, step), (1.0, 1 / step)]
    pairs = []
    for a, b in tries:
        outer = float(np.clip(main * a, *BOUNDS))
        inner = float(np.clip(route * b, outer * SMALLEST_RATIO, BOUNDS[1]))
        pairs.append((round(outer, 12), round(inner, 12)))  # equal where they differ by rounding only

    given = {inner: given_shared(part, inner, noise, with_evidence=True) for inner in {inner for _, inner in pairs}}

    def evidence(pair: tuple[float, float]) -> float:
        return solve(part, *pair, noise, given[pair[1]]).evidence

    return max(pairs, key=evidence)


def residual(sums: Statistics, weights: Doubles, noise: float) -> float:
    """The mean squared residual of `weights` (R+1, p), half way from the old `noise`."""
    w, seen = weights[:-1], float(sums.totals[:, 0].sum())
    if seen <= 0:
        return noise
    explained = 2 * np.einsum("rp,rp->r", w, sums.moment) - np.einsum("rp,rpq,rq->r", w, sums.gram, w)
    squared = max(float((sums.square - explained).sum()), 0.0) / seen
    return float(np.clip(0.5 * (noise + squared), *NOISE))


def steadied(gram: Doubles) -> Doubles:
    """Return a Gram matrix (p, p) that rounding has not made indefinite."""
    trace = float(np.trace(gram))
    return gram if trace < HARMLESS else np.asarray(gram + ROUNDING * trace * np.eye(len(gram)), np.float64)


def without_negative(gram: Doubles) -> Doubles:
    """Return the nearest Gram matrix (p, p): the rounding of a sum is large beside what is left of it."""
    value, vector = np.linalg.eigh(0.5 * (gram + gram.T))
    return np.asarray((vector * np.maximum(value, 0.0)) @ vector.T, np.float64)


def _log_determinant(matrix: Doubles) -> float:
    return 2.0 * float(np.log(np.diag(np.linalg.cholesky(matrix))).sum())
