"""Times at which candidates were stored, for people who compare versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from sona_pg.store.connect import driver_connection

# A changed embedding has the time of its change; the content of a candidate keeps when it was made.
STORED = """
SELECT c.candidate_id, coalesce(n.created_at, CASE WHEN c.changed_at IS NULL THEN c.recorded_at END)
FROM sona.candidates c
LEFT JOIN sona.candidate_contents n ON n.space_id = %(space)s AND n.candidate_id = c.candidate_id
WHERE c.space_id = %(space)s AND c.candidate_id = ANY(%(ids)s::text[])
"""
FIRST_BATCH = "SELECT min(recorded_at) FROM sona.batches WHERE space_id = %(space)s"


class CandidateTimes(NamedTuple):
    """When candidates were stored, and when the first records were."""

    stored: Mapping[str, datetime | None]  # None: at an unknown time; a candidate that is not stored is missing
    first_batch: datetime | None


def read_candidate_times(connection: Connection, space_id: int, ids: Sequence[str]) -> CandidateTimes:
    """Return when each candidate of ``ids`` was stored."""
    raw = driver_connection(connection)
    first = raw.execute(FIRST_BATCH, {"space": space_id}).fetchone()
    rows = raw.execute(STORED, {"space": space_id, "ids": list(ids)}).fetchall()
    return CandidateTimes(dict(rows), None if first is None else first[0])
