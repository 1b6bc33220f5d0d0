"""What maintenance has done, one value a thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that a maintenance run did, or left for the next one (``later``)."""

    action: str  # made, moved, deleted, dropped, indexed, repaired, compacted, pruned, forgot, later, skipped
    subject: str  # a partition, an index, or a space
    detail: str = ""
    seconds: float = 0.0
