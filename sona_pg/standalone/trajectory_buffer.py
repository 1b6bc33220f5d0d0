"""Finished trajectories on their way to a learner in the same process. The engine has its own, compiled buffer."""

from __future__ import annotations

import threading
from collections import deque

from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.errors import ConfigError


class TrajectoryBuffer:
    """A bounded queue that refuses and counts records when full. Thread-safe; never blocks."""

    def __init__(self, capacity: int = 10_000) -> None:
        """Start empty."""
        if capacity < 1:
            raise ConfigError(f"capacity={capacity!r} cannot work: expected 1 or more")
        self.capacity = capacity
        self.dropped_count = 0
        self._waiting: deque[QueryTrajectory] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def len(self) -> int:
        """Number of trajectories; the same as ``len(buffer)``."""
        return len(self)

    @property
    def is_empty(self) -> bool:
        """Whether it is empty."""
        return not self._waiting

    def record(self, trajectory: QueryTrajectory) -> bool:
        """Keep ``trajectory`` and return True, or return False because the buffer is full."""
        with self._lock:
            if len(self._waiting) >= self.capacity:
                self.dropped_count += 1
                return False
            self._waiting.append(trajectory)
            return True

    def drain(self) -> list[QueryTrajectory]:
        """Return all trajectories, oldest first, and empty the buffer."""
        with self._lock:
            drained, self._waiting = list(self._waiting), deque()
            return drained
