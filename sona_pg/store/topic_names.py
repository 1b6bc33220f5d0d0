"""Names of topics: what people call patterns, and the live patterns that the names belong to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine

from sona_pg.domain.act import current_actor
from sona_pg.domain.space import Space
from sona_pg.domain.topic import Topic
from sona_pg.errors import InvalidValue, SpaceRemoved, UnknownPattern
from sona_pg.store.connect import driver_connection
from sona_pg.store.read_side import ReadSide
from sona_pg.store.transactions import BRIEF, reading, transaction

LISTING = """
SELECT name, pattern_id, size, recent_ratings, quality, typical_query, named_pattern_id, named_by, named_at
FROM sona.topics WHERE space_id = %(space)s ORDER BY size DESC NULLS LAST, name, named_pattern_id
"""
SPACE = "SELECT name FROM sona.spaces WHERE space_id = %(space)s"  # it may have been renamed
KNOWN = "SELECT FROM sona.patterns WHERE space_id = %(space)s AND pattern_id = %(pattern)s"
NAME = "SELECT sona.name_topic(%(name)s, %(pattern)s, %(topic)s, %(actor)s)"
FOUND = "SELECT named_pattern_id, pattern_id FROM sona.topics WHERE space_id = %(space)s"
FORGET_CENTROIDS = """
UPDATE sona.pattern_names SET centroid = NULL
WHERE space_id = %(space)s AND centroid IS NOT NULL AND NOT pattern_id = ANY(%(found)s::uuid[])
"""
# Two names may have come to follow one pattern: the second stays where it was.
FOLLOW = """
UPDATE sona.pattern_names SET pattern_id = %(pattern)s,
    centroid = (SELECT p.centroid FROM sona.patterns p WHERE p.space_id = %(space)s AND p.pattern_id = %(pattern)s)
WHERE space_id = %(space)s AND pattern_id = %(named)s AND (pattern_id = %(pattern)s OR NOT EXISTS (
    SELECT FROM sona.pattern_names o WHERE o.space_id = %(space)s AND o.pattern_id = %(pattern)s))
"""


class TopicStore:
    """Keeps the names of topics."""

    def __init__(self, engine: Engine, reads: ReadSide) -> None:
        """Write to the database of ``engine``; read from the standby while it is well."""
        self._engine = engine
        self._reads = reads

    def listing(self, space: Space) -> list[Topic]:
        """Return the named topics of a space, the largest first, those without a live pattern last."""

        def read(engine: Engine) -> list[Topic]:
            with reading(engine, "reading names of topics", BRIEF) as connection:
                rows = driver_connection(connection).execute(LISTING, {"space": space.space_id})
                return [Topic(*row) for row in rows]

        return self._reads.run(read)

    def name(self, space: Space, pattern: UUID, name: str | None) -> None:
        """Name a live pattern in place of the names that it had; None takes them away.

        Raises:
            UnknownPattern: the live version has no such pattern.
            InvalidValue: the space has as many names as it may have.
            SpaceRemoved: the space is gone.
        """
        asked = {"space": space.space_id, "pattern": pattern, "topic": name, "actor": current_actor()[:200]}
        with transaction(self._engine, "naming a topic", BRIEF) as connection:
            raw = driver_connection(connection)
            found = raw.execute(SPACE, asked).fetchone()
            if found is None:
                raise SpaceRemoved(space.name)
            if raw.execute(KNOWN, asked).fetchone() is None:
                raise UnknownPattern(f"space {space.name!r} has no pattern {pattern} in its live version")
            try:
                raw.execute(NAME, {**asked, "name": found[0]})
            except psycopg.errors.ProgramLimitExceeded as exc:
                raise InvalidValue(f"name: {exc.diag.message_primary}") from exc


def follow(raw: psycopg.Connection[Any], space_id: int) -> int:
    """Have each name know its live pattern as this is now; return how many were written.

    Patterns move as they learn; after some time one may be far from where it was named.
    """
    found = raw.execute(FOUND, {"space": space_id}).fetchall()
    return sum(
        raw.execute(FOLLOW, {"space": space_id, "named": named, "pattern": pattern}).rowcount
        for named, pattern in found
        if pattern is not None
    )


def follow_erasure(connection: Connection, space_id: int) -> None:
    """Replace the centroids of names by those of patterns that were learned without what was erased, or by none."""
    raw = driver_connection(connection)
    follow(raw, space_id)
    kept = [named for named, pattern in raw.execute(FOUND, {"space": space_id}).fetchall() if named == pattern]
    raw.execute(FORGET_CENTROIDS, {"space": space_id, "found": kept})
