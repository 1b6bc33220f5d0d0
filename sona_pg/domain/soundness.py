"""Soundness of a version: finite, of bounded norm, of the space's dimension. No other version may go live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.errors import UnsoundVersion
from sona_pg.limits import LARGEST_NORM, LARGEST_WEIGHT

# Learned weights that answers are computed from; other arrays may hold NaN for what is unknown.
SERVED_ARRAYS = {"ranker": ("map", "heads", "scales", "query_sum", "item_mean"), "router": ("weights",)}


def require_sound(state: LearnedState, patterns: Sequence[LearnedPattern], dim: int) -> None:
    """Raise ``UnsoundVersion`` if serving this version would harm: it says which part, and how."""
    for name, lora in [
        ("micro adapter", state.micro),
        *((f"base layer {i}", each) for i, each in enumerate(state.base)),
    ]:
        if lora.a.shape != lora.b.shape or lora.dim != dim:
            raise _unsound(state, name, f"has dimension {lora.dim}, expected {dim}")
        if not (np.isfinite(lora.a).all() and np.isfinite(lora.b).all() and np.isfinite(lora.scale)):
            raise _unsound(state, name, "is not finite")
        if lora.norm > LARGEST_NORM:
            raise _unsound(state, name, f"has norm {lora.norm:.3g}, expected at most {LARGEST_NORM:g}")
    for part, names in SERVED_ARRAYS.items():
        for name in names:
            array = state.arrays.get(part, {}).get(name)
            if array is not None and array.size and not np.abs(array.astype(np.float64)).max() <= LARGEST_WEIGHT:
                raise _unsound(state, f"{part} array {name!r}", "is not finite, or too large")
    query_sum = state.arrays.get("ranker", {}).get("query_sum")
    if query_sum is not None and len(query_sum) != dim:
        raise _unsound(state, "ranker", f"has dimension {len(query_sum)}, expected {dim}")
    if patterns:
        if {len(pattern.centroid) for pattern in patterns} != {dim}:
            raise _unsound(state, "a pattern's centroid", f"has another dimension than {dim}")
        centroids = np.stack([pattern.centroid for pattern in patterns])
        if not np.abs(centroids).max() <= LARGEST_NORM:
            raise _unsound(state, "a pattern's centroid", "is not finite, or too large")


def _unsound(state: LearnedState, part: str, fault: str) -> UnsoundVersion:
    return UnsoundVersion(f"version {state.version} cannot go live: its {part} {fault}")
