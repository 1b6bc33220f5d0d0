"""Complete knowledge of a version, read in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import FisherSnapshot, LearnedState
from sona_pg.store import pattern_rows, states, version_contents


@dataclass(frozen=True, slots=True, eq=False)
class StoredKnowledge:
    """Complete knowledge of a version."""

    state: LearnedState
    patterns: list[LearnedPattern]
    fisher: list[FisherSnapshot]


def read_learned(connection: Connection, space_id: int, live_version: int) -> StoredKnowledge:
    """Read the contents of the live version, in a REPEATABLE READ transaction."""
    return StoredKnowledge(
        states.load(connection, space_id, live_version),
        pattern_rows.read_patterns(connection, space_id),
        states.read_fisher(connection, space_id),
    )


def read_version(connection: Connection, space_id: int, version: int) -> StoredKnowledge:
    """Read the knowledge of a version whose content is kept, in a REPEATABLE READ transaction."""
    return StoredKnowledge(
        states.load(connection, space_id, version),
        version_contents.read_patterns(connection, space_id, version),
        version_contents.read_tasks(connection, space_id, version),
    )
