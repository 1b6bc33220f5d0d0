"""Candidates, and embeddings, known by id before any version has them: remembered here, or committed by any server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg import limits
from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.errors import InvalidValue
from sona_pg.recorder import keep_directions

ReadNamed = Callable[[Sequence[str]], Catalog]  # reads the stored ones among the given ids
Settled = Mapping[str, NDArray[np.float16]]  # embeddings of candidates given to this server

NOTHING = Catalog((), np.zeros((0, 0), np.float16), {})


class Overlay:
    """Overlay: candidates that the served catalog lacks, or has with another embedding. Safe from many threads.

    An entry is removed once the served version has it, or the store lost it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.lock = threading.RLock()  # a signal handler may close the engine while a call holds it
        self._here: dict[str, NDArray[np.float16]] = {}  # remembered by this server; the store has them soon
        self._stored = NOTHING  # that the catalog lacks
        self._edited = NOTHING  # stored ones of the catalog, with another embedding
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

    def remembered(self) -> Settled:
        """Return the candidates given to this server and not yet found in the store."""
        with self.lock:
            return dict(self._here)

    @property
    def remembers_any(self) -> bool:
        """Whether ``remembered`` would return any."""
        return bool(self._here)

    @property
    def is_ahead(self) -> bool:
        """Whether it has stored candidates that the served catalog lacks."""
        return len(self._stored) > 0

    def share(self, served: Catalog, new: Sequence[str], read: ReadNamed, changed: Catalog, settled: Settled) -> None:
        """Add stored candidates without a version, and changed embeddings.

        Args:
            served: the catalog of the served version.
            new: ids of stored candidates that no version had when they were read.
            read: called for those unknown here.
            changed: all whose embedding changed since the catalog was read, or since the last call with this catalog.
            settled: those of ``remembered`` with no pending write when ``new`` and ``changed`` were read: if one is
                missing, it was refused.
        """
        ahead = [name for name in new if name not in served.index]
        with self.lock:
            stored, here = self._stored, dict(self._here)
            edited = self._edited if served is self._served else NOTHING
        missing = [name for name in ahead if name not in stored.index and name not in here]
        arrived = [name for name in ahead if name in settled]
        found = read(missing) if missing else NOTHING
        given = Catalog.of(arrived, np.stack([settled[name] for name in arrived])) if arrived else NOTHING
        known = _joined([part for part in (stored, found, given, changed) if len(part)])
        edited = _joined([part for part in (edited, changed) if len(part)])
        with self.lock:
            self._served = served
            self._stored = _those_of(known, ahead)
            self._edited = edited.take(_other_rows(edited, served))
            for name, row in settled.items():
                if self._here.get(name) is row:  # it was not given again meanwhile
                    del self._here[name]
            self._known = None

    def catalog(self, served: Catalog) -> Catalog:
        """Return the version's catalog followed by the overlay."""
        last = self._known  # without the lock, which ``remember`` holds while it copies many rows
        if last is not None and last[0] is served:
            return last[1]
        with self.lock:
            if not self._here and not len(self._stored) and not len(self._edited):
                self._known = (served, served)
                return served
            if self._known is None or self._known[0] is not served:
                # Joined lazily: joining at each ``remember`` would copy all rows each time.
                known = _joined([part for part in (served, self._edited, self._stored) if len(part)])
                if self._here:
                    here = Catalog.of(list(self._here), np.stack(list(self._here.values())))
                    known = _joined([known, here]) if len(known) else here
                self._known = (served, known)
            return self._known[1]


def _those_of(known: Catalog, names: Sequence[str]) -> Catalog:
    """Return the candidates ``names``, those that are known."""
    slots = known.slots(names)
    slots = slots[slots != UNKNOWN]
    return known if len(slots) == len(known) else known.take(slots)


def _other_rows(edited: Catalog, served: Catalog) -> NDArray[np.int32]:
    """Return the rows of candidates that are served with another embedding."""
    slots = served.slots(edited.ids)
    rows = np.flatnonzero(slots != UNKNOWN).astype(np.int32)
    return rows[(edited.halves[rows] != served.halves[slots[rows]]).any(axis=1)] if len(rows) else rows


def _joined(parts: Sequence[Catalog]) -> Catalog:
    """Return the candidates of all ``parts``; of equal ids the last counts."""
    if not parts:
        return NOTHING
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.changed(part).followed_by(part)
    return whole
