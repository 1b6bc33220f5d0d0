"""The thread that maintains the ledger's tables: apart from the follower, for an index build takes minutes."""

from __future__ import annotations

import logging
import random
import threading
import time

from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # what an application draws from `random` is its own

LOOK_EVERY = 2.0  # seconds after which a new policy is noticed
FIRST = 60.0  # seconds after the start, at most: a process that lives shortly maintains nothing


class Maintainer:
    """Runs maintenance by each policy of the process; whichever server of the fleet comes first does the work."""

    def __init__(self, database: Database) -> None:
        """Prepare; the first automatic policy starts the thread."""
        self._database = database
        self._policies: list[MaintenanceConfig] = []  # one for each engine; changed by single operations only
        self._stop = threading.Event()
        self._current: Maintenance | None = None
        self._lock = threading.Lock()  # between a run that begins and a stop
        self._thread: threading.Thread | None = None

    def add(self, policy: MaintenanceConfig) -> None:
        """Maintain by a policy as well, if it is automatic; called by one thread at a time."""
        if not policy.automatic:
            return
        self._policies.append(policy)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sona-pg maintainer", daemon=True)
            self._thread.start()

    def remove(self, policy: MaintenanceConfig) -> None:
        """Take back one ``add``."""
        if policy in self._policies:
            self._policies.remove(policy)

    def stop(self) -> None:
        """End the thread, and what it is building."""
        with self._lock:
            self._stop.set()
            if self._current is not None:
                self._current.cancel()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        due: dict[MaintenanceConfig, float] = {}  # monotonic seconds
        failing = False
        while not self._stop.is_set():
            now, policies = time.monotonic(), list(self._policies)
            due = {policy: due.get(policy) or now + _pause(min(FIRST, policy.interval)) for policy in policies}
            nearest = min(due, key=lambda policy: due[policy], default=None)
            if nearest is None or due[nearest] > now:
                self._stop.wait(LOOK_EVERY if nearest is None else min(LOOK_EVERY, due[nearest] - now))
                continue
            failing = not self._maintain(nearest, failing)
            due[nearest] = time.monotonic() + _pause(nearest.interval)

    def _maintain(self, policy: MaintenanceConfig, failing: bool) -> bool:
        """Run maintenance once; return whether it went to its end."""
        with self._lock:
            if self._stop.is_set():
                return True
            self._current = self._database.maintenance(policy)
        try:
            for done in self._current.run():
                log.info("%s %s %s", done.action, done.subject, done.detail)
        except DatabaseError as exc:
            if not self._stop.is_set() and not failing:  # once a spell
                log.warning("maintenance ended early, the next run goes on: %s", exc)
            return False
        finally:
            with self._lock:
                self._current = None
        return True


def _pause(interval: float) -> float:
    """Return how long to wait: servers that were started together must not all come at once."""
    return interval * _random.uniform(0.5, 1.0)
