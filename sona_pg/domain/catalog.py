"""Catalog: all candidates of a space that have a slot in its learned state."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1  # slot of a candidate unknown to the learned state


@dataclass(frozen=True, eq=False)
class Catalog:
    """Candidates by slot: the row of a candidate here is its row in every learned array."""

    ids: Sequence[str]
    halves: NDArray[np.float16]  # (m, dim) the embeddings as they are stored
    index: Mapping[str, int]  # id -> slot
    read_at: datetime | None = None  # by the clock of the database; None: not read from the database

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, ids: Sequence[str], embeddings: NDArray[Any]) -> Self:
        """Index the candidates with their embeddings (m, dim)."""
        halves = np.asarray(embeddings, np.float16)
        return cls(ids, halves, {name: slot for slot, name in enumerate(ids)})

    @property
    def dim(self) -> int:
        """Entries of an embedding."""
        return int(self.halves.shape[1])

    @cached_property
    def embeddings(self) -> UnitRows:
        """(m, dim) unit rows for comparisons."""
        return UnitRows(self.halves)

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """(dim,) float32: of the unit rows."""
        return self.embeddings.mean()

    def bare(self) -> Self:
        """Return this catalog without the unit rows, which only learners need."""
        return replace(self)

    def as_of(self, at: datetime) -> Self:
        """Return this catalog, read at ``at`` by the clock of the database; cached values are kept."""
        read = copy.copy(self)
        vars(read)["read_at"] = at
        return read

    def slots(self, ids: Sequence[str | None]) -> NDArray[np.int32]:
        """Return the slot of each id, ``UNKNOWN`` for None and for ids that are not here, (n,) int32."""
        return np.array([UNKNOWN if name is None else self.index.get(name, UNKNOWN) for name in ids], np.int32)

    def first(self, count: int) -> Self:
        """Return the catalog as it was when it had ``count`` candidates."""
        if count >= len(self.ids):
            return self
        return type(self).of(self.ids[:count], self.halves[:count])

    def take(self, slots: NDArray[np.int32]) -> Self:
        """Return the candidates of ``slots``, in their order."""
        return type(self).of([self.ids[slot] for slot in slots.tolist()], self.halves[slots])

    def changed(self, other: Catalog) -> Self:
        """Return this catalog with the embeddings that ``other`` has for some of its candidates."""
        slots = self.slots(other.ids)
        rows = np.flatnonzero(slots != UNKNOWN)
        rows = rows[(self.halves[slots[rows]] != other.halves[rows]).any(axis=1)]
        if not len(rows):
            return self
        halves = self.halves.copy()
        halves[slots[rows]] = other.halves[rows]
        return replace(self, halves=halves)

    def followed_by(self, other: Catalog) -> Self:
        """Return this catalog followed by the candidates that only ``other`` has."""
        new = [row for row, name in enumerate(other.ids) if name not in self.index]
        if not new:
            return self
        names = [*self.ids, *(other.ids[row] for row in new)]
        index = dict(self.index)
        index.update(zip(names[len(self.ids) :], range(len(self.ids), len(names)), strict=True))
        added = other.halves[new]
        return type(self)(names, np.concatenate([self.halves, added]) if len(self.ids) else added, index)


class UnitRows:
    """Rows (m, dim) of half precision as float32 rows of length one; rows of zeros stay.

    Few rows are kept so; of many, those asked for are converted each time, as the others would take twice the memory
    of the halves. Half precision neither overflows nor vanishes when it is squared in float32, and each row's result
    is independent of the others.
    """

    def __init__(self, halves: NDArray[np.float16]) -> None:
        """Convert nothing yet."""
        self._halves = halves
        self.shape = halves.shape

    def __len__(self) -> int:
        return len(self._halves)

    def __getitem__(self, rows: slice | NDArray[Any]) -> NDArray[np.float32]:
        """Return the rows of a slice or of an array of numbers, of the array's shape and one more axis."""
        if self._halves.size <= MOST_KEPT:
            return self._kept[rows]
        found = self._halves[rows].astype(np.float32)
        lengths = self._lengths[rows][..., None]
        np.divide(found, lengths, out=found, where=lengths > 0)
        return found

    @property
    def nbytes(self) -> int:
        """Memory in bytes beside that of the halves."""
        kept = [vars(self)[name] for name in ("_kept", "_lengths") if name in vars(self)]
        return sum(array.nbytes for array in kept)

    def mean(self) -> NDArray[np.float32]:
        """Return the mean of the rows, (dim,) float32."""
        total = np.zeros(self.shape[1])
        for start in range(0, len(self), _AT_ONCE):
            total += self[start : start + _AT_ONCE].sum(axis=0)
        return np.asarray(total / max(len(self), 1), np.float32)

    @cached_property
    def _kept(self) -> NDArray[np.float32]:
        return _directions(self._halves)

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        lengths = np.empty(len(self), np.float32)
        for start in range(0, len(self), _AT_ONCE):
            block = self._halves[start : start + _AT_ONCE].astype(np.float32)
            lengths[start : start + _AT_ONCE] = np.sqrt(np.einsum("ij,ij->i", block, block))
        return lengths


MOST_KEPT = 1 << 23  # numbers that are kept as float32: 32 MB
Rows = NDArray[np.float32] | UnitRows
_AT_ONCE = 8192  # rows converted at once, to bound temporary memory


def _directions(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return rows scaled to length one, float32."""
    out = np.empty(halves.shape, np.float32)
    for start in range(0, len(halves), _AT_ONCE):
        block = out[start : start + _AT_ONCE]
        block[:] = halves[start : start + _AT_ONCE]
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        np.divide(block, lengths, out=block, where=lengths > 0)
    return out
