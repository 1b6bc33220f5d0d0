"""The state version: one immutable, numbered set of everything a space has learned except its patterns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]
FisherKind = Literal["diagonal", "kronecker"]


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights:
    """One low-rank adapter: ``apply(x) = x + scale · bᵀ(a x)`` (Hu et al. 2021)."""

    a: NDArray[np.float32]  # (rank, dim) float32
    b: NDArray[np.float32]  # (rank, dim) float32: the transpose of the paper's B
    scale: float = 1.0

    @classmethod
    def initial(cls, rank: int, dim: int, seed: int, scale: float = 1.0) -> Self:
        """Return ``A ~ N(0, 1/dim)`` and ``B = 0``: the first output is the input."""
        a = np.random.default_rng(seed).standard_normal((rank, dim)) / np.sqrt(dim)
        return cls(a.astype(np.float32), np.zeros((rank, dim), np.float32), scale)

    @property
    def rank(self) -> int:
        """The number of rows of each factor."""
        return int(self.a.shape[0])

    @property
    def dim(self) -> int:
        """Dimension of input and output."""
        return int(self.a.shape[1])

    @property
    def norm(self) -> float:
        """Frobenius norm of the merged update ``scale · BᵀA``: how far a unit vector can move."""
        gram = (self.b.astype(np.float64) @ self.b.T) * (self.a.astype(np.float64) @ self.a.T)
        return float(abs(self.scale) * np.sqrt(max(float(gram.sum()), 0.0)))


@dataclass(frozen=True, slots=True, eq=False)
class FisherSnapshot:
    """Optimum and Fisher information of one task for one layer."""

    task: int
    layer: int
    fisher: NDArray[np.float32]  # float32: (parameters,), not negative; or a sketch, see learning.ewc_kronecker
    optimum: NDArray[np.float32]  # (parameters,) float32
    kind: FisherKind = "diagonal"


@dataclass(frozen=True, slots=True)
class RouteStatistics:
    """Statistics of one route over the whole space (Welford's running moments)."""

    size: int = 0
    quality: float = 0.0
    quality_variance: float = 0.0  # of one outcome, population
    latency_us: float | None = None  # mean of those that are known
    updated_version: int = field(default=0, compare=False)  # that changed them last; nothing is learned from it

    def fold(self, qualities: Iterable[float]) -> Self:
        """Return these statistics with more outcomes."""
        size, mean, variance = self.size, self.quality, self.quality_variance
        for quality in qualities:
            size += 1
            apart = quality - mean
            mean += apart / size
            variance = max((variance * (size - 1) + apart * (quality - mean)) / size, 0.0)
        return dataclasses.replace(self, size=size, quality=mean, quality_variance=variance)

    def unfold(self, quality: float) -> Self | None:
        """Return these statistics with one outcome taken out again; None if nothing is left."""
        size = self.size - 1
        if size <= 0:
            return None
        mean = min(max(self.quality + (self.quality - quality) / size, 0.0), 1.0)
        squares = self.quality_variance * self.size - (quality - self.quality) * (quality - mean)
        return dataclasses.replace(self, size=size, quality=mean, quality_variance=max(squares / size, 0.0))

    def revise(self, old: float, new: float) -> Self:
        """Return these statistics with one outcome's quality changed from ``old`` to ``new``."""
        if self.size == 0:
            return self
        mean = min(max(self.quality + (new - old) / self.size, 0.0), 1.0)
        squares = (self.quality_variance + self.quality**2) * self.size - old**2 + new**2
        return dataclasses.replace(self, quality=mean, quality_variance=max(squares / self.size - mean**2, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class LearnedState:
    """Version ``version`` of a space. Version 0 has learned nothing: its adapters leave the input as it is."""

    version: int
    parent: int
    micro: LoraWeights
    base: tuple[LoraWeights, ...]
    routes: Mapping[str, RouteStatistics] = field(default_factory=dict)
    arrays: Mapping[str, Arrays] = field(default_factory=dict)  # part (ranker, router, optimiser, ewc) -> arrays
    cycle_id: UUID | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
