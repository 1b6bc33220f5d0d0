"""Figures of all spaces, or of one, in one statement: for who watches a store."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.space_figures import SpaceFigures
from sona_pg.store.connect import driver_connection
from sona_pg.store.recorded_tables import SQL_SERVER

# Joined on the number of the space alone, without an outer join, as Citus wants it.
FIGURES = f"""
SELECT s.space_id, s.name, s.live_version,
       extract(epoch FROM statement_timestamp() - coalesce(live.made, s.created_at))::float8,
       (s.departed_trajectories + told.trajectories + by_sql.trajectories)::bigint,
       (s.departed_feedback + told.feedback + by_sql.feedback)::bigint,
       waits.facts::bigint, coalesce(extract(epoch FROM statement_timestamp() - waits.since), 0)::float8, failed.cycles
FROM sona.spaces s
CROSS JOIN LATERAL (
    SELECT max(v.created_at) AS made FROM sona.state_versions v
    WHERE v.space_id = s.space_id AND v.version = s.live_version
) AS live
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.trajectories), 0) AS trajectories, coalesce(sum(r.feedback), 0) AS feedback
    FROM sona.servers r WHERE r.space_id = s.space_id
) AS told
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.trajectories), 0) AS trajectories, coalesce(sum(b.feedback), 0) AS feedback
    FROM sona.batches b WHERE b.space_id = s.space_id AND b.server_id = '{SQL_SERVER}'
) AS by_sql
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.trajectories + b.feedback), 0) AS facts, min(b.recorded_at) AS since
    FROM sona.batches b WHERE b.space_id = s.space_id AND b.cycle_id IS NULL AND b.left_out_by IS NULL
) AS waits
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles FROM sona.cycles c
    WHERE c.space_id = s.space_id AND c.error IS NOT NULL AND c.base_version = s.live_version
) AS failed
"""
OF_ONE = f"{FIGURES}WHERE s.space_id = %(space)s"


def space_figures(connection: Connection, space_id: int | None) -> list[SpaceFigures]:
    """Return the figures of a space, or of all, in any order; none of one that is not there."""
    raw = driver_connection(connection)
    rows = raw.execute(FIGURES) if space_id is None else raw.execute(OF_ONE, {"space": space_id})
    return [SpaceFigures(*row) for row in rows]
