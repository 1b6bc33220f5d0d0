"""Answers that take long are found once for all who ask at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Found = TypeVar("Found")


class SharedFinds(Generic[Found]):
    """Whoever asks for what another thread is finding waits for it, and gets its answer or its error."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Found]] = {}

    def find(self, key: Hashable, work: Callable[[], Found]) -> Found:
        """Return what ``work`` finds, or what is being found under the same ``key``."""
        with self._lock:
            known = self._under_way.get(key)
            if known is None:
                mine: Future[Found] = Future()
                self._under_way[key] = mine
        if known is not None:
            return known.result()
        try:
            found = work()
        except BaseException as exc:
            self._end(key)
            mine.set_exception(exc)  # all wait no longer than the first: its time limit is theirs
            raise
        self._end(key)
        mine.set_result(found)
        return found

    def _end(self, key: Hashable) -> None:
        with self._lock:
            del self._under_way[key]
