"""Who decides when loop B runs: on demand, or when its interval has passed and enough waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sona_pg.config import SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.space import Space
from sona_pg.loops.background import BackgroundLoop
from sona_pg.store.database import Database


class LoopCoordinator:
    """Runs at most one cycle at a time in this process; between servers the space's row lock decides."""

    def __init__(
        self,
        background: BackgroundLoop,
        database: Database,
        space: Space,
        config: SonaConfig,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Count the interval from the space's last cycle, or from now if there was none."""
        self._background = background
        self._database = database
        self._space = space
        self._config = config.loops
        self._now = now
        self._running = threading.Lock()
        self._next = (database.last_cycle(space, "background") or now()) + self._interval

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self._config.background_interval)

    def force(self) -> CycleResult:
        """Run loop B now."""
        with self._running:
            result = self._background.run_cycle()
            self._next = self._now() + self._interval
            return result

    def run_due(self) -> CycleResult | None:
        """Run loop B if the interval has passed on every server and enough trajectories wait; else do nothing."""
        if not self._config.automatic or self._now() < self._next or not self._running.acquire(blocking=False):
            return None
        try:
            last = self._database.last_cycle(self._space, "background")
            if last is not None and last + self._interval > self._now():
                self._next = last + self._interval  # another server was there first
                return None
            self._next = self._now() + min(self._interval, timedelta(seconds=60))
            if self._database.totals(self._space)["waiting"] < self._config.min_trajectories:
                return None
            result = self._background.run_cycle()
            self._next = self._now() + self._interval
            return result
        finally:
            self._running.release()
