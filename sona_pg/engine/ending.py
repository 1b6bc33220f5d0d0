"""The end of a session: it happens once, also if a signal handler asks in the middle of another call."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from sona_pg.errors import DatabaseUnavailable, SonaError
from sona_pg.ingest.wakeups import Happening, held_here

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 60.0  # seconds that close() waits, including for a running cycle


class Ending:
    """Runs ``end`` once, in a separate thread; any number of callers may wait for it.

    A separate thread, because a signal handler may call ``close`` while it has interrupted code that holds a lock which
    the end needs: both would wait for ever.
    """

    def __init__(self, end: Callable[[], object], held_here: Callable[[], bool]) -> None:
        """Prepare; ``held_here`` returns whether the calling thread holds a lock that the end needs."""
        self._end = end
        self._held_here = held_here
        self._pid = os.getpid()
        self._starting = threading.RLock()
        self._started = self._running = False
        self._finished = Happening()
        self._failure: SonaError | None = None  # close() raises it, once

    def close(self, refuse: Callable[[], object]) -> bool:
        """Refuse new records, and return after the end; at once, with False, if it must wait for interrupted code.

        Raises:
            DatabaseUnavailable: accepted records could not be written, or the end takes longer than CLOSE_TIMEOUT.
        """
        if os.getpid() != self._pid or held_here(self._starting):
            return False  # a forked child, whose parent closes; or a handler that interrupted this very close()
        with self._starting:
            if not self._started:
                refuse()
                self._start()
                self._started = True
        if self._held_here():
            log.info("closing: accepted records are written when the interrupted call continues")
            return False
        if not self._finished.wait(CLOSE_TIMEOUT):
            raise DatabaseUnavailable(
                f"closing has not finished within {CLOSE_TIMEOUT} s, and goes on: another call of this process, or a "
                "learning cycle, has not ended"
            )
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return True

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="sona-pg closer", daemon=True)  # atexit waits for it
        try:
            thread.start()
        except RuntimeError:  # from Python 3.12 on an atexit handler cannot start threads
            self._run()

    def _run(self) -> None:
        if self._running:  # a signal handler raised between the thread's start and the assignment
            return
        self._running = True
        try:
            self._end()
        except SonaError as exc:
            self._failure = exc
        finally:
            self._finished.set()
