"""Candidates ranked by one version of the ranker again and again: all its terms folded into one matrix.

For fixed candidates the score is affine in the query, so heads, map, cosine and allowance become one
weight vector and one offset per candidate, and a query costs one product.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sona_pg.errors import DimensionMismatch
from sona_pg.kernels import CandidateBlock
from sona_pg.learning.ranking.ranker import RankerState, candidate_features
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray, unit_rows

Embeddings = npt.NDArray[np.float16] | FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Some candidates as one version scores them."""

    weights: FloatArray  # (c, dim)
    offset: FloatArray  # (c,)
    block: CandidateBlock = field(init=False)  # the same, for one query at a time

    def __post_init__(self) -> None:
        block = CandidateBlock(self.weights, self.offset)
        object.__setattr__(self, "block", block)
        object.__setattr__(self, "weights", block.weights)  # its own copy

    def score(self, queries: FloatArray) -> FloatArray:
        """Return the scores (b, c) of queries (b, dim), as `ranker.score` up to rounding; or `DimensionMismatch`."""
        if queries.shape[-1] != self.weights.shape[1]:
            raise DimensionMismatch(self.weights.shape[1], queries.shape[-1])
        logits: FloatArray = unit_rows(queries) @ self.weights.T
        logits += self.offset
        return logits


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """Very many prepared candidates, the scores of some of which are moved: cheaper than a copy of all."""

    prepared: Prepared
    places: npt.NDArray[np.int64]  # (r,) of the candidates that are moved
    weights: FloatArray  # (r, dim) added to theirs
    offset: FloatArray  # (r,)
    block: None = None

    def score(self, queries: FloatArray) -> FloatArray:
        """Return the scores (b, c) of queries (b, dim); or `DimensionMismatch`."""
        logits = self.prepared.score(queries)
        logits[:, self.places] += unit_rows(queries) @ self.weights.T + self.offset
        return logits


def prepare(state: RankerState, embeddings: Embeddings, rows: IntArray) -> Prepared:
    """Fold `state` for candidates `embeddings` (c, dim) with rows `rows` (c,). Raises `DimensionMismatch`."""
    if embeddings.shape[-1] != state.dim:
        raise DimensionMismatch(state.dim, embeddings.shape[-1])
    weights = np.empty(embeddings.shape, np.float32)
    offset = np.zeros(len(embeddings), np.float32)
    for start in range(0, len(embeddings), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        units = unit_rows(np.asarray(embeddings[block], np.float32))
        if state.fits:
            weights[block], offset[block] = _folded(state, units, rows[block])
        else:
            weights[block] = units
    return Prepared(weights, offset)


def _folded(state: RankerState, embeddings: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """The weights (c, dim) and offsets (c,) of unit rows."""
    wide, narrow = candidate_features(state, embeddings)
    learned = narrow @ state.map
    if len(state.head_rows):
        place = np.minimum(np.searchsorted(state.head_rows, rows), len(state.head_rows) - 1)
        headed = state.head_rows[place] == rows
        learned[headed] += state.heads[place[headed]]
    slopes = learned[:, :-1] @ state.basis.T if state.basis.size else learned[:, :-1]
    cosine = (state.scales[2] / state.scales[0]) * wide
    weights = cosine + slopes / state.scales[0]
    offset = learned[:, -1] + state.scales[3] / (1.0 + state.evidence(rows)) - weights @ state.query_mean
    weights += np.float32(state.caution) * cosine
    return weights, offset


_AT_ONCE = 2048  # candidates at once, to bound temporary memory
