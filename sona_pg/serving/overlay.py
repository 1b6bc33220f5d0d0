"""Candidates that are known by id before a version has them: remembered here, or committed by any server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg import limits
from sona_pg.domain.catalog import Catalog
from sona_pg.errors import InvalidValue

# Reads the embeddings (m, dim) of those of the given ids that are stored.
ReadEmbeddings = Callable[[Sequence[str]], tuple[Sequence[str], NDArray[np.float32]]]


class Overlay:
    """What the served catalog lacks. Safe from many threads.

    It holds what no cycle has met: an entry leaves once the served version has it, or the store no longer does.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._lock = threading.Lock()
        self._here: dict[str, NDArray[np.float32]] = {}  # remembered by this server; the store has them soon
        self._stored: dict[str, NDArray[np.float32]] = {}
        self._served = Catalog((), np.zeros((0, 0), np.float32), {})  # when candidates were last read
        self._known: tuple[Catalog, Catalog] | None = None  # a version's, and that followed by what is ahead of it

    def require_room(self, names: Sequence[str]) -> None:
        """Raise ``InvalidValue`` if those of ``names`` that are new are more than the space may have."""
        with self._lock:
            served = self._served
            if len(served.ids) + len(self._stored) + len(self._here) + len(names) <= limits.MOST_CANDIDATES:
                return
            ahead = {name for name in (*self._stored, *self._here) if name not in served.index}
        new = [name for name in names if name not in served.index and name not in ahead]
        known = len(served.ids) + len(ahead)
        if new and known + len(new) > limits.MOST_CANDIDATES:
            raise InvalidValue(
                f"{len(new)} candidates are new, {new[0]!r} first: with the {known} that the space has they would be "
                f"more than {limits.MOST_CANDIDATES}; give what is the same the same id, or use another space"
            )

    def remember(self, names: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Add what this server was given, (m, dim): it is known here before it is committed."""
        with self._lock:
            self._here.update(zip(names, embeddings.copy(), strict=True))
            self._known = None

    def remembered(self) -> Collection[str]:
        """Return the ids that this server was given and has not found in the store yet."""
        with self._lock:
            return list(self._here)

    def share(self, served: Catalog, new: Sequence[str], read: ReadEmbeddings, settled: Collection[str]) -> None:
        """Take up what is stored and in no version.

        Args:
            served: the catalog of the version that is served.
            new: the ids of candidates that are stored and that no version had when they were read.
            read: called for those that are not known here.
            settled: of ``remembered``, what was no longer on its way when ``new`` was read: if it is not there, it was
                refused.
        """
        ahead = [name for name in new if name not in served.index]
        with self._lock:
            missing = [name for name in ahead if name not in self._stored and name not in self._here]
        found: dict[str, NDArray[np.float32]] = {}
        if missing:
            names, embeddings = read(missing)
            found = dict(zip(names, embeddings, strict=True))
        with self._lock:
            self._served = served
            known = {**found, **self._stored, **self._here}
            self._stored = {name: known[name] for name in ahead if name in known}
            for name in [name for name in self._here if name in self._stored or name in served.index]:
                del self._here[name]
            for name in settled:
                self._here.pop(name, None)
            self._known = None

    def catalog(self, served: Catalog) -> Catalog:
        """Return what is known by id: what the version has, and what is ahead of it."""
        with self._lock:
            if not self._here and not self._stored:
                return served
            if self._known is None or self._known[0] is not served:
                # Only now: who remembers one after the other would copy all of them each time.
                rows = {**self._stored, **self._here}
                self._known = (served, served.followed_by(Catalog.of(list(rows), np.stack(list(rows.values())))))
            return self._known[1]
