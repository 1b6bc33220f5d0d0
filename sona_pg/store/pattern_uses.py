"""Use of patterns: when each was made, how often it was found on all servers, and when last."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection

from sona_pg.domain.pattern import LearnedPattern, PatternUse
from sona_pg.store.connect import driver_connection

log = logging.getLogger(__name__)

# Increments commute, so servers need not agree; in one order, so that two of them cannot wait for each other. The join
# leaves out patterns that are no more.
ADD = """
INSERT INTO sona.pattern_uses (space_id, pattern_id, access_count, last_accessed)
SELECT p.space_id, p.pattern_id, told.count, %(at)s
FROM unnest(%(spaces)s::int[], %(patterns)s::uuid[], %(counts)s::bigint[]) AS told (space_id, pattern_id, count)
JOIN sona.patterns p ON p.space_id = told.space_id AND p.pattern_id = told.pattern_id
ORDER BY p.space_id, p.pattern_id
ON CONFLICT (space_id, pattern_id) DO UPDATE SET
    access_count = pattern_uses.access_count + excluded.access_count,
    last_accessed = greatest(pattern_uses.last_accessed, excluded.last_accessed)
RETURNING space_id, pattern_id, created_at, access_count, last_accessed
"""
NOTE_CREATED = """
INSERT INTO sona.pattern_uses (space_id, pattern_id, created_at)
SELECT %(space)s, made.id, %(at)s FROM unnest(%(patterns)s::uuid[]) AS made (id)
ON CONFLICT (space_id, pattern_id) DO NOTHING
"""
READ = """
SELECT p.pattern_id, coalesce(u.created_at, v.created_at), coalesce(u.access_count, 0), u.last_accessed
FROM sona.patterns p
LEFT JOIN sona.pattern_uses u ON u.space_id = p.space_id AND u.pattern_id = p.pattern_id
LEFT JOIN sona.state_versions v ON v.space_id = p.space_id AND v.version = p.created_version
WHERE p.space_id = %(space)s
"""


def count(
    connection: Connection, found: Mapping[int, Mapping[UUID, int]], at: datetime
) -> dict[int, dict[UUID, PatternUse]]:
    """Add how often patterns were found, by space; return their use since.

    A role that may not write it, because grants were not renewed after an upgrade, counts nothing: that is logged once.
    """
    rows = [(space, id_, count) for space, counts in found.items() for id_, count in counts.items()]
    uses: dict[int, dict[UUID, PatternUse]] = {space: {} for space in found}
    if not rows:
        return uses
    spaces, ids, counts = (list(column) for column in zip(*rows, strict=True))
    values = {"spaces": spaces, "patterns": ids, "counts": counts, "at": at}
    try:
        counted = driver_connection(connection).execute(ADD, values).fetchall()
    except InsufficientPrivilege as exc:
        _refused(str(exc))
        return uses
    for space, id_, *use in counted:
        uses[space][id_] = PatternUse(*use)
    return uses


@functools.cache  # once a process
def _refused(reason: str) -> None:
    log.warning("the use of patterns is not known (run the grants of docs/roles.md again): %s", reason)


def read(connection: Connection, space_id: int) -> dict[UUID, PatternUse]:
    """Return the use of all patterns of a space."""
    try:
        rows = driver_connection(connection).execute(READ, {"space": space_id}).fetchall()
    except InsufficientPrivilege as exc:
        _refused(str(exc))
        return {}
    return {id_: PatternUse(*use) for id_, *use in rows}


def note_created(
    connection: Connection, space_id: int, patterns: Iterable[LearnedPattern], version: int, at: datetime
) -> None:
    """Note when the patterns that ``version`` has made were published."""
    ids = sorted(pattern.id for pattern in patterns if pattern.created_version == version)
    if ids:
        driver_connection(connection).execute(NOTE_CREATED, {"space": space_id, "patterns": ids, "at": at})
