"""What the text of a query tells of its difficulty, without a model: cheap numbers for the router."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.kernels import text_features

WIDTH = 3


def query_features(query: str) -> NDArray[np.float32]:
    """Return (3,) float32: the logarithm of the length in characters, and the shares of digits and of symbols.

    On MMLU these lift the router's APGR from .659 to .678 (cross-validation within learning halves); capitals, question
    marks, line breaks and word length beside them did not help (.672). The router learns what they are worth, which
    may be nothing.
    """
    return text_features(query)
