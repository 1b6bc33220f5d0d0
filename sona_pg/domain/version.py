"""State versions as shown to users: list, and differences of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

VersionStatus = Literal["candidate", "live", "retired", "rejected"]
VersionOrigin = Literal["cycle", "rebuild", "rollback", "load"]
Change = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of a space: parent, origin, author and contents."""

    version: int
    parent: int  # the version it was made from; of a rollback, the one whose content it has
    status: VersionStatus
    origin: VersionOrigin
    created_at: datetime
    cycle_id: UUID
    server_id: UUID | None  # who made it; None: an earlier release
    trajectories: int | None  # that its cycle read; None: not recorded any more
    feedback: int | None
    patterns: int | None  # None: its content is not kept
    routes: int | None
    complete: bool  # whether its content is kept, so that it can be brought back

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        told = dataclasses.asdict(self)
        return told | {
            "created_at": self.created_at.isoformat(),
            "cycle_id": str(self.cycle_id),
            "server_id": None if self.server_id is None else str(self.server_id),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs between two versions."""

    part: Literal["pattern", "route", "adapter", "array"]
    name: str
    change: Change
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """All that differs between two versions; empty if they serve the same."""

    a: int
    b: int
    patterns: Sequence[Difference]  # by size, quality, verdicts and typical query
    routes: Sequence[Difference]
    adapters: Sequence[Difference]  # with their norms
    arrays: Sequence[Difference]  # of ranker, router and optimiser; ``moved`` where their shapes are equal

    @property
    def ranker_movement(self) -> float:
        """Largest relative movement of an array of the ranker: |b - a| / |a|; 0 where none has moved."""
        moved = [
            float(found.after["moved"])
            for found in self.arrays
            if found.name.startswith("ranker/") and found.after is not None and found.after.get("moved") is not None
        ]
        return max(moved, default=0.0)

    def __iter__(self) -> Any:
        return iter((*self.patterns, *self.routes, *self.adapters, *self.arrays))

    def __len__(self) -> int:
        return len(self.patterns) + len(self.routes) + len(self.adapters) + len(self.arrays)


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """A rollback that is done."""

    version: int  # live now
    restores: int  # the version whose content it has
    undone: int  # cycles that are not in it any more
    redone: int  # cycles that are in it again
    batches: int  # whose facts wait again, or are left out
    keep_facts: bool  # whether they wait again

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)
