"""Waiting and waking that a signal handler may take part in.

``threading.Event`` and ``Condition`` hold a lock while they run a few lines of Python. A handler of a signal that comes
in between runs on the same thread, and waits for that lock for ever. What is here holds none: a single lock is released
or acquired, which C does at one moment.
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
    """Something that happens once; any number of threads and handlers wait for it."""

    def __init__(self) -> None:
        """Start before it has happened."""
        self._happened = False
        self._waiting: deque[threading.Lock] = deque()

    def set(self) -> None:
        """Say that it has happened; called by one thread."""
        self._happened = True
        while self._waiting:
            self._waiting.popleft().release()

    def wait(self, seconds: float) -> bool:
        """Wait ``seconds`` at most; return whether it has happened."""
        mine = threading.Lock()  # for each call its own: an interrupted wait holds nothing that another one needs
        mine.acquire()
        self._waiting.append(mine)
        if not self._happened:  # else set() may have looked before this one came
            mine.acquire(timeout=seconds)
        return self._happened


def held_here(lock: Any) -> bool:
    """Return whether this thread holds an ``RLock``: in a signal handler, whether the lines it interrupted do."""
    return bool(lock._is_owned())  # as threading.Condition does
