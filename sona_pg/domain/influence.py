"""Influence of single facts on an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Influence:
    """Effect of one trajectory, with all its feedback, on an answer."""

    trajectory: UUID
    started_at: datetime
    similarity: float  # cosine of its query and the one that was answered
    route: str | None
    query: str | None
    quality: float | None  # by all its feedback
    without: float  # the value if it had never been recorded
    effect: float  # the value minus that: positive, if it speaks for the answer


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an answer has its value: the facts near it that moved it most, each left out in turn."""

    kind: str  # "candidate": its score in a ranking; "route": its expected quality
    name: str
    value: float  # by the live version, without recent evidence
    version: int
    influences: Sequence[Influence]  # largest effect first, in either direction
    tried: int  # facts that were left out, one at a time
    near: int  # facts that were to be tried
    since_version: int  # facts that this version or an earlier one has learned were not tried; 0: all could be

    @property
    def complete(self) -> bool:
        """Whether the time sufficed for all of them."""
        return self.tried == self.near

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        rows = [
            dataclasses.asdict(one) | {"trajectory": str(one.trajectory), "started_at": one.started_at.isoformat()}
            for one in self.influences
        ]
        return dataclasses.asdict(self) | {"influences": rows, "complete": self.complete}
