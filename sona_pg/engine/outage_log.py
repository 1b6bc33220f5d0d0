"""An outage as a process meets it: asked about once for all its spaces, and said once."""

from __future__ import annotations

import logging
import time

from sona_pg.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

SAY_EVERY = 30.0  # seconds between two warnings of one kind; what comes meanwhile is logged as information
BELIEVED_FOR = 5.0  # seconds for which a space is opened without asking a database that has just not answered


class OutageLog:
    """State of the current outage of the database. Safe from many threads: each value is one reference."""

    def __init__(self) -> None:
        """Start with a database of which nothing is known."""
        self._said: dict[str, float] = {}  # monotonic seconds, by the text without its values
        self._away: tuple[float, DatabaseUnavailable] | None = None

    def note(self, problem: DatabaseUnavailable) -> None:
        """The database has not answered just now."""
        self._away = (time.monotonic(), problem)

    def answered(self) -> None:
        """The database has answered."""
        self._away = None

    @property
    def problem(self) -> DatabaseUnavailable | None:
        """Why the database did not answer a moment ago; None if it did, or if that is to be found out."""
        away = self._away
        return away[1] if away is not None and time.monotonic() < away[0] + BELIEVED_FOR else None

    def warn(self, text: str, *values: object) -> None:
        """Warn of what many spaces meet alike: the first of them does."""
        now = time.monotonic()
        first = now >= self._said.get(text, -SAY_EVERY) + SAY_EVERY
        if first:
            self._said[text] = now
        log.log(logging.WARNING if first else logging.INFO, text, *values)
