"""Retired candidates: no server answers with them until they are restored. Nothing that was learned changes.

The changes of one space have ascending times, in the order of their commits: a server reads those after the last
that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine

from sona_pg.domain.space import Space
from sona_pg.errors import UnknownCandidate
from sona_pg.store.connect import driver_connection
from sona_pg.store.states import CHANNEL, lock_space
from sona_pg.store.transactions import BRIEF, reading, transaction

# In the order of the key, as recorders lock them, so that they cannot deadlock.
HELD = """
SELECT candidate_id FROM sona.candidates WHERE space_id = %(space)s AND candidate_id = ANY(%(ids)s::text[])
ORDER BY candidate_id FOR NO KEY UPDATE
"""
LATEST = """
SELECT clock_timestamp(), max(coalesce(restored_at, retired_at)) FROM sona.candidates
WHERE space_id = %(space)s AND retired_at IS NOT NULL
"""
RETIRE = """
UPDATE sona.candidates SET retired_at = %(at)s, restored_at = NULL
WHERE space_id = %(space)s AND candidate_id = ANY(%(ids)s::text[])
  AND (retired_at IS NULL OR restored_at IS NOT NULL)
"""
RESTORE = """
UPDATE sona.candidates SET restored_at = %(at)s
WHERE space_id = %(space)s AND candidate_id = ANY(%(ids)s::text[])
  AND retired_at IS NOT NULL AND restored_at IS NULL
"""
# The source is read by itself, in a CTE: on Citus it may be on another node. Its times are not copied: servers of the
# target may have read later changes.
COPY = """
WITH known AS MATERIALIZED (
    SELECT c.candidate_id, c.retired_at, c.restored_at FROM sona.candidates c
    WHERE c.space_id = %(source)s AND c.retired_at IS NOT NULL
)
UPDATE sona.candidates t SET restored_at = CASE WHEN known.restored_at IS NOT NULL THEN %(at)s::timestamptz END,
    retired_at = CASE WHEN known.restored_at IS NULL THEN %(at)s::timestamptz ELSE known.retired_at END
FROM known
WHERE t.space_id = %(space)s AND t.candidate_id = known.candidate_id
  AND coalesce(known.restored_at, known.retired_at) > coalesce(t.restored_at, t.retired_at, '-infinity')
"""
ANNOUNCE = "SELECT pg_notify(%(channel)s, %(payload)s)"
CHANGES = """
SELECT candidate_id, restored_at IS NULL, coalesce(restored_at, retired_at) FROM sona.candidates
WHERE space_id = %(space)s AND retired_at IS NOT NULL
  AND (%(since)s::timestamptz IS NULL OR coalesce(restored_at, retired_at) > %(since)s)
"""
RETIRED = """
SELECT candidate_id, retired_at FROM sona.candidates
WHERE space_id = %(space)s AND retired_at IS NOT NULL AND restored_at IS NULL ORDER BY retired_at, candidate_id
"""
NAMED = 5  # unknown ids that an error names


class Retirement(NamedTuple):
    """The latest change of one candidate."""

    id: str
    is_retired: bool  # False: it was restored
    at: datetime  # by the clock of the database


class RetirementStore:
    """Retires candidates, and restores them."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def retire(self, space: Space, ids: Sequence[str]) -> int:
        """Retire candidates; return how many were not retired before.

        Raises:
            UnknownCandidate: one is not stored; none is retired.
            SpaceRemoved: the space is gone.
        """
        return self._change(space, ids, RETIRE, "retiring candidates")

    def restore(self, space: Space, ids: Sequence[str]) -> int:
        """Restore candidates; return how many were retired.

        Raises:
            UnknownCandidate: one is not stored; none is restored.
            SpaceRemoved: the space is gone.
        """
        return self._change(space, ids, RESTORE, "restoring candidates")

    def changes(self, space: Space, since: datetime | None) -> list[Retirement]:
        """Return the candidates retired or restored after ``since``; None: all that ever were."""
        told = {"space": space.space_id, "since": since}
        with reading(self._engine, "reading retired candidates") as connection:
            return [Retirement(*row) for row in driver_connection(connection).execute(CHANGES, told)]

    def retired(self, space: Space) -> dict[str, datetime]:
        """Return the retired candidates with the time since which they are, the first retired first."""
        with reading(self._engine, "reading retired candidates") as connection:
            return dict(driver_connection(connection).execute(RETIRED, {"space": space.space_id}).fetchall())

    def _change(self, space: Space, ids: Sequence[str], statement: str, doing: str) -> int:
        told = {"space": space.space_id, "ids": list(ids)}
        with transaction(self._engine, doing, BRIEF) as connection:
            lock_space(connection, space.space_id)
            raw = driver_connection(connection)
            known = {name for (name,) in raw.execute(HELD, told)}
            missing = [name for name in ids if name not in known]
            if missing:
                more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
                raise UnknownCandidate(
                    f"space {space.name!r} does not know {', '.join(map(repr, missing[:NAMED]))}{more}: nothing is "
                    "changed; name candidates that are stored"
                )
            changed = raw.execute(statement, {**told, "at": next_time(raw, space.space_id)}).rowcount
            if changed:
                _announce(raw, space)
            return changed


def copy_retired(connection: Connection, source: Space, target: Space) -> None:
    """Retire and restore the candidates of ``target`` as in ``source``, unless that was changed later in ``target``."""
    lock_space(connection, target.space_id)
    raw, told = driver_connection(connection), {"source": source.space_id, "space": target.space_id}
    if raw.execute(COPY, {**told, "at": next_time(raw, target.space_id)}).rowcount:
        _announce(raw, target)


def _announce(raw: psycopg.Connection[Any], space: Space) -> None:
    raw.execute(ANNOUNCE, {"channel": CHANNEL, "payload": f"{space.space_id} candidates"})


def next_time(raw: psycopg.Connection[Any], space_id: int) -> datetime:
    """Return the time by the database's clock, or one after the latest change, should that clock not have moved.

    Call it under ``lock_space``.
    """
    row: tuple[datetime, datetime | None] | None = raw.execute(LATEST, {"space": space_id}).fetchone()
    assert row is not None  # an aggregate has a row
    at, latest = row
    return at if latest is None else max(at, latest + timedelta(microseconds=1))
