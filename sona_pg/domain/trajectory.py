"""Trajectories as values, for learning without a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ids import uuid7


@dataclass(frozen=True, slots=True, eq=False)
class TrajectoryStep:
    """One step of a trajectory."""

    activations: NDArray[np.float32] | None = None  # (dim,) float32, of what was answered; of another length: unused
    attention_weights: NDArray[np.float32] | None = None  # (any,) float32
    reward: float = 0.0
    offset_us: int = 0  # since the trajectory began


@dataclass(frozen=True, slots=True, eq=False)
class QueryTrajectory:
    """One interaction: query embedding, steps, route and quality."""

    embedding: NDArray[np.float32]  # (dim,) float32
    steps: tuple[TrajectoryStep, ...] = ()
    quality: float | None = None  # in [0, 1]; None while unknown
    route: str | None = None
    context: tuple[str, ...] = ()
    query: str | None = None
    latency_us: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)  # parameters of the call
    id: UUID = field(default_factory=uuid7)
