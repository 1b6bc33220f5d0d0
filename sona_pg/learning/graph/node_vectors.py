"""Embeddings of a graph's nodes that are converted to float32 as they are read.

A deep cycle reads a few rows at a time. All rows of 100,000 nodes would take 100 MB at 256 dimensions, and as much
again when nodes are added or dropped; here the stored half precision is shared, and only the places change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.integer[Any]]

BLOCK = 8192  # rows converted at once


@dataclass(frozen=True, slots=True, eq=False)
class NodeVectors:
    """Rows (n, dim) of length one, float32 when read by index, slice or ``np.asarray``."""

    halves: NDArray[np.float16]  # (v, dim) as stored
    singles: Floats  # (s, dim) of the nodes that are stored elsewhere, or are new
    place: NDArray[np.int32]  # (n,) row of `halves`; -1 - row of `singles`

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and dimensions."""
        return len(self.place), self.halves.shape[1]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.place)

    def __getitem__(self, rows: int | np.integer[Any] | slice | Rows | list[int]) -> Floats:
        """Return some rows, or one."""
        if isinstance(rows, int | np.integer):
            return np.asarray(self[np.array([rows])][0], np.float32)
        place = self.place[rows]
        single = np.flatnonzero(place < 0)
        if len(single) == len(place):
            return self.singles[-1 - place]
        found = self.halves[np.maximum(place, 0)].astype(np.float32)
        found[single] = self.singles[-1 - place[single]]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all rows."""
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def selected(self, rows: Rows) -> NodeVectors:
        """Return ``rows`` in their order."""
        return replace(self, place=self.place[rows])

    def followed_by(self, more: Floats) -> NodeVectors:
        """Return these rows, and ``more`` after them."""
        first = -1 - len(self.singles)
        place = np.arange(first, first - len(more), -1, dtype=np.int32)
        singles = np.concatenate([self.singles, more])
        return replace(self, singles=singles, place=np.concatenate([self.place, place]))


Embeddings = Floats | NodeVectors


def selected(embeddings: Embeddings, rows: Rows) -> Embeddings:
    """Return ``rows`` of embeddings, which stay what they are."""
    return embeddings.selected(rows) if isinstance(embeddings, NodeVectors) else embeddings[rows]


def followed_by(embeddings: Embeddings, more: Floats) -> Embeddings:
    """Return embeddings with ``more`` rows, which stay what they are."""
    if isinstance(embeddings, NodeVectors):
        return embeddings.followed_by(more)
    return np.concatenate([embeddings, more])


def halved(embeddings: Embeddings, rows: Rows) -> NDArray[np.float16]:
    """Return ``rows`` in half precision, converted a block at a time."""
    found = np.empty((len(rows), embeddings.shape[1]), np.float16)
    for start in range(0, len(rows), BLOCK):
        found[start : start + BLOCK] = embeddings[rows[start : start + BLOCK]]
    return found
