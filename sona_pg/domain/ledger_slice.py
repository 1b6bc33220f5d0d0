"""Ledger slice: trajectories, steps and feedback read for a cycle, by column."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Trajectories:
    """Stored trajectories, ordered by id."""

    ids: NDArray[np.uint8]  # (n, 16) uint8: the UUIDs' bytes
    embeddings: NDArray[np.float32]  # (n, dim) float32, as recorded
    quality: NDArray[np.float64]  # (n,) quality given at the end; NaN if none
    latency_us: NDArray[np.float64]  # (n,) NaN where unknown
    propensity: NDArray[np.float64]  # (n,) NaN where unknown
    candidate_sets: NDArray[np.int64]  # (n,) 0 where none was recorded
    cost: NDArray[np.float64]  # (n,) estimated by the decision; NaN where unknown
    features: NDArray[np.float32]  # (n, f) float32; NaN where unknown, f the largest number of any row
    routes: Sequence[str | None]
    queries: Sequence[str | None]
    lowest_reward: NDArray[np.float64]  # (n,) of its steps; NaN where there are none
    parameters: Sequence[Mapping[str, float] | None]  # parameters of the call
    paid: NDArray[np.float64]  # (n,) real cost, as told at the end; NaN where unknown
    sessions: Sequence[str | None]  # label of the session

    def __len__(self) -> int:
        return len(self.ids)

    def uuids(self) -> list[UUID]:
        """Return the ids as UUIDs."""
        return [UUID(bytes=row.tobytes()) for row in self.ids]

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the trajectories at ``rows``, in their order."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, column in columns.items():
            columns[name] = column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]
        return type(self)(**columns)

    def joined(self, other: Self) -> Self:
        """Return these trajectories followed by the others; missing features are NaN."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, column in columns.items():
            more = getattr(other, name)
            columns[name] = _stacked(column, more) if isinstance(column, np.ndarray) else [*column, *more]
        return type(self)(**columns)


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Stored steps of some trajectories, ordered by trajectory and ordinal."""

    trajectory: NDArray[np.int64]  # (s,) row of the step's trajectory
    reward: NDArray[np.float64]  # (s,) 0 where none was given
    activations: NDArray[np.float32]  # (s, dim) float32; zero where they had another length
    usable: NDArray[np.bool_]  # (s,) whether activations had the space's dimension

    def of_rows(self, rows: NDArray[np.intp], count: int) -> Self:
        """Return the steps of the trajectories ``rows``, ascending, of ``count``; renumbered from 0."""
        place = np.full(count, -1, np.int64)
        place[rows] = np.arange(len(rows))
        kept = np.flatnonzero(place[self.trajectory] >= 0)
        return type(self)(
            place[self.trajectory[kept]], self.reward[kept], self.activations[kept], self.usable[kept]
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """Quality of one trajectory by all its feedback."""

    quality: float | None
    correction: str | None = None  # the candidate that would have been right
    is_replaced: bool = False  # a source names another answer than the one given as the right one
    worst: float | None = None  # lowest quality among replaced facts; retracted ones excluded
    paid: float | None = None  # real cost


@dataclass(frozen=True, slots=True, eq=False)
class LedgerSlice:
    """Facts that one cycle claims: committed and unlearned."""

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
    revised_steps: Steps  # of the revised trajectories
    followed: bool = False  # whether more facts wait behind these

    def only(self, rows: NDArray[np.intp]) -> Self:
        """Return the slice with the fresh trajectories at ``rows``, ascending, alone."""
        return dataclasses.replace(
            self,
            fresh=self.fresh.take(rows),
            steps=self.steps.of_rows(rows, len(self.fresh)),
            outcomes=[self.outcomes[row] for row in rows.tolist()],
        )

    def without(self, trajectory: bytes) -> Self:
        """Return the slice as if one trajectory, and the feedback on it, had never been recorded."""
        fresh, revised = (
            np.array([row for row, id_ in enumerate(of.ids) if id_.tobytes() != trajectory], np.intp)
            for of in (self.fresh, self.revised)
        )
        return dataclasses.replace(
            self.only(fresh),
            revised=self.revised.take(revised),
            before=[self.before[row] for row in revised.tolist()],
            after=[self.after[row] for row in revised.tolist()],
            revised_steps=self.revised_steps.of_rows(revised, len(self.revised)),
        )


def _stacked(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    if first.ndim == 2 and first.shape[1] != second.shape[1]:
        width = max(first.shape[1], second.shape[1])
        first, second = (
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in (first, second)
        )
    return np.concatenate([first, second])
