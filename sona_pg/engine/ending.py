"""The end of a session: it happens once, whoever asks for it, also a signal handler in the middle of another call."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from sona_pg.errors import DatabaseUnavailable, SonaError
from sona_pg.ingest.wakeups import Happening, held_here

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 60.0  # seconds that close() waits; a learning cycle that runs is waited for


class Ending:
    """Runs ``end`` in a thread of its own, once, and lets any number of callers wait for it.

    A thread of its own, for a signal handler may ask at any moment: had it interrupted lines that hold a lock the end
    needs, both would wait for ever.
    """

    def __init__(self, end: Callable[[], object], held_here: Callable[[], bool]) -> None:
        """Prepare; ``held_here`` says whether the calling thread holds what the end needs."""
        self._end = end
        self._held_here = held_here
        self._pid = os.getpid()
        self._starting = threading.RLock()
        self._started = self._running = False
        self._finished = Happening()
        self._failure: SonaError | None = None  # close() raises it, once

    def close(self, refuse: Callable[[], object]) -> None:
        """Refuse what comes, and return when the end is there; at once where it waits for lines that were interrupted.

        Raises:
            DatabaseUnavailable: what was accepted could not be written, or the end takes longer than CLOSE_TIMEOUT.
        """
        if os.getpid() != self._pid or held_here(self._starting):
            return  # a forked child, whose parent closes it; or a handler inside of the close() that it interrupted
        with self._starting:
            if not self._started:
                refuse()
                self._start()
                self._started = True
        if self._held_here():
            log.info("closing: what was accepted is written when the interrupted call goes on")
            return
        if not self._finished.wait(CLOSE_TIMEOUT):
            raise DatabaseUnavailable(
                f"closing has not finished within {CLOSE_TIMEOUT} s, and goes on: another call of this process, or a "
                "learning cycle, has not ended"
            )
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="sona-pg closer", daemon=True)  # atexit waits for it
        try:
            thread.start()
        except RuntimeError:  # from Python 3.12 on none can be started by a handler of atexit
            self._run()

    def _run(self) -> None:
        if self._running:  # an exception of a signal handler came between the thread's start and noting it
            return
        self._running = True
        try:
            self._end()
        except SonaError as exc:
            self._failure = exc
        finally:
            self._finished.set()
