"""Calls about the names of topics."""

from __future__ import annotations

import unicodedata
from uuid import UUID

from sona_pg.domain.topic import LONGEST_NAME, Topic
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import InvalidValue


class TopicCalls(EngineLifetime):
    """Calls that name patterns for people, and list the names."""

    def name_topic(self, pattern: UUID | str, name: str | None) -> None:
        """Name a live pattern for people, as "Late delivery"; ``None`` takes its name away.

        The name stays with the pattern across versions, goes on with the one that it is merged into, and is found
        again where learning was done anew. It changes nothing that is learned or served.

        Args:
            pattern: the id of a pattern of the live version.
            name: one line of at most 100 characters, in place of the names that the pattern had.

        Raises:
            InvalidValue: the id or the name cannot be used, or the space has 1,000 names.
            UnknownPattern: the live version has no such pattern.
            DatabaseUnavailable: Postgres does not answer now.
        """
        given = None if name is None else require_topic_name(name)
        id_ = require_pattern_id(pattern)
        session = self._session
        session.require_database()
        session.database.topics.name(session.space, id_, given)

    def topics(self) -> list[Topic]:
        """Return the named topics, the largest first, with the live pattern of each; asks the database."""
        session = self._session
        session.require_database()
        return session.database.topics.listing(session.space)


def require_topic_name(name: str) -> str:
    """Return a name without the spaces around it; ``InvalidValue`` says what is wrong."""
    shown = name.strip() if isinstance(name, str) else ""
    if not shown or len(shown) > LONGEST_NAME or any(unicodedata.category(one) in ("Cc", "Cs") for one in shown):
        raise InvalidValue(f"name={name!r}: expected one line of 1 to {LONGEST_NAME} characters, or None for no name")
    return shown


def require_pattern_id(pattern: UUID | str) -> UUID:
    """Return the id of a pattern; ``InvalidValue`` if it is none."""
    if isinstance(pattern, UUID):
        return pattern
    try:
        return UUID(pattern)
    except (AttributeError, TypeError, ValueError) as exc:
        raise InvalidValue(f"pattern={pattern!r}: expected the id of a pattern, as find_patterns tells it") from exc
