"""Probe of an embedder: its vector of one fixed text, by which a space notices another model of the same dimension."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

TEXT = "track the package that I ordered on Monday, and cancel my subscription, please"
LEAST_COSINE = 0.99  # of two probes of one model: other hardware and half precision change the fourth digit
FORMAT = "<f4"


def probe_of(embed: Callable[[list[str]], Any], dim: int) -> NDArray[np.float32] | None:
    """Return the unit vector (dim,) that ``embed`` gives the fixed text; None where it knows no word of that."""
    try:
        vectors = np.asarray(embed([TEXT]), np.float32)
    except Exception:  # the caller's code: what it cannot embed here must not keep it from its own queries
        log.warning("the embedder cannot embed the text by which another model is noticed", exc_info=True)
        return None
    length = np.linalg.norm(vectors)
    if vectors.shape != (1, dim) or not np.isfinite(length) or length == 0:
        return None
    return np.asarray(vectors[0] / length, np.float32)


def to_bytes(probe: NDArray[np.float32]) -> bytes:
    """Return a probe as the store keeps it: little-endian float32."""
    return probe.astype(FORMAT).tobytes()


def cosine(kept: bytes, probe: NDArray[np.float32]) -> float:
    """Return the cosine of a stored probe and ``probe``, (dim,) float32."""
    return float(np.frombuffer(kept, FORMAT) @ probe)
