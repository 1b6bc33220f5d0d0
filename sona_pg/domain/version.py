"""State versions as shown to users: list, and differences of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sona_pg.domain.gate import Judgement

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
    server_id: UUID | None  # author; None: an earlier release
    trajectories: int | None  # trajectories its cycle read; None: no longer recorded
    feedback: int | None
    patterns: int | None  # None: its content is not kept
    routes: int | None
    complete: bool  # whether its content is kept, so that a rollback to it is possible
    judgement: Judgement | None = None  # by its gate; None: it has none
    difference: float | None = None  # in mean quality from the version before, as far as the gate has judged

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
    """One difference between two versions."""

    part: Literal["pattern", "route", "adapter", "array"]
    name: str
    change: Change
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    topic: str | None = None  # of a pattern: its name, else its most typical query without numbers and names

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """Differences between two versions; empty if they serve the same."""

    a: int
    b: int
    patterns: Sequence[Difference]  # by size, quality, verdicts and typical query
    routes: Sequence[Difference]
    adapters: Sequence[Difference]  # with their norms
    arrays: Sequence[Difference]  # of ranker, router and optimiser; ``moved`` where their shapes are equal

    @property
    def ranker_movement(self) -> float:
        """Largest relative movement of an array of the ranker: |b - a| / |a|; 0 if none has moved."""
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
    """Result of a rollback."""

    version: int  # live now
    restores: int  # the version whose content was restored
    undone: int  # cycles no longer included
    redone: int  # cycles included again
    batches: int  # undone batches, unlearned again or left out
    keep_facts: bool  # whether those are unlearned again

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return dataclasses.asdict(self)
