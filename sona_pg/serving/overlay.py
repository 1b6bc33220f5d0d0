"""Candidates known by id before any version has them: remembered here, or committed by any server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg import limits
from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.errors import InvalidValue
from sona_pg.recorder import keep_directions

ReadNamed = Callable[[Sequence[str]], Catalog]  # reads the stored ones among the given ids

NOTHING = Catalog((), np.zeros((0, 0), np.float16), {})


class Overlay:
    """Overlay: candidates that the served catalog lacks. Safe from many threads.

    An entry is removed once the served version has it, or the store lost it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.lock = threading.RLock()  # a signal handler may close the engine while a call holds it
        self._here: dict[str, NDArray[np.float16]] = {}  # remembered by this server; the store has them soon
        self._stored = NOTHING
        self._served = NOTHING  # when candidates were last read
        self._known: tuple[Catalog, Catalog] | None = None  # a version's catalog, and the same joined with the overlay

    def require_room(self, names: Sequence[str]) -> None:
        """Raise ``InvalidValue`` if the new ones of ``names`` exceed the space's limit."""
        with self.lock:
            served = self._served
            if len(served.ids) + len(self._stored) + len(self._here) + len(names) <= limits.MOST_CANDIDATES:
                return
            ahead = {name for name in (*self._stored.ids, *self._here) if name not in served.index}
        new = [name for name in names if name not in served.index and name not in ahead]
        known = len(served.ids) + len(ahead)
        if new and known + len(new) > limits.MOST_CANDIDATES:
            raise InvalidValue(
                f"{len(new)} candidates are new, {new[0]!r} first: with the {known} that the space has they would be "
                f"more than {limits.MOST_CANDIDATES}; give what is the same the same id, or use another space"
            )

    def remember(self, names: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Add candidates given to this server, (m, dim), in half precision as stored, before their commit."""
        scaled = np.array(embeddings, np.float32, order="C")
        keep_directions(scaled)  # in half precision
        kept = scaled.astype(np.float16)
        with self.lock:
            self._here.update(zip(names, kept, strict=True))
            self._known = None

    def remembered(self) -> Collection[str]:
        """Return the ids given to this server and not yet found in the store."""
        with self.lock:
            return list(self._here)

    @property
    def remembers_any(self) -> bool:
        """Whether ``remembered`` would return any."""
        return bool(self._here)

    def share(self, served: Catalog, new: Sequence[str], read: ReadNamed, settled: Collection[str]) -> None:
        """Add stored candidates without a version.

        Args:
            served: the catalog of the served version.
            new: ids of stored candidates that no version had when they were read.
            read: called for those unknown here.
            settled: those of ``remembered`` with no pending write when ``new`` was read: if one is missing, it was
                refused.
        """
        ahead = [name for name in new if name not in served.index]
        with self.lock:
            stored, here = self._stored, dict(self._here)
        missing = [name for name in ahead if name not in stored.index and name not in here]
        found = read(missing) if missing else NOTHING
        arrived = [name for name in ahead if name in here]
        parts = [stored, found]
        if arrived:
            parts.append(Catalog.of(arrived, np.stack([here[name] for name in arrived])))
        known = _joined([part for part in parts if len(part)])
        slots = known.slots(ahead)
        slots = slots[slots != UNKNOWN]
        with self.lock:
            self._served = served
            self._stored = known if len(slots) == len(known) else known.take(slots)
            for name in arrived:
                self._here.pop(name, None)
            for name in [name for name in self._here if name in served.index]:
                del self._here[name]
            for name in settled:
                self._here.pop(name, None)
            self._known = None

    def catalog(self, served: Catalog) -> Catalog:
        """Return the version's catalog followed by the overlay."""
        last = self._known  # without the lock, which ``remember`` holds while it copies many rows
        if last is not None and last[0] is served:
            return last[1]
        with self.lock:
            if not self._here and not len(self._stored):
                self._known = (served, served)
                return served
            if self._known is None or self._known[0] is not served:
                # Joined lazily: joining at each ``remember`` would copy all rows each time.
                known = served.followed_by(self._stored) if len(self._stored) else served
                if self._here:
                    known = known.followed_by(Catalog.of(list(self._here), np.stack(list(self._here.values()))))
                self._known = (served, known)
            return self._known[1]


def _joined(parts: Sequence[Catalog]) -> Catalog:
    """Return the candidates of all ``parts``; of equal ids the last counts."""
    if not parts:
        return NOTHING
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.changed(part).followed_by(part)
    return whole
