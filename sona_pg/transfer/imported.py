"""Figures of an import."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Imported:
    """Figures of an import."""

    rows: int = 0  # of the file, those of an interrupted import too
    recorded: int = 0  # trajectories that were new
    feedback: int = 0  # facts that were new, corrections included
    candidates: int = 0
    known: int = 0  # rows of this run that were recorded before
    changed: int = 0  # of them, those that differ from the record, which stays
    corrected: int = 0  # of them, those whose rating was corrected by a new fact
    rejected: int = 0
    erased: int = 0  # rows of this run that are left out: their user, session or record was erased from the space
    first_erased: int = 0  # line of the first of them
    resumed_at: int = 0  # line of an interrupted import
    rejects: str | None = None  # file of the rejected rows
    first_changed: list[dict[str, Any]] = field(default_factory=list)  # changed or corrected rows, as --changed lists
    first_reason: str = ""  # why the first row of this run was rejected
    ignored_fields: dict[str, int] = field(default_factory=dict)
    unseen_headings: list[str] = field(default_factory=list)  # mapped, and in none of this run's rows
    seconds: float = 0.0
    rows_per_second: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as values for JSON."""
        return asdict(self)
