"""Strength of elastic weight consolidation: λ within its bounds, for any form of Fisher information."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import EwcConfig
from sona_pg.domain.state import FisherKind, FisherSnapshot
from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.boundary import MIN_SAMPLES, StreamMoments

TOLERATED = 0.02  # share of earlier choices that one cycle may lose before λ rises


class Elastic:
    """Base of both forms of elastic weight consolidation: configuration, λ, and numbering of tasks."""

    kind: FisherKind

    def __init__(self, config: EwcConfig | None, layer: int) -> None:
        """Start with the configured λ."""
        self.config = config or EwcConfig()
        self.layer = layer
        self._lambda = self.config.lambda_
        self._next_task = 0
        self._stream: StreamMoments | None = None  # moments of the current task, for detect_task_boundary
        self._untested = np.zeros((0, 0), np.float32)

    @property
    def lambda_(self) -> float:
        """Strength of the penalty around earlier optima."""
        return self._lambda

    def set_lambda(self, value: float) -> None:
        """Set λ.

        Raises:
            ConfigError: it is not within the configured bounds.
        """
        low, high = self.config.lambda_min, self.config.lambda_max
        if not (math.isfinite(value) and low <= value <= high):
            raise ConfigError(f"lambda={value!r} is out of bounds: expected a number in [{low}, {high}]")
        self._lambda = value

    def adapt_lambda(self, forgetting: float, tolerated: float = TOLERATED) -> float:
        """Raise λ, within its bounds, after more forgetting than is tolerated, else let it return; return it.

        Args:
            forgetting: the loss of quality on earlier tasks in this cycle, as a share.
            tolerated: up to this loss λ returns a tenth of the way to the configured value; at twice this it doubles.
        """
        if forgetting > tolerated:
            raised = self._lambda * 2.0 ** min((forgetting - tolerated) / max(tolerated, 1e-6), 1.0)
        else:
            raised = self._lambda + 0.1 * (self.config.lambda_ - self._lambda)
        self._lambda = float(np.clip(raised, self.config.lambda_min, self.config.lambda_max))
        return self._lambda

    def detect_task_boundary(self, vectors: NDArray[np.float32]) -> bool:
        """Return whether ``vectors`` come from another task than those of earlier calls; see ``boundary``.

        Vectors gather until there are enough of them for a test; after a boundary the earlier moments are dropped.

        Args:
            vectors: (n, m) or (m,) embeddings or gradients, in order of arrival.
        """
        rows = np.atleast_2d(np.asarray(vectors, np.float32))
        if not np.isfinite(rows).all():
            raise InvalidValue("vectors has values that are not finite: check what they were computed from")
        if self._stream is None:
            self._stream, self._untested = StreamMoments.empty(rows.shape[1]), rows[:0]
        if rows.shape[1] != len(self._stream.mean):
            raise DimensionMismatch(len(self._stream.mean), rows.shape[1], "vectors")
        self._untested = np.concatenate([self._untested, rows])
        if len(self._untested) < MIN_SAMPLES:
            return False
        changed = self._stream.shift(self._untested) > self.config.boundary_threshold
        before = StreamMoments.empty(rows.shape[1]) if changed else self._stream
        self._stream, self._untested = before.fold(self._untested), rows[:0]
        return changed

    def _own(self, snapshots: Sequence[FisherSnapshot], size: int) -> list[FisherSnapshot]:
        """Return the snapshots of this layer, kind and size of Fisher information; number new tasks after all."""
        of_layer = [snapshot for snapshot in snapshots if snapshot.layer == self.layer]
        self._next_task = max((snapshot.task + 1 for snapshot in of_layer), default=self._next_task)
        return [item for item in of_layer if item.kind == self.kind and len(item.fisher) == size]
