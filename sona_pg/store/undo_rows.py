"""Cycles that a rollback would undo."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.space import Space
from sona_pg.domain.undo_plan import UndoneRuns
from sona_pg.store.connect import driver_connection

UNDONE = """
WITH here AS (SELECT c.* FROM sona.version_cycles(%(name)s, %(live)s) c WHERE %(live)s > 0),
     there AS (SELECT c.* FROM sona.version_cycles(%(name)s, %(version)s) c WHERE %(version)s > 0)
SELECT count(h.cycle_id) FILTER (WHERE t.cycle_id IS NULL), count(t.cycle_id) FILTER (WHERE h.cycle_id IS NULL),
       coalesce(sum(h.trajectories) FILTER (WHERE t.cycle_id IS NULL), 0)::bigint,
       coalesce(sum(h.feedback) FILTER (WHERE t.cycle_id IS NULL), 0)::bigint,
       min(h.started_at) FILTER (WHERE t.cycle_id IS NULL)
FROM here h FULL JOIN there t ON t.cycle_id = h.cycle_id
"""


def read_undone(connection: Connection, space: Space, live: int, version: int) -> UndoneRuns:
    """Return what the cycles of version ``live`` that ``version`` does not hold had learned."""
    asked = {"name": space.name, "live": live, "version": version}
    row = driver_connection(connection).execute(UNDONE, asked).fetchone()
    return UndoneRuns(*(row or (0, 0, 0, 0, None)))
