"""Times at which candidates were stored, for people who compare versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from sona_pg.store.connect import driver_connection

# A changed embedding has the time of its change; the content of a candidate keeps when it was made.
STORED = """
SELECT c.candidate_id, coalesce(n.created_at, CASE WHEN c.changed_at IS NULL THEN c.recorded_at END),
       c.retired_at, c.restored_at
FROM sona.candidates c
LEFT JOIN sona.candidate_contents n ON n.space_id = %(space)s AND n.candidate_id = c.candidate_id
WHERE c.space_id = %(space)s AND c.candidate_id = ANY(%(ids)s::text[])
"""
FIRST_BATCH = "SELECT min(recorded_at) FROM sona.batches WHERE space_id = %(space)s"


class Lifetime(NamedTuple):
    """When a candidate could be answered with."""

    stored: datetime | None  # None: at an unknown time
    retired: datetime | None  # the last time; None: never
    restored: datetime | None  # None: it is still retired, or never was

    def is_retired(self, at: datetime | None) -> bool:
        """Whether it was retired at a time; None: now. Of several times only the last is known."""
        if self.retired is None or (at is not None and at < self.retired):
            return False
        return self.restored is None or (at is not None and at < self.restored)


class CandidateTimes(NamedTuple):
    """When candidates were stored and retired, and when the first records were stored."""

    lifetimes: Mapping[str, Lifetime]  # a candidate that is not stored is missing
    first_batch: datetime | None


def read_candidate_times(connection: Connection, space_id: int, ids: Sequence[str]) -> CandidateTimes:
    """Return when each candidate of ``ids`` was stored, and retired."""
    raw = driver_connection(connection)
    first = raw.execute(FIRST_BATCH, {"space": space_id}).fetchone()
    rows = raw.execute(STORED, {"space": space_id, "ids": list(ids)}).fetchall()
    lifetimes = {name: Lifetime(*times) for name, *times in rows}
    return CandidateTimes(lifetimes, None if first is None else first[0])
