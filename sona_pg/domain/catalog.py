"""Everything of a space that can be chosen and has a place in its learned state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1  # the slot of a candidate that no cycle has met


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Candidates by slot: the row of a candidate here is its row in every learned array."""

    ids: Sequence[str]
    embeddings: NDArray[np.float32]  # (m, dim) float32
    index: Mapping[str, int]  # id -> slot

    @classmethod
    def of(cls, ids: Sequence[str], embeddings: NDArray[np.float32]) -> Self:
        """Index the candidates."""
        return cls(ids, embeddings, {name: slot for slot, name in enumerate(ids)})

    def slots(self, ids: Sequence[str | None]) -> NDArray[np.int32]:
        """Return the slot of each id, ``UNKNOWN`` for None and for ids that are not here, (n,) int32."""
        return np.array([UNKNOWN if name is None else self.index.get(name, UNKNOWN) for name in ids], np.int32)

    def followed_by(self, other: Catalog) -> Catalog:
        """Return this catalog with what only ``other`` has behind it."""
        new = [row for row, name in enumerate(other.ids) if name not in self.index]
        if not new:
            return self
        names = [*self.ids, *(other.ids[row] for row in new)]
        return Catalog.of(names, np.concatenate([self.embeddings, other.embeddings[new]]))
