"""Operations on rows of vectors that several learners share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``vectors`` (..., dim) scaled to length one, without overflow; zero vectors stay zero."""
    if vectors.ndim == 2 and vectors.dtype == np.float32 and vectors.shape[1]:
        rows = np.ascontiguousarray(vectors)
        out = np.empty_like(rows)
        kernels.normalize_rows(rows, out)
        return out
    largest = np.max(np.abs(vectors), axis=-1, keepdims=True, initial=0.0)
    scaled = vectors / np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return np.asarray(scaled / np.where(norms > 0, norms, 1.0), np.float32)
