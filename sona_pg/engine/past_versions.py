"""Earlier versions of a space, prepared to answer queries as they did."""

from __future__ import annotations

import threading
from collections import OrderedDict

from sona_pg.engine.session import Session
from sona_pg.serving.past_answers import PastVersion

KEPT = 8  # versions


class PastVersions:
    """Prepares versions when they are asked for, and keeps those asked for last."""

    def __init__(self, dim: int) -> None:
        """Prepare versions of a space of ``dim`` numbers a query."""
        self._dim = dim
        self._kept: OrderedDict[int, PastVersion] = OrderedDict()
        self._served = 0  # the version served when they were prepared
        self._lock = threading.Lock()

    def of(self, session: Session, version: int) -> PastVersion:
        """Return a version, 0 the one before the first.

        Raises:
            UnknownVersion: it is not kept in the store.
        """
        with self._lock:
            if self._served != session.serving.version:  # an erasure may have dropped some
                self._kept.clear()
                self._served = session.serving.version
            known = self._kept.get(version)
            if known is not None:
                self._kept.move_to_end(version)
                return known
        stored = None if version == 0 else session.pages.versions.knowledge(session.space, version)
        state, patterns = (None, []) if stored is None else (stored.state, stored.patterns)
        made = PastVersion.of(version, state, patterns, self._dim, session.config)
        with self._lock:
            self._kept[version] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made
