"""The thread that keeps a server current: it hears of new versions, says that it is alive, and runs due loops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sona_pg.errors import DatabaseError
from sona_pg.store.notify import VersionListener

log = logging.getLogger(__name__)

RETRY = (0.2, 5.0)  # seconds before the first and before every later attempt while the database is away


class Follower:
    """Calls ``refresh`` on every announcement and at least every ``interval`` seconds; ``tick`` when that is done.
    ``revive`` is called while the store is away.

    While the database is away it goes on trying; the engine serves its last version meanwhile.
    """

    def __init__(
        self,
        listener: VersionListener,
        interval: float,
        refresh: Callable[[], object],
        tick: Callable[[], object],
        revive: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare; ``start`` begins."""
        self._listener = listener
        self._interval = interval
        self._refresh = refresh
        self._tick = tick
        self._revive = revive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sona-pg follower", daemon=True)
        self.last_contact = time.monotonic()  # with the store, which has just been opened
        self.failures = 0  # of loops that were due

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close its connection."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        pause = RETRY[0]
        while not self._stop.is_set():
            try:
                # In short waits, so that a stop is noticed.
                until = time.monotonic() + self._interval
                while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
                    if self._listener.wait(min(left, 0.1)):
                        break
                if self._stop.is_set():
                    return
                self._refresh()
                self.last_contact = time.monotonic()
                pause = RETRY[0]
            except DatabaseError as exc:
                if pause == RETRY[0]:  # once an outage
                    log.warning("the store is away, serving the last version: %s", exc)
                self._stop.wait(pause)
                if not self._stop.is_set():
                    self._revive()
                pause = min(2 * pause, RETRY[1])
            else:
                self._run_due_loops()

    def _run_due_loops(self) -> None:
        try:
            self._tick()
        except Exception:  # a learner's mistake must not stop this server from following the others
            self.failures += 1
            log.exception("a learning cycle failed; the next one is tried when it is due")
