"""Learner caches of a process, bounded by bytes; the least recently used is evicted first."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice

import numpy as np

from sona_pg.domain.catalog import UnitRows
from sona_pg.worker.learner_cache import LearnerCache

MOST_BYTES = 512 << 20  # of all caches; the latest is kept whatever its size
SAMPLE = 16  # elements of a collection that are measured; the others count as their mean
ITEM_BYTES = 64  # size assumed for any other Python object


class CacheShelf:
    """Keeps the caches of many learners within a bound of bytes. Thread-safe."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Start empty."""
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[LearnerCache, int]] = OrderedDict()
        self._bytes = 0

    def get(self, learner: object) -> LearnerCache | None:
        """Return the cache of ``learner``, or None if it was evicted."""
        with self._lock:
            found = self._kept.get(learner)
            if found is None:
                return None
            self._kept.move_to_end(learner)
            return found[0]

    def put(self, learner: object, cache: LearnerCache | None) -> None:
        """Replace the learner's cache; None removes it."""
        size = 0 if cache is None else bytes_of(cache)
        with self._lock:
            self._bytes -= self._kept.pop(learner, (None, 0))[1]
            if cache is None:
                return
            self._kept[learner] = (cache, size)
            self._bytes += size
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]


def bytes_of(value: object) -> int:
    """Return the approximate memory of a value: its arrays, texts and collections."""
    if isinstance(value, np.ndarray | UnitRows):
        return value.nbytes + ITEM_BYTES
    if isinstance(value, str | bytes):
        return len(value) + ITEM_BYTES
    if dataclasses.is_dataclass(value):
        names = {field.name for field in dataclasses.fields(value)} | _computed(value)
        return sum(bytes_of(getattr(value, name)) for name in names)
    if isinstance(value, Mapping):
        return _bytes_of_items(len(value), (pair for pair in value.items()))
    if isinstance(value, Sequence):
        return _bytes_of_items(len(value), value)
    return ITEM_BYTES


def _computed(value: object) -> Set[str]:
    """Return the names of a value's cached properties."""
    return getattr(value, "__dict__", {}).keys()


def _bytes_of_items(count: int, items: Iterable[object]) -> int:
    sizes = [bytes_of(item) for item in islice(items, SAMPLE)]
    return ITEM_BYTES + (sum(sizes) * count // len(sizes) if sizes else 0)
