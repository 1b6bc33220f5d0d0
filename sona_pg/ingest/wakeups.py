"""Waiting and waking that are safe in signal handlers.

``threading.Event`` and ``Condition`` hold a lock while they run a few lines of Python. A signal handler that interrupts
them runs on the same thread and would wait for that lock for ever. The classes here only release or acquire a single
lock, which C does atomically.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import Any


class Wake:
    """Wake-up call for one thread, made by another one or by a signal handler."""

    def __init__(self) -> None:
        """Start asleep."""
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def set(self) -> None:
        """Wake the thread, now or when it next waits."""
        with suppress(RuntimeError):  # it is awake already
            self._asleep.release()

    def wait(self, seconds: float) -> None:
        """Sleep until ``set`` was called, ``seconds`` at most; consumes the call."""
        self._asleep.acquire(timeout=seconds)

    def clear(self) -> None:
        """Forget a call of ``set``."""
        self._asleep.acquire(blocking=False)


class Happening:
    """One-time event; any number of threads and handlers may wait for it."""

    def __init__(self) -> None:
        """Start before it has happened."""
        self._happened = False
        self._waiting: deque[threading.Lock] = deque()

    def set(self) -> None:
        """Set the event; called by one thread."""
        self._happened = True
        while self._waiting:
            self._waiting.popleft().release()

    def wait(self, seconds: float) -> bool:
        """Wait ``seconds`` at most; return whether it has happened."""
        mine = threading.Lock()  # one lock per call: an interrupted wait holds nothing that another one needs
        mine.acquire()
        self._waiting.append(mine)
        if not self._happened:  # else set() may have read the list before this lock was added
            mine.acquire(timeout=seconds)
        return self._happened


def held_here(lock: Any) -> bool:
    """Return whether this thread holds an ``RLock``; in a signal handler, whether the interrupted code does."""
    return bool(lock._is_owned())  # as threading.Condition does
