"""Actions of maintenance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MaintenanceAction:
    """One action of a maintenance run: done, postponed (``later``) or refused (``kept``)."""

    # made, moved, deleted, dropped, gave up, indexed, repaired, compacted, pruned, forgot, summed; kept, later, skipped
    action: str
    subject: str  # a partition, an index, or a space
    detail: str = ""
    seconds: float = 0.0
