"""Plane: the two directions along which centroids differ most (principal components; Pearson 1901)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A mean and two orthonormal axes."""

    mean: NDArray[np.float64]  # (dim,)
    axes: NDArray[np.float64]  # (2, dim)
    explained: tuple[float, float]  # share of the variance along each axis

    @classmethod
    def through(cls, rows: NDArray[np.float32], dim: int) -> Plane:
        """Return the plane of ``rows`` (n, dim); of fewer than two, the first two coordinates."""
        axes = np.eye(2, dim)
        if len(rows) < 2:
            return cls(np.zeros(dim), axes, (0.0, 0.0))
        mean = rows.mean(axis=0, dtype=np.float64)
        apart = rows - mean
        _, lengths, directions = np.linalg.svd(apart, full_matrices=False)
        variance = lengths**2
        total = float(variance.sum())
        if total <= 0:
            return cls(mean, axes, (0.0, 0.0))
        count = min(2, len(directions))
        # An axis may point either way: the largest of its entries is positive, so that a map is drawn alike each time.
        kept = directions[:count]
        signs = np.sign(kept[np.arange(count), np.abs(kept).argmax(axis=1)])
        axes[:count] = kept * signs[:, None]
        shares = [*(variance[:count] / total).tolist(), 0.0]
        return cls(mean, axes, (shares[0], shares[1]))

    def place(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the coordinates (n, 2) of ``rows`` (n, dim)."""
        return np.asarray((rows - self.mean) @ self.axes.T, np.float64)
