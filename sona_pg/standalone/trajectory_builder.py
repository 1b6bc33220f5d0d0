"""Building a trajectory in memory, step by step, while it happens."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.errors import InvalidValue


class TrajectoryBuilder:
    """Collects the steps of one interaction; ``build`` gives the trajectory."""

    def __init__(self, embedding: ArrayLike, *, query: str | None = None) -> None:
        """Begin now."""
        self._embedding = _vector(embedding, "embedding")
        self._query = query
        self._steps: list[TrajectoryStep] = []
        self._began = time.perf_counter()

    @property
    def step_count(self) -> int:
        """The number of steps so far."""
        return len(self._steps)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._began

    def add_step(
        self, activations: ArrayLike | None = None, attention_weights: ArrayLike | None = None, reward: float = 0.0
    ) -> None:
        """Add a step that was taken now.

        Raises:
            InvalidValue: a number is not finite.
        """
        if not np.isfinite(reward):
            raise InvalidValue(f"reward={reward!r} is not finite")
        self._steps.append(
            TrajectoryStep(
                activations=None if activations is None else _vector(activations, "activations"),
                attention_weights=None if attention_weights is None else _vector(attention_weights, "attention"),
                reward=float(reward),
                offset_us=int(self.elapsed * 1e6),
            )
        )

    def build(self, quality: float | None = None, *, route: str | None = None) -> QueryTrajectory:
        """Return the trajectory as it is now.

        Raises:
            InvalidValue: quality is not in [0, 1].
        """
        if quality is not None and not 0 <= quality <= 1:
            raise InvalidValue(f"quality={quality!r} is out of range: expected a number in [0, 1]")
        return QueryTrajectory(
            embedding=self._embedding,
            steps=tuple(self._steps),
            quality=quality,
            route=route,
            query=self._query,
            latency_us=int(self.elapsed * 1e6),
        )


def _vector(values: ArrayLike, what: str) -> NDArray[np.float32]:
    vector = np.array(values, np.float32)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise InvalidValue(f"{what} of shape {vector.shape} is not one vector of finite numbers")
    return vector
