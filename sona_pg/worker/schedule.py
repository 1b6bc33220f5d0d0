"""When a space learns by itself: soon while little is known, then as its history grows, at the latest on time.

A cycle costs about the same however much has been learned, and what it can add falls with the share of what is new.
So a cycle is due with every tenth (``growth``) of the history: the number of cycles grows with its logarithm. It is due
no later than with as much as one cycle claims (``slice``): waiting longer would not make the cycles fewer.
"""

from __future__ import annotations

from datetime import timedelta

from sona_pg.config import LoopConfig


def due_at(learned: int, config: LoopConfig) -> int:
    """Return how many new facts make a cycle due before its interval is over, after ``learned`` facts."""
    return max(config.min_trajectories, min(int(config.growth * learned), config.slice))


def is_due(waiting: int, learned: int, elapsed: timedelta, config: LoopConfig, *, asked: bool = False) -> bool:
    """Say whether loop B should run.

    Args:
        waiting: trajectories and feedback that were committed and not learned from.
        learned: those that were.
        elapsed: since the last cycle began; before the first, since the space was made.
        config: of the loops.
        asked: whether somebody asks for it: then no time need have passed since the last.
    """
    if waiting < config.min_trajectories:
        return False
    if elapsed >= timedelta(seconds=config.background_interval):
        return True
    soon = asked or (config.growth > 0 and elapsed >= timedelta(seconds=config.shortest_interval))
    return soon and waiting >= due_at(learned, config)
