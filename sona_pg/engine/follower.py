"""The thread that keeps a server current: it hears of new versions, says that it is alive, and runs due loops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sona_pg.errors import DatabaseError, DatabaseUnavailable
from sona_pg.store.notify import VersionListener

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds that a stop waits for the call the thread is in
LOG_EVERY = 30.0  # seconds between two lines about a store that is away now and then
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
        self.failures = 0  # of loops that were due, and of what else should not fail
        self._away_said = False  # whether this time it was logged that the store is away
        self._away_said_at = -LOG_EVERY  # monotonic seconds
        self._failing = ""  # what failed last and has not worked since

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, cut: Callable[[], object] = lambda: None) -> None:
        """End the thread and close its connection; ``cut`` ends the call it is in, should that not return."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        while self._thread.is_alive():
            cut()
            self._thread.join(PATIENCE)
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
                pause, self._away_said = RETRY[0], False
            except DatabaseError as exc:
                self._say_away(exc)
                self._stop.wait(pause)
                if not self._stop.is_set():
                    self._revive()
                pause = min(2 * pause, RETRY[1])
            except Exception:  # a mistake must not leave this server deaf
                if self._is_news("following"):
                    log.exception("following the live version failed; this server goes on with what it serves")
                self._stop.wait(pause)
                pause = min(2 * pause, RETRY[1])
            else:
                self._run_due_loops()

    def _say_away(self, exc: DatabaseError) -> None:
        """Log that the store is away: once an outage, and not each time where it comes and goes."""
        now = time.monotonic()
        if not self._away_said and now >= self._away_said_at + LOG_EVERY:
            self._away_said, self._away_said_at = True, now
            log.warning("the store is away, serving the last version: %s", exc)

    def _run_due_loops(self) -> None:
        try:
            self._tick()
            self._failing = ""
        except DatabaseUnavailable as exc:
            log.debug("a learning cycle could not be run: %s", exc)  # the next refresh says that the store is away
        except Exception:  # a learner's mistake must not stop this server from following the others
            if self._is_news("learning"):
                log.exception("a learning cycle failed; the next one is tried when it is due")

    def _is_news(self, what: str) -> bool:
        """Count a failure; say whether it should be logged: once, until something else fails or nothing does."""
        self.failures += 1
        before, self._failing = self._failing, what
        return before != what
