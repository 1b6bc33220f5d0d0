"""A thread that takes up recent evidence for which answers have no time; it ends once nothing waits."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Backlog(Protocol):
    """Evidence that is taken up in parts."""

    def take_part(self) -> bool:
        """Take up a part; return whether more waits."""


class BackgroundUptake:
    """Takes up the backlogs of all spaces of a process in turns. No call waits: a signal handler may interrupt it."""

    def __init__(self) -> None:
        """Start without a thread."""
        self._backlogs: dict[Backlog, None] = {}  # changed by single operations
        self._running = threading.Lock()  # held by the thread; never waited for
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, backlog: Backlog) -> bool:
        """Take up a backlog soon; return False once stopped: the caller must do it."""
        if self._stop.is_set():
            return False
        self._backlogs[backlog] = None
        if self._running.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, name="sona-pg evidence", daemon=True)
            self._thread.start()
        return True

    def stop(self) -> None:
        """End the thread after the part that it takes up."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            try:
                while self._backlogs and not self._stop.is_set():
                    self._take_turns()
            finally:
                self._running.release()
            # What was added after the last look found the thread running.
            if not self._backlogs or self._stop.is_set() or not self._running.acquire(blocking=False):
                return

    def _take_turns(self) -> None:
        for backlog in list(self._backlogs):
            began = time.thread_time()
            self._backlogs.pop(backlog)
            if backlog.take_part():
                self._backlogs[backlog] = None
            # As long as it has worked: answers need the interpreter's lock, too.
            if self._stop.wait(time.thread_time() - began):
                return
