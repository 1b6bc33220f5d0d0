"""Who decides when loop B runs: on demand, or when the schedule says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sona_pg.config import SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.space import Space
from sona_pg.loops.background import BackgroundLoop
from sona_pg.loops.schedule import is_due
from sona_pg.store.database import Database

RETRY = timedelta(seconds=60)  # after a cycle that failed


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
        self._opened = now()
        # Looking costs a few small queries, so not every tick looks.
        self._pause = timedelta(seconds=min(self._config.shortest_interval, self._config.background_interval) / 10)
        self._next = self._opened

    def force(self) -> CycleResult:
        """Run loop B now."""
        with self._running:
            return self._background.run_cycle()

    def run_due(self) -> CycleResult | None:
        """Run loop B if it is due by ``schedule.is_due``, counting the cycles of every server; else do nothing."""
        now = self._now()
        if not self._config.automatic or now < self._next or not self._running.acquire(blocking=False):
            return None
        try:
            self._next = now + self._pause
            live = self._database.live_version(self._space)
            began = self._database.last_cycle(self._space, "background") or self._opened
            waiting, learned = self._database.unlearned(self._space)
            if not is_due(waiting, learned, now - began, self._config):
                return None
            self._next = now + min(RETRY, timedelta(seconds=self._config.background_interval))  # should it fail
            # Of the servers that find it due at once, those that waited for the first have hardly anything to learn.
            result = self._background.run_cycle_after(live)
            self._next = self._now() + self._pause
            return result
        finally:
            self._running.release()
