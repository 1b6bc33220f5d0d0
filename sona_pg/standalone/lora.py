"""Low-rank adapters for use without an engine or a store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg import kernels
from sona_pg.config import BaseConfig, MicroConfig
from sona_pg.domain.state import LoraWeights
from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue, StorageError
from sona_pg.learning.adapters.adapter_file import read_adapters, write_adapters
from sona_pg.learning.adapters.signal import LearningSignal
from sona_pg.learning.adapters.training import Schedule, displacements, train


class MicroLoRA:
    """An adapter of rank 1 or 2 that learns from single signals: ``y = x + scale · Bᵀ(A x)``."""

    def __init__(self, hidden_dim: int, rank: int = 2, *, seed: int = 0, weights: LoraWeights | None = None) -> None:
        """Start as the identity, or from ``weights``.

        Raises:
            ConfigError: the rank is not 1 or 2, or the dimension is not positive.
        """
        _require_shape(hidden_dim, rank, 2)
        self._seed = seed
        self._weights = LoraWeights.initial(rank, hidden_dim, seed) if weights is None else weights
        self._signals: list[LearningSignal] = []

    @property
    def weights(self) -> LoraWeights:
        """Both factors and the scale; never changed, only replaced."""
        return self._weights

    @property
    def rank(self) -> int:
        """The number of rows of each factor."""
        return self._weights.rank

    @property
    def hidden_dim(self) -> int:
        """Dimension of input and output."""
        return self._weights.dim

    @property
    def param_count(self) -> int:
        """The number of weights in both factors."""
        return 2 * self.rank * self.hidden_dim

    @property
    def scale(self) -> float:
        """Factor of the update."""
        return self._weights.scale

    def set_scale(self, scale: float) -> None:
        """Set the factor of the update."""
        self._weights = LoraWeights(self._weights.a, self._weights.b, _finite(scale, "scale"))

    def forward_simd(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return the output for ``x`` (dim,) or (n, dim), by the kernel of the active instruction set."""
        return _forward(self._weights, x)

    def forward_scalar(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return the output for ``x`` (dim,), in plain Python: the readable reference."""
        vector = _input(x, self.hidden_dim)
        output = [float(value) for value in vector]
        for a, b in zip(self._weights.a, self._weights.b, strict=True):
            down = math.fsum(float(weight) * float(value) for weight, value in zip(a, vector, strict=True))
            for column, weight in enumerate(b):
                output[column] += self.scale * down * float(weight)
        return np.array(output, np.float32)

    def accumulate_gradient(self, signal: LearningSignal) -> None:
        """Keep ``signal`` for the next ``apply_accumulated``.

        Raises:
            DimensionMismatch: it is of another dimension.
        """
        if len(signal.embedding) != self.hidden_dim:
            raise DimensionMismatch(self.hidden_dim, len(signal.embedding), "signal")
        self._signals.append(signal)

    def apply_accumulated(self, learning_rate: float = MicroConfig().learning_rate) -> int:
        """Apply the accumulated gradients; return the number of signals.

        Args:
            learning_rate: share of the full step by which one signal moves its own output.
        """
        if not learning_rate > 0:
            raise ConfigError(f"learning_rate={learning_rate!r} cannot work: expected a positive number")
        signals, self._signals = self._signals, []
        if signals:
            wanted = np.stack([signal.gradient for signal in signals])
            inputs = np.stack([signal.embedding for signal in signals])
            schedule = Schedule(learning_rate, 1, MicroConfig().max_norm, self._seed)
            self._weights = train(self._weights, inputs, displacements(wanted), schedule)
        return len(signals)

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file."""
        write_adapters(path, self._weights, [])

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a file written by ``save`` or ``SonaEngine.save``.

        Raises:
            StorageError: the file cannot be read, or holds no micro adapter.
            ConfigError: its rank is above 2.
        """
        weights, _ = read_adapters(path)
        if weights is None:
            raise StorageError(f"{path} holds no micro adapter: expected a file of MicroLoRA.save or SonaEngine.save")
        return cls(weights.dim, weights.rank, weights=weights)

    def reset(self) -> None:
        """Reset the weights, and drop accumulated gradients."""
        self._signals = []
        self._weights = LoraWeights.initial(self.rank, self.hidden_dim, self._seed, self.scale)


class BaseLoRA:
    """One adapter of higher rank for each layer; the update is scaled by ``alpha / rank``."""

    def __init__(
        self,
        hidden_dim: int,
        rank: int = BaseConfig().rank,
        num_layers: int = 12,
        *,
        alpha: float | None = None,
        seed: int = 0,
        layers: Sequence[LoraWeights] | None = None,
    ) -> None:
        """Start as the identity in every layer, or from ``layers``; ``alpha`` is the rank unless given.

        Raises:
            ConfigError: a number is not positive, or the layers differ in shape.
        """
        _require_shape(hidden_dim, rank, None)
        if num_layers < 1:
            raise ConfigError(f"num_layers={num_layers!r} cannot work: expected 1 or more")
        made = layers or [LoraWeights.initial(rank, hidden_dim, seed + layer) for layer in range(num_layers)]
        if len({(layer.a.shape, layer.scale) for layer in made}) != 1:
            raise ConfigError("the layers differ in rank, dimension or scale: expected the same of all")
        self._layers = tuple(made)
        if alpha is not None:
            self.set_alpha(alpha)

    @property
    def layers(self) -> tuple[LoraWeights, ...]:
        """The factors of each layer."""
        return self._layers

    @property
    def num_layers(self) -> int:
        """The number of layers."""
        return len(self._layers)

    @property
    def rank(self) -> int:
        """The number of rows of each factor."""
        return self._layers[0].rank

    @property
    def hidden_dim(self) -> int:
        """Dimension of input and output."""
        return self._layers[0].dim

    @property
    def alpha(self) -> float:
        """The scale of the update, times the rank."""
        return self._layers[0].scale * self.rank

    def set_alpha(self, alpha: float) -> None:
        """Set the scale of the update to ``alpha / rank``."""
        scale = _finite(alpha, "alpha") / self.rank
        self._layers = tuple(LoraWeights(layer.a, layer.b, scale) for layer in self._layers)

    def forward_layer(self, layer: int, x: ArrayLike) -> NDArray[np.float32]:
        """Return the output of ``layer`` for ``x`` (dim,) or (n, dim)."""
        return _forward(self._layer(layer), x)

    def merge_weights(self, layer: int, weights: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return ``(I + scale · BᵀA) W`` (dim, m): the merged weights of ``W`` followed by the layer.

        Args:
            layer: index of the layer.
            weights: W (dim, m); the identity if not given, and then ``merged @ x`` is ``forward_layer(layer, x)``.
        """
        lora = self._layer(layer)
        before = np.eye(lora.dim, dtype=np.float32) if weights is None else np.asarray(weights, np.float32)
        if before.ndim != 2 or len(before) != lora.dim:
            raise DimensionMismatch(lora.dim, len(before), "weights")
        return np.asarray(before + lora.scale * (lora.b.T @ (lora.a @ before)), np.float32)

    def save(self, path: str | Path) -> None:
        """Write all layers to a safetensors file."""
        write_adapters(path, None, self._layers)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a file written by ``save`` or ``SonaEngine.save``.

        Raises:
            StorageError: the file cannot be read, or holds no base adapter.
        """
        _, layers = read_adapters(path)
        if not layers:
            raise StorageError(f"{path} holds no base adapter: expected a file of BaseLoRA.save or SonaEngine.save")
        return cls(layers[0].dim, layers[0].rank, len(layers), layers=layers)

    def _layer(self, layer: int) -> LoraWeights:
        if not 0 <= layer < len(self._layers):
            raise InvalidValue(f"layer {layer!r} is not there: expected 0 to {len(self._layers) - 1}")
        return self._layers[layer]


def _forward(weights: LoraWeights, x: ArrayLike) -> NDArray[np.float32]:
    values = _input(x, weights.dim)
    return np.asarray(kernels.lora_forward(values, weights.a, weights.b, weights.scale), np.float32)


def _input(x: ArrayLike, dim: int) -> NDArray[np.float32]:
    values = np.ascontiguousarray(x, np.float32)
    if values.ndim not in (1, 2) or values.shape[-1] != dim:
        raise DimensionMismatch(dim, values.shape[-1] if values.ndim else 0, "input")
    return values


def _require_shape(hidden_dim: int, rank: int, highest: int | None) -> None:
    if hidden_dim < 1:
        raise ConfigError(f"hidden_dim={hidden_dim!r} cannot work: expected 1 or more")
    if rank < 1 or (highest is not None and rank > highest):
        raise ConfigError(f"rank={rank!r} cannot work: expected {'1 or more' if highest is None else '1 or 2'}")


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise InvalidValue(f"{name}={value!r} is not finite")
    return float(value)
