"""The thread that maintains the ledger's tables: apart from the follower, for an index build takes minutes."""

from __future__ import annotations

import logging
import random
import threading

from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # what an application draws from `random` is its own

FIRST = 60.0  # seconds after the start, at most: a process that lives shortly maintains nothing


class Maintainer:
    """Runs maintenance every ``interval``; whichever server of the fleet comes first does the work."""

    def __init__(self, database: Database, policy: MaintenanceConfig) -> None:
        """Prepare; ``start`` begins."""
        self._database = database
        self._policy = policy
        self._stop = threading.Event()
        self._current: Maintenance | None = None
        self._lock = threading.Lock()  # between a run that begins and a stop
        self._thread = threading.Thread(target=self._run, name="sona-pg maintainer", daemon=True)

    def start(self) -> None:
        """Begin, if the policy says so."""
        if self._policy.automatic:
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and what it is building."""
        with self._lock:
            self._stop.set()
            if self._current is not None:
                self._current.cancel()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = min(FIRST, self._policy.interval)
        failing = False
        # Servers that were started together must not all come at once.
        while not self._stop.wait(pause * _random.uniform(0.5, 1.0)):
            with self._lock:
                if self._stop.is_set():
                    return
                self._current = self._database.maintenance(self._policy)
            try:
                for done in self._current.run():
                    log.info("%s %s %s", done.action, done.subject, done.detail)
                failing = False
            except DatabaseError as exc:
                if not self._stop.is_set() and not failing:  # once a spell
                    log.warning("maintenance ended early, the next run goes on: %s", exc)
                failing = True
            finally:
                with self._lock:
                    self._current = None
            pause = self._policy.interval
