"""Has the task changed? A scale-free test on the mean of what arrives.

Under one task the mean of ``n`` new vectors differs from the running mean of ``N`` old ones by chance alone:

    E |m_new - m_old|² = tr(Σ) (1/n + 1/N)

The statistic is the observed over the expected squared distance. It is 1 on average on a stationary stream,
whatever the scale and dimension, and grows with ``n`` when the mean has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import Arrays

MIN_SAMPLES = 32  # on either side, before the statistic means anything


@dataclass(frozen=True, slots=True, eq=False)
class StreamMoments:
    """Count, mean and total variance of the vectors seen since the last boundary."""

    count: int
    mean: NDArray[np.float64]  # (dim,) float64
    variance: float  # trace of the covariance

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Return the moments of nothing."""
        return cls(0, np.zeros(dim), 0.0)

    def fold(self, vectors: NDArray[np.float32]) -> Self:
        """Return these moments with ``vectors`` (n, dim) added (Chan et al. 1979)."""
        n = len(vectors)
        if n == 0:
            return self
        mean = vectors.mean(axis=0, dtype=np.float64)
        scatter = float(np.square(vectors - mean, dtype=np.float64).sum())
        total = self.count + n
        shift = mean - self.mean
        scatter += self.variance * self.count + float(shift @ shift) * self.count * n / total
        return type(self)(total, self.mean + shift * (n / total), scatter / total)

    def shift(self, vectors: NDArray[np.float32]) -> float:
        """Return the statistic for ``vectors`` (n, dim): about 1 while nothing has changed, 0 if unknown."""
        n = len(vectors)
        if n < MIN_SAMPLES or self.count < MIN_SAMPLES:
            return 0.0
        mean = vectors.mean(axis=0, dtype=np.float64)
        within = float(np.square(vectors - mean, dtype=np.float64).sum()) / (n - 1)
        # The smaller variance: a batch from a narrow new task must not hide behind the old task's width.
        expected = min(self.variance, within) * (1.0 / n + 1.0 / self.count)
        moved = float(np.square(mean - self.mean).sum())
        return moved / expected if expected > 0 else (np.inf if moved > 0 else 0.0)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the moments as named arrays."""
        return {"count": np.array(self.count), "mean": self.mean, "variance": np.array(self.variance)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Take up what ``to_arrays`` gave."""
        return cls(int(arrays["count"]), np.array(arrays["mean"], np.float64), float(arrays["variance"]))
