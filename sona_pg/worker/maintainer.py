"""Maintenance of the ledger's tables, in a separate thread, because an index build takes minutes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque

from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the application's `random`

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
        self._stopped = self._failing = False
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
                self._thread = threading.Thread(
                    target=self._run, args=[policy], name="sona-pg maintainer", daemon=True
                )  # fmt: skip
                self._thread.start()
                return

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


def _pause(interval: float) -> float:
    """Return the pause, randomised so that servers started together do not run at once."""
    return interval * _random.uniform(0.5, 1.0)
