"""Who decides when loop B runs: on demand, or when the schedule says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sona_pg.config import SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.space import Space
from sona_pg.store.database import Database
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.schedule import is_due

RETRY = 60.0  # seconds after a cycle that failed


class LoopCoordinator:
    """Runs at most one cycle at a time in this process; between servers the space's lease decides."""

    def __init__(
        self,
        background: BackgroundLoop,
        database: Database,
        space: Space,
        config: SonaConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``clock`` spaces the looks of this process, what is due goes by the database's."""
        self._background = background
        self._database = database
        self._space = space
        self._config = config.loops
        self._clock = clock
        self._running = threading.Lock()
        # Looking costs a few small queries, so not every tick looks.
        self._pause = min(self._config.shortest_interval, self._config.background_interval) / 10
        self._next = clock()
        self._behind = False  # whether more waited than the last cycle here has claimed

    def force(self) -> CycleResult:
        """Run loop B now."""
        with self._running:
            return self._background.run_cycle()

    def run_due(self) -> CycleResult | None:
        """Run one cycle of loop B if it is due by ``schedule.is_due``, counting the cycles of every server.

        While more waits than one cycle claims, the next is due at once; the caller serves each version between them.
        """
        now = self._clock()
        if not self._config.automatic or now < self._next or not self._running.acquire(blocking=False):
            return None
        try:
            self._next = now + self._pause
            found = self._database.schedule(self._space, "background")
            if not self._behind and not is_due(found.waiting, found.learned, found.elapsed, self._config):
                return None
            self._behind = False
            self._next = now + min(RETRY, self._config.background_interval)  # should it fail
            # Of the servers that find it due at once, those that waited for the first have hardly anything to learn.
            result = self._background.run_cycle_after(found.live_version)
            self._behind = result is not None and result.followed
            self._next = self._clock() + (0.0 if self._behind else self._pause)
            return result
        finally:
            self._running.release()
