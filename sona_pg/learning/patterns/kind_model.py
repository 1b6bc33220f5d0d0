"""Kinds by meaning: a linear classifier over a space's embeddings, fitted once to examples of each kind.

Ridge regression on one-hot targets, its ridge chosen by the leave-one-out error, which costs no refit (Allen 1974). The
weights are kept with the space, so that a learner needs no embedder, and a rebuild gives the same kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import KINDS, PatternKind

RIDGES = (0.5, 1.0, 3.0, 10.0, 30.0)  # in units of the mean squared length of a centred example
LEAST_ACCURACY = 0.4  # balanced, of leave-one-out: of an embedder below it nothing is believed


@dataclass(frozen=True, slots=True, eq=False)
class KindModel:
    """Scores of the kinds at an embedding: ``weights @ x + bias``, with a standard deviation of 1 over the examples."""

    weights: NDArray[np.float32]  # (6, dim) float32
    bias: NDArray[np.float32]  # (6,) float32

    @classmethod
    def fitted(cls, examples: NDArray[np.float32], kinds: Sequence[PatternKind]) -> Self | None:
        """Return the classifier of ``examples`` (n, dim), or None if these embeddings do not tell kinds apart."""
        of = np.array([KINDS.index(kind) for kind in kinds])
        wanted = np.eye(len(KINDS))[of] - 1 / len(KINDS)
        centre = examples.mean(axis=0, dtype=np.float64)
        centred = examples - centre
        products = centred @ centred.T
        power = float(np.trace(products)) / len(products)
        if not power > 0:
            return None
        best: tuple[float, NDArray[np.float64], float] | None = None
        for ridge in RIDGES:
            inverse = np.linalg.inv(products + ridge * power * np.eye(len(products)))
            hat = products @ inverse
            own = np.diag(hat)[:, None]
            left_out = (hat @ wanted - own * wanted) / (1 - own)
            right = left_out.argmax(axis=1) == of
            accuracy = float(np.mean([right[of == kind].mean() for kind in np.unique(of)]))
            if best is None or accuracy > best[0]:
                best = accuracy, inverse @ wanted, float(left_out.std())
        assert best is not None
        accuracy, duals, spread = best
        if accuracy < LEAST_ACCURACY or not spread > 0:
            return None
        weights = duals.T @ centred / spread
        return cls(weights.astype(np.float32), (-weights @ centre).astype(np.float32))

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the score of each kind at ``embeddings`` (n, dim), (n, 6)."""
        return np.asarray(embeddings @ self.weights.T + self.bias, np.float32)

    def to_bytes(self) -> bytes:
        """Return the weights, then the bias, as little-endian float32."""
        return self.weights.astype("<f4").tobytes() + self.bias.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Restore from ``to_bytes``."""
        values = np.frombuffer(stored, "<f4").astype(np.float32)
        return cls(values[: -len(KINDS)].reshape(len(KINDS), -1), values[-len(KINDS) :])
