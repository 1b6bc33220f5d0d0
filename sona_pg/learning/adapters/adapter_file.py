"""Adapters as a safetensors file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sona_pg.domain.state import LoraWeights
from sona_pg.errors import LearningError, StorageError

FORMAT = "sona-pg adapters 1"


def write_adapters(path: str | Path, micro: LoraWeights | None, base: Sequence[LoraWeights]) -> None:
    """Write adapters to a safetensors file: ``micro.a``, ``micro.b``, ``base.0.a``, …; the scales are metadata.

    Raises:
        StorageError: the file cannot be written.
    """
    named = {} if micro is None else {"micro": micro}
    named |= {f"base.{layer}": weights for layer, weights in enumerate(base)}
    tensors = {f"{name}.a": np.ascontiguousarray(weights.a) for name, weights in named.items()}
    tensors |= {f"{name}.b": np.ascontiguousarray(weights.b) for name, weights in named.items()}
    scales = json.dumps({name: weights.scale for name, weights in named.items()})
    try:
        save_file(tensors, str(path), {"format": FORMAT, "scales": scales})
    except (OSError, SafetensorError) as exc:
        raise StorageError(f"the adapters cannot be written to {path}: {exc}") from exc


def read_adapters(path: str | Path) -> tuple[LoraWeights | None, list[LoraWeights]]:
    """Return the micro adapter, if there is one, and the base adapter's layers.

    Raises:
        StorageError: the file cannot be read, or was not written by ``write_adapters``.
        LearningError: it holds factors of different shapes, or values that are not finite.
    """
    try:
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as exc:
        raise StorageError(f"no adapters can be read from {path}: {exc}") from exc
    if metadata.get("format") != FORMAT:
        raise StorageError(f"{path} is of format {metadata.get('format')!r}: expected {FORMAT!r}")
    scales: dict[str, float] = json.loads(metadata["scales"])
    found = {name: _checked(path, name, tensors, scale) for name, scale in scales.items()}
    return found.get("micro"), [found[f"base.{layer}"] for layer in range(len(found) - ("micro" in found))]


def _checked(path: str | Path, name: str, tensors: dict[str, NDArray[np.float32]], scale: float) -> LoraWeights:
    a, b = (tensors.get(f"{name}.{factor}") for factor in "ab")
    if a is None or b is None or a.ndim != 2 or a.shape != b.shape:
        raise LearningError(f"{path}: adapter {name!r} lacks a factor, or its factors differ in shape")
    if not (np.isfinite(a).all() and np.isfinite(b).all() and math.isfinite(scale)):
        raise LearningError(f"{path}: adapter {name!r} has values that are not finite")
    return LoraWeights(a.astype(np.float32), b.astype(np.float32), scale)
