"""State of an outage in a process: checked and logged once for all its spaces."""

from __future__ import annotations

import logging
import time

from sona_pg.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

SAY_EVERY = 30.0  # seconds between two warnings of one kind; repetitions are logged as information
BELIEVED_FOR = 5.0  # seconds after a failure for which spaces are opened without asking the database


class OutageLog:
    """State of the current outage of the database. Thread-safe: each value is one reference."""

    def __init__(self) -> None:
        """Start without knowledge of the database."""
        self._said: dict[str, float] = {}  # monotonic seconds, by the text without its values
        self._away: tuple[float, DatabaseUnavailable] | None = None

    def note(self, problem: DatabaseUnavailable) -> None:
        """Record that the database has not answered."""
        self._away = (time.monotonic(), problem)

    def answered(self) -> None:
        """Record that the database has answered."""
        self._away = None

    @property
    def problem(self) -> DatabaseUnavailable | None:
        """Error of the database a moment ago; None if it answered, or must be asked again."""
        away = self._away
        return away[1] if away is not None and time.monotonic() < away[0] + BELIEVED_FOR else None

    def warn(self, text: str, *values: object) -> None:
        """Warn once of a problem common to many spaces."""
        now = time.monotonic()
        first = now >= self._said.get(text, -SAY_EVERY) + SAY_EVERY
        if first:
            self._said[text] = now
        log.log(logging.WARNING if first else logging.INFO, text, *values)
