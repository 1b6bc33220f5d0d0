"""Coordinates of recent ranking: features of queries and candidates, their metric, and the served scores in them."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.ranking.ranker import RankerState, centre
from sona_pg.learning.ranking.ranker_confidence import first_sharpness, spread_rows
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray
from sona_pg.learning.ranking.ranker_prepared import prepare


class RecentFeatures:
    """Features of one version's queries and candidates; more candidates may be added at the end."""

    def __init__(
        self, state: RankerState, embeddings: FloatArray, slots: IntArray, *, spread: float, ridge: float, basis: int
    ) -> None:
        """Centre and scale by the version, or by the candidates (m, dim) before the first fit.

        Args:
            state: the ranker of the version.
            embeddings: (m, dim) float32 unit rows of the candidates, one or more.
            slots: (m,) their rows in the state.
            spread: standard deviation of the served scores over the candidates before the first fit.
            ridge: of the metric, in units of its mean eigenvalue within the span of the candidates.
            basis: candidates, evenly spread, of which the metric is made.
        """
        self._state = state
        sample = spread_rows(len(embeddings), basis)
        self._candidate_mean = state.item_mean if state.fits else centre(embeddings.mean(axis=0))
        self.query_mean = state.query_mean if state.fits else self._candidate_mean
        self.query_scale = state.scales[0] if state.fits else _scale_around(self.query_mean)
        self.temperature = 1.0 if state.fits else first_sharpness(embeddings[sample], spread)
        self.directions = self._directed(embeddings)  # (m, dim)
        self._metric = _Metric(self.directions[sample], ridge)
        self.slopes = self._metric.apply(self.directions)  # (m, dim + 1): directions in the metric, without the bias
        bias = np.zeros((1, state.dim + 1), np.float32)
        bias[0, -1] = 1.0
        self.bias_slope = self._metric.apply_wide(bias)[0]  # (dim + 1,)
        self.served = self._served(embeddings, slots)  # (m, dim + 1): the version's scores of features
        self.evidence = state.evidence(slots).astype(np.float64)  # (m,)

    def extend(self, embeddings: FloatArray, slots: IntArray) -> None:
        """Add candidates (n, dim), unit rows."""
        # One by one: the last bits of a product depend on how many rows it has.
        alone = [slice(row, row + 1) for row in range(len(embeddings))]
        directions = [self._directed(embeddings[row]) for row in alone]
        self.directions = np.concatenate([self.directions, *directions])
        self.slopes = np.concatenate([self.slopes, *map(self._metric.apply, directions)])
        self.served = np.concatenate([self.served, *(self._served(embeddings[row], slots[row]) for row in alone)])
        self.evidence = np.concatenate([self.evidence, self._state.evidence(slots).astype(np.float64)])

    def truncate(self, count: int) -> None:
        """Forget all candidates but the first `count`."""
        self.directions, self.slopes = self.directions[:count], self.slopes[:count]
        self.served, self.evidence = self.served[:count], self.evidence[:count]

    def of_queries(self, queries: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the features (n, dim) of unit rows, and their slopes (n, dim + 1)."""
        wide = np.asarray((queries - self.query_mean) / self.query_scale, np.float32)
        return wide, self._metric.apply(wide)

    def _served(self, embeddings: FloatArray, slots: IntArray) -> FloatArray:
        made = prepare(self._state, embeddings, slots)
        constant = made.weights @ self.query_mean + made.offset
        return np.concatenate([made.weights * self.query_scale, constant[:, None]], axis=1).astype(np.float32)

    def _directed(self, embeddings: FloatArray) -> FloatArray:
        directions = embeddings - self._candidate_mean
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions / np.maximum(lengths, np.float32(1e-6)), np.float32)


class _Metric:
    """Inverse of the regularised second moment of the candidates' directions, so scaled that theirs is 1 on average."""

    def __init__(self, directions: FloatArray, ridge: float) -> None:
        rows = np.pad(directions.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
        ridge = ridge / min(rows.shape)
        basis = rows / np.sqrt(len(rows))
        inner = np.linalg.inv(basis @ basis.T + ridge * np.eye(len(basis)))
        inside = (inner @ (basis @ rows.T)).T @ basis
        scale = 1.0 / float(np.einsum("ij,ij->i", rows, (rows - inside) / ridge).mean())
        self._basis, self._inner = basis.astype(np.float32), inner.astype(np.float32)
        self._factor = np.float32(scale / ridge)

    def apply(self, features: FloatArray) -> FloatArray:
        """(n, d + 1) of (n, d), whose bias counts as 0."""
        return self.apply_wide(np.pad(features, ((0, 0), (0, 1))))

    def apply_wide(self, features: FloatArray) -> FloatArray:
        """(n, d + 1) of (n, d + 1)."""
        inside = ((features @ self._basis.T) @ self._inner) @ self._basis
        return np.asarray((features - inside) * self._factor, np.float32)


def _scale_around(mean: FloatArray) -> np.float32:
    return np.float32(np.sqrt(max(1.0 - float(mean @ mean), 1e-6)))
