"""Curvature of a fit's objective: its approximate inverse Hessian, with which few steps of L-BFGS suffice.

The Hessian of a softmax is Σ w (diag(p) - ppᵀ) ⊗ zzᵀ (Böhning 1992). Between two candidates it is neglected here, and
that of candidate i is taken as cᵢS + ridge, with S the mean of zzᵀ and cᵢ = Σ w p(1 - p) over the queries: candidates
of which every query is sure, or none, move the farther. A row of the shared map moves all logits by a feature of the
candidates: its c is their sum, weighed by the squares of that feature, or at least a share of their mean. Before the
first fit no query is sure yet, and c is the same for all rows. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_objective import FitPoint

FloatArray = npt.NDArray[np.float32]

_MOST_ROWS = 1024  # of the queries, about: their second moment needs no more
_LEAST_SHARE = 0.1  # of the mean weight of a candidate: bounds the steps of those that no query is unsure about
_LEAST_RIDGE = 1e-3
_LEAST_OF_MAP = 0.3  # of the mean of the candidates' c: the map moves what the heads move
_FLATTER = 0.7  # what is not sure yet becomes so on the way
_STEEPER = 3.0  # before the first fit: heads and map move the same logits
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class InverseCurvature:
    """Inverse Hessian of each row of the parameters, in the eigenvectors that all rows share."""

    directions: FloatArray  # (k + 1, k + 1) eigenvectors of S, by column
    steps: FloatArray  # (a + k, k + 1)

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """Return the product with `gradient` (a + k, k + 1)."""
        return np.asarray(((gradient @ self.directions) * self.steps) @ self.directions.T, np.float32)


def inverse_curvature(point: FitPoint, *, fitted: bool) -> InverseCurvature:
    """Return the inverse curvature of an objective at a point, from an even sample of its queries.

    `fitted` says whether the point is the result of an earlier fit.
    """
    of = point.objective
    sample = slice(None, None, max(1, len(of.query) // _MOST_ROWS))
    query, weight = of.query[sample], of.weight[sample]
    total, drawn = float(of.weight.sum()), max(float(weight.sum()), _SMALLEST)
    value, vector = np.linalg.eigh(((query * (weight / np.float32(drawn))[:, None]).T @ query).astype(np.float64))
    mean = total / len(of.features)
    curvature = np.full(len(point.at), _STEEPER * mean)
    if fitted:
        chance = point.chances(sample)
        unsure = np.maximum((total / drawn) * (weight @ (chance * (1.0 - chance))), _LEAST_SHARE * mean)
        of_map = np.maximum((of.features**2).T @ unsure, _LEAST_OF_MAP * unsure.mean())
        curvature = _FLATTER * np.concatenate([unsure, of_map])
    steps = 1.0 / (curvature[:, None] * np.maximum(value, 0.0) + max(of.ridge, _LEAST_RIDGE))
    return InverseCurvature(vector.astype(np.float32), steps.astype(np.float32))
