"""What a learner reads from the ledger, by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """Stored trajectories, ordered by id."""

    ids: NDArray[np.uint8]  # (n, 16) uint8: the UUIDs' bytes
    embeddings: NDArray[np.float32]  # (n, dim) float32, as recorded
    quality: NDArray[np.float64]  # (n,) as told at the end; NaN where nobody had said
    latency_us: NDArray[np.float64]  # (n,) NaN where unknown
    propensity: NDArray[np.float64]  # (n,) NaN where unknown
    candidate_sets: NDArray[np.int64]  # (n,) 0 where none was recorded
    cost: NDArray[np.float64]  # (n,) NaN where unknown
    features: NDArray[np.float32]  # (n, f) float32; NaN where unknown, f the most that any has
    routes: Sequence[str | None]
    queries: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def uuids(self) -> list[UUID]:
        """Return the ids as UUIDs."""
        return [UUID(bytes=row.tobytes()) for row in self.ids]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Stored steps of some trajectories, ordered by trajectory and ordinal."""

    trajectory: NDArray[np.int64]  # (s,) row of the step's trajectory
    reward: NDArray[np.float64]  # (s,) 0 where none was given
    activations: NDArray[np.float32]  # (s, dim) float32; zero where they had another length
    usable: NDArray[np.bool_]  # (s,) whether activations had the space's dimension


@dataclass(frozen=True, slots=True)
class Outcome:
    """How good one trajectory was, by all that is known of it."""

    quality: float | None
    correction: str | None = None  # the candidate that would have been right


@dataclass(frozen=True, slots=True, eq=False)
class LedgerSlice:
    """What one cycle claims: everything that was committed and not yet learned from."""

    batches: Sequence[int]
    fresh: Trajectories
    steps: Steps  # of the fresh trajectories
    outcomes: Sequence[Outcome]  # of the fresh trajectories
    revised: Trajectories  # learned from earlier; feedback has arrived since
    before: Sequence[Outcome]  # of the revised trajectories, as it was learned
    after: Sequence[Outcome]  # of the revised trajectories, as it is now
    feedback: int  # new facts
    waiting: int  # facts whose trajectory has not arrived
    unreadable: Sequence[tuple[UUID, str]]  # trajectories that cannot be learned from, and why
