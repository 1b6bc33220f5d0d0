"""Actions of maintenance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MaintenanceAction:
    """One thing that a maintenance run did, left for the next one (``later``), or would not do (``kept``)."""

    # made, moved, deleted, dropped, gave up, indexed, repaired, compacted, pruned, forgot; kept, later, skipped
    action: str
    subject: str  # a partition, an index, or a space
    detail: str = ""
    seconds: float = 0.0
