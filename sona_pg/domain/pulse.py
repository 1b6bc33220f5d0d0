"""Pulse of a space: the few figures that tell whether it records, learns and serves, read in milliseconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Pulse:
    """Figures of a space at one moment, by the database's clock."""

    at: datetime
    live_version: int
    version_age: float | None  # seconds; None before anything was learned
    trajectories: int  # ever
    feedback: int  # facts, ever
    dropped: int  # records that servers refused for want of room, ever
    rated: int  # of the trajectories of the last minutes, those with a quality
    quality: float | None  # their mean
    waiting: int  # facts that no cycle has learned from
    waiting_for: float | None  # seconds since the oldest of them was recorded
    failed_cycles: int  # since the live version
    servers: int  # that are live
    behind: int  # the most versions that one of them is behind
    cycles: int  # of the last hour
    cycle_seconds: float | None  # of the last one

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {**asdict(self), "at": self.at.isoformat()}
