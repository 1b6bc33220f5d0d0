"""Which stored trajectories a cycle reads again: a uniform sample of all, of bounded size (Vitter 1985)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import Arrays


@dataclass(frozen=True, slots=True, eq=False)
class Reservoir:
    """Ids of a uniform sample of all rated trajectories so far; the store keeps the trajectories themselves."""

    capacity: int
    seen: int
    ids: NDArray[np.uint8]  # (held, 16) uint8, held <= capacity

    @classmethod
    def empty(cls, capacity: int) -> Self:
        """Return a sample of nothing."""
        return cls(capacity, 0, np.zeros((0, 16), np.uint8))

    def offer(self, ids: NDArray[np.uint8], seed: int) -> Self:
        """Return the sample after ``ids`` (n, 16) were seen (algorithm R)."""
        if self.capacity == 0:
            return type(self)(0, self.seen + len(ids), self.ids)
        free = self.capacity - len(self.ids)
        held = np.concatenate([self.ids, ids[:free]])
        order = self.seen + np.arange(len(ids))[free:]  # how many were seen before each of the rest
        places = np.random.default_rng([seed, self.seen]).integers(order + 1)
        kept = places < self.capacity
        held[places[kept]] = ids[free:][kept]  # of two that fall on one place the later stays
        return type(self)(self.capacity, self.seen + len(ids), held)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the sample as named arrays."""
        return {"ids": self.ids, "seen": np.array(self.seen), "capacity": np.array(self.capacity)}

    @classmethod
    def from_arrays(cls, arrays: Arrays, capacity: int) -> Self:
        """Take up what ``to_arrays`` gave; a smaller capacity than before keeps the first."""
        ids = np.array(arrays["ids"], np.uint8).reshape(-1, 16)
        return cls(capacity, int(arrays["seen"]), ids[:capacity])
