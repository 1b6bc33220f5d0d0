"""Feed of pattern uses: counts of found patterns go to the store, and the use on all servers comes back."""

from __future__ import annotations

from collections.abc import Callable

from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.serving.served_version import ServedVersion
from sona_pg.store.database import Database


class AccessFeed:
    """Keeps an engine's counter of accesses current with the store."""

    def __init__(self, database: Callable[[], Database], accesses: AccessCounter) -> None:
        """Feed ``accesses``."""
        self._database = database
        self._accesses = accesses
        self._version = 0  # whose patterns' use is known

    def lacks(self, serving: ServedVersion) -> bool:
        """Whether the use of the patterns of a version is not known yet."""
        return self._version != serving.version

    def read(self, space: Space, serving: ServedVersion) -> None:
        """Read the use of the served patterns, once a version, after it is served: other servers wait for theirs."""
        if self.lacks(serving):
            self._accesses.know(self._database().pattern_uses(space) if serving.patterns else {})
            self._version = serving.version

    def send(self, space: Space) -> None:
        """Add this server's counts of found patterns to the store's."""
        found = self._accesses.take()
        if found:
            try:
                self._accesses.note_uses(self._database().count_found({space.space_id: found})[space.space_id])
            except DatabaseError:
                self._accesses.give_back(found)
                raise
