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
    def embeddings(self) -> NDArray[np.float32]:
        """(m, dim) float32 unit rows for comparisons, computed on first use."""
        return _directions(self.halves)

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """(dim,) float32: of the unit rows."""
        return np.asarray(self.embeddings.mean(axis=0), np.float32)

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
        earlier = type(self).of(self.ids[:count], self.halves[:count])
        vars(earlier)["embeddings"] = self.embeddings[:count]
        return earlier

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
        longer = type(self)(names, np.concatenate([self.halves, added]) if len(self.ids) else added, index)
        if "embeddings" in vars(self):  # each row's result is independent of the other rows
            vars(longer)["embeddings"] = np.concatenate([self.embeddings, _directions(added)])
        return longer


_AT_ONCE = 8192  # rows converted at once, to bound temporary memory


def _directions(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return rows scaled to length one, float32; each is computed independently. Rows of zeros stay.

    Half precision neither overflows nor vanishes when it is squared in float32.
    """
    out = np.empty(halves.shape, np.float32)
    for start in range(0, len(halves), _AT_ONCE):
        block = out[start : start + _AT_ONCE]
        block[:] = halves[start : start + _AT_ONCE]
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        np.divide(block, lengths, out=block, where=lengths > 0)
    return out
