"""A cache that keeps what was used last."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class RecentlyUsed(Generic[_Key, _Value]):
    """Values by key; of too many, those that were used last. Safe from many threads.

    A value of more than half the bound is kept beside the others, one at a time: it would push out all of them.
    """

    def __init__(self, most: int, largest: int = sys.maxsize) -> None:
        """Keep ``most`` values, and such as have ``largest`` numbers together."""
        self._most = most
        self._largest = largest
        self._lock = threading.RLock()  # a signal handler may interrupt whoever holds it
        self._kept: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._numbers = 0
        self._large: tuple[_Key, _Value] | None = None

    def get(self, key: _Key) -> _Value | None:
        """Return a value, which counts as used; takes no lock."""
        large = self._large
        if large is not None and large[0] == key:
            return large[1]
        found = self._kept.get(key)
        if found is None:
            return None
        with suppress(KeyError):  # another thread has just dropped it
            self._kept.move_to_end(key)
        return found[0]

    def put(self, key: _Key, value: _Value, numbers: int = 0) -> None:
        """Keep a value that holds so many numbers; drop the ones that were not used for the longest time."""
        if numbers > self._largest // 2:
            self._large = (key, value)
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._numbers += numbers - (0 if before is None else before[1])
            self._kept[key] = (value, numbers)
            while len(self._kept) > self._most or self._numbers > self._largest:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._numbers -= dropped
