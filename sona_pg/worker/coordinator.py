"""Coordinator of loops B and C in one space: runs them on demand, or when the schedule says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sona_pg.config import LoopConfig, SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.cycle import CycleResult, DeepSchedule, LearningSchedule
from sona_pg.domain.deep_result import DeepResult
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.database import Database
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.deep_loop import DeepLoop
from sona_pg.worker.schedule import is_deep_due, is_due, least, retry_after

LOOK_ANYWAY = 60.0  # seconds between checks with too few facts as well: the space's settings may have changed


class LoopCoordinator:
    """Runs at most one cycle of a space at a time in this process; between servers the space's lease decides."""

    def __init__(
        self,
        background: BackgroundLoop,
        database: Database,
        space: Space,
        config: SonaConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``clock`` times this process's checks, the database's clock decides when a cycle is due."""
        self.background = background
        self.deep = DeepLoop(database, space, background.server_id, config)
        self.space = space
        self.stopping = threading.Event()  # set to end a deep cycle of the learner early
        self.failures = 0  # in a row, of cycles that were due
        self.failures_in_all = 0
        self.has_tried = False  # whether a cycle was run here, to its end or its failure
        self.failing_since: float | None = None  # seconds since 1970: the first failure in a row
        self.error = ""  # class of the last one
        self.backing_off = False  # whether a cycle would be due but for failures, here or elsewhere
        self.due_since: float | None = None  # by ``clock``: when a cycle was found due that has not run yet
        self.learned_here = False  # whether this learner was the last to learn in the space, at the last check
        self._learned = 0  # facts, at the last check
        self._live_version = 0  # the live version when it was found due
        self._failed = False  # whether the last cycle of the space had failed then
        self._database = database
        self._whole = applied(config, space.settings)
        self._clock = clock
        self._running = threading.Lock()
        self._next = clock()
        self._next_in_turn = self._next + self._config.poll_interval
        self._look_anyway = self._next + LOOK_ANYWAY
        self.behind = False  # whether the last cycle here left unlearned facts
        self.catching_up = False  # whether the due cycle continues one that did

    def force(self) -> CycleResult:
        """Run loop B now."""
        with self._running:
            return self.background.run_cycle()

    def force_deep(self, seconds: float | None = None, **how: Any) -> DeepResult:
        """Run loop C now; see ``DeepLoop.run_cycle``."""
        with self._running:
            return self.deep.run_cycle(seconds, **how)

    def stage(self) -> CycleResult:
        """Run loop B on a slice now, and store the result as a candidate version."""
        with self._running:
            return self.background.stage()

    def run_due(self) -> CycleResult | None:
        """Run one cycle of loop B if it is due by ``schedule.is_due``, counting the cycles of every server.

        While unlearned facts remain after a cycle, the next is due at once; the caller serves each version between
        them.
        """
        if not self.automatic or self._clock() < self._next:
            return None
        self.note(self._database.schedule(self.space, "background"))
        return self.run_noted()

    def run_asked(self) -> CycleResult | None:
        """Run one cycle of loop B if there are enough unlearned facts, regardless of the time since the last one.

        For callers with their own timer: cycles need not be automatic.
        """
        self.note(self._database.schedule(self.space, "background"), asked=True)
        return self.run_noted()

    @property
    def _config(self) -> LoopConfig:
        return self._whole.loops

    @property
    def _pause(self) -> float:
        """Seconds between checks, which cost a few small queries."""
        return min(self._config.shortest_interval, self._config.background_interval) / 10

    def is_deep_due(self, found: DeepSchedule) -> bool:
        """Whether loop C should run."""
        self._whole = applied(self._whole, found.settings)
        return self.automatic and is_deep_due(found, self._whole.dreams, self._config)

    @property
    def deep_interval(self) -> float:
        """Seconds between cycles of loop C."""
        return self._whole.dreams.interval

    def run_deep(self, version: int, seconds: float) -> DeepResult | None:
        """Run a part of a cycle of loop C on ``version``, unless another thread or learner is at work in the space."""
        if not self._running.acquire(blocking=False):
            return None
        try:
            return self.deep.run_cycle_after(version, seconds, self.stopping)
        finally:
            self._running.release()

    # -- a learner of many spaces checks all of them at once -----------------------------------------------

    @property
    def automatic(self) -> bool:
        """Whether cycles run when they are due."""
        return self._config.automatic

    @property
    def look_every(self) -> float:
        """Seconds between checks."""
        return max(self._pause, self._config.poll_interval)

    @property
    def may_look(self) -> bool:
        """Whether the next check is due."""
        return self.behind or self._clock() >= max(self._next, self._next_in_turn)

    def is_enough(self, waiting: Mapping[int, int]) -> bool:
        """Whether the unlearned facts, given by space, may make a cycle due."""
        anyway = self.behind or self._clock() >= self._look_anyway
        return waiting.get(self.space.space_id, 0) >= (1 if anyway else least(self._learned, self._config))

    def note(self, found: LearningSchedule | None, *, asked: bool = False) -> None:
        """Decide from the result of a check whether a cycle is due; None: far too few unlearned facts."""
        now = self._clock()
        if found is not None:
            self._whole = applied(self._whole, found.settings)
            self._look_anyway, self._learned = now + LOOK_ANYWAY, found.learned
        self._next, self._next_in_turn = now + self._pause, now + self._config.poll_interval
        behind, self.behind = self.behind, False
        self.catching_up = behind
        self.backing_off = False
        if found is None or not (
            behind or is_due(found.waiting, found.learned, found.elapsed, self._config, asked=asked)
        ):
            self.due_since = None
            return
        if found.since_failure.total_seconds() < retry_after(found.failures, self._config):  # on any server
            self.due_since, self.backing_off = None, True
            return
        self._live_version, self._failed = found.live_version, found.failures > 0
        self.learned_here = found.last_learner == self.background.server_id
        if self.due_since is None:
            self.due_since = now

    def run_noted(self) -> CycleResult | None:
        """Run one cycle if the last check found it due, and no other thread of this process is running one."""
        if self.due_since is None or not self._running.acquire(blocking=False):
            return None
        try:
            # If several servers find it due at once, those that wait for the first have hardly anything left to learn.
            result = self.background.run_cycle_after(self._live_version, failed=self._failed)
        except DatabaseUnavailable:
            raise
        except Exception as exc:
            self.has_tried = True
            self.failures += 1
            self.failures_in_all += 1
            self.failing_since = self.failing_since or time.time()
            self.error, self.backing_off = type(exc).__name__, True
            self._next = self._clock() + retry_after(self.failures, self._config)
            self.due_since = None
            raise
        finally:
            self._running.release()
        self.has_tried = self.has_tried or result is not None
        self.failures, self.failing_since, self.due_since = 0, None, None
        self.behind = result is not None and result.followed
        self._next = self._clock() + (0.0 if self.behind else self._pause)
        return result
