"""Text features of a query for the router: cheap indicators of its difficulty, without a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.kernels import text_features

WIDTH = 3


def query_features(query: str) -> NDArray[np.float32]:
    """Return (3,) float32: the logarithm of the length in characters, and the shares of digits and of symbols.

    The router learns their weight, which may be zero. Evidence: benchmarks/eval/EVIDENCE.md.
    """
    return text_features(query)
