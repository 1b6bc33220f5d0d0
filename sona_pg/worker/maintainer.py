"""Maintenance of the ledger's tables and of daily figures, in a separate thread: an index build takes minutes."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the application's `random`

FIGURES_EVERY = 60.0  # seconds between computations of daily figures, and looks for nodes to be indexed
FIRST = 60.0  # seconds after the start, at most: short-lived processes run no maintenance


class Maintainer:
    """Runs maintenance by each policy of the process; the first server of the fleet does the work."""

    def __init__(self, database: Database) -> None:
        """Prepare; ``look`` runs maintenance when it is due."""
        self._database = database
        # Number of engines by policy, changed by atomic operations. By policy, because checking a thousand engines is
        # slow.
        self._users: dict[MaintenanceConfig, deque[None]] = {}
        self._due: dict[MaintenanceConfig, float] = {}  # monotonic seconds; used by the checking thread only
        self._figures_due = math.inf  # monotonic seconds
        self._stopped = self._failing = self._figures_failing = False
        self._current: Maintenance | None = None
        self._lock = threading.Lock()  # orders the start of a run and a stop
        self._thread: threading.Thread | None = None

    def add(self, policy: MaintenanceConfig) -> None:
        """Add a policy, if it is automatic."""
        if policy.automatic:
            self._users.setdefault(policy, deque()).append(None)

    def remove(self, policy: MaintenanceConfig) -> None:
        """Take back one ``add``."""
        if self._users.get(policy):
            self._users[policy].pop()

    def look(self) -> None:
        """Start a run if one is due and none runs; called by one thread, regularly."""
        if self._thread is not None and self._thread.is_alive():
            return
        now = time.monotonic()
        self._due = {
            policy: self._due[policy] if policy in self._due else now + _pause(min(FIRST, policy.interval))
            for policy, users in list(self._users.items())
            if users
        }
        for policy, at in self._due.items():
            if at <= now:
                self._due[policy] = now + _pause(policy.interval)
                self._start(partial(self._run, policy))
                return
        if not self._due:
            self._figures_due = math.inf
        elif self._figures_due <= now:
            self._figures_due = now + _pause(FIGURES_EVERY)
            self._start(self._sum_up)
        elif self._figures_due == math.inf:
            self._figures_due = now + _pause(FIGURES_EVERY)

    def _start(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="sona-pg maintainer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the run and its index build; ``look`` must not be called afterwards."""
        with self._lock:
            self._stopped = True
            if self._current is not None:
                self._current.cancel()
        if self._thread is not None:
            self._thread.join()

    def _run(self, policy: MaintenanceConfig) -> None:
        with self._lock:
            if self._stopped:
                return
            self._current = self._database.maintenance(policy)
        try:
            for done in self._current.run():
                log.info("%s %s %s", done.action, done.subject, done.detail)
            self._failing = False
        except DatabaseError as exc:
            if not self._stopped and not self._failing:  # logged once until it succeeds
                log.warning("maintenance ended early, the next run goes on: %s", exc)
            self._failing = True
        finally:
            with self._lock:
                self._current = None

    def _sum_up(self) -> None:
        if self._stopped:
            return
        try:
            for done in self._database.sum_up():
                log.debug("computed %d figures of %s in space %d", done.figures, done.day, done.space_id)
            for added in [] if self._stopped else self._database.index_nodes():
                log.debug("indexed %d nodes of space %d", added.nodes, added.space_id)
            self._figures_failing = False
        except DatabaseError as exc:
            if not self._stopped and not self._figures_failing:
                log.warning(
                    "daily figures are not computed, sona.figures is as of earlier, and new nodes wait for their "
                    "index: %s", exc
                )  # fmt: skip
            self._figures_failing = True


def _pause(interval: float) -> float:
    """Return the pause, randomised so that servers started together do not run at once."""
    return interval * _random.uniform(0.5, 1.0)
