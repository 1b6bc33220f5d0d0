"""Schedule of automatic cycles: frequent while little is known, then as the history grows, at the latest on time.

A cycle's cost hardly depends on the history, and its gain falls with the share of new facts. So a cycle is due whenever
the history has grown by a tenth (``growth``): the number of cycles grows with its logarithm. A full ``slice`` of
unlearned facts makes a cycle due as well: waiting longer would not reduce the number of cycles.
"""

from __future__ import annotations

from datetime import timedelta

from sona_pg.config import DreamConfig, LoopConfig
from sona_pg.domain.cycle import DeepSchedule

RETRY = (60.0, 3600.0)  # pauses in seconds after the first failure in a row, and at most
FIRST = 5  # the first cycle is due at a fifth of ``min_trajectories``


def least(learned: int, config: LoopConfig) -> int:
    """Return the number of new facts below which no cycle is due, after ``learned`` facts.

    A new space learns with its first few facts, and as often as these double: at 20, 40, 80 and 180 facts by default.
    """
    return min(max(-(-config.min_trajectories // FIRST), learned), config.min_trajectories)


def due_at(learned: int, config: LoopConfig) -> int:
    """Return the number of new facts that makes a cycle due before its interval is over, after ``learned`` facts."""
    return max(least(learned, config), min(int(config.growth * learned), config.slice))


def is_due(waiting: int, learned: int, elapsed: timedelta, config: LoopConfig, *, asked: bool = False) -> bool:
    """Return whether loop B should run.

    Args:
        waiting: number of unlearned trajectories and feedback.
        learned: number of learned ones.
        elapsed: time since the last cycle began; before the first, since the space was made.
        config: settings of the loops.
        asked: whether a caller asks for it: then the time since the last cycle does not count.
    """
    if waiting < least(learned, config):
        return False
    if elapsed >= timedelta(seconds=config.background_interval):
        return True
    soon = asked or (config.growth > 0 and elapsed >= timedelta(seconds=config.shortest_interval))
    return soon and waiting >= due_at(learned, config)


def is_deep_due(found: DeepSchedule, dreams: DreamConfig, loops: LoopConfig) -> bool:
    """Return whether loop C should run: every ``dreams.interval`` if the space has learned, or to finish a round."""
    if found.since_failure.total_seconds() < retry_after(found.failures, loops):
        return False
    if not found.finished:
        return True
    return found.learned_since and found.elapsed >= timedelta(seconds=dreams.interval)


def retry_after(failures: int, config: LoopConfig) -> float:
    """Return the seconds from the last of ``failures`` cycles in a row to the next attempt, by any learner."""
    return min(RETRY[0] * 2 ** min(failures - 1, 20), RETRY[1], config.background_interval) if failures else 0.0
