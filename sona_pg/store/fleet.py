"""Servers of a space: registration, heartbeat, and their counters."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, exists, func, literal_column, select, update

from sona_pg.domain.gate import Canary
from sona_pg.domain.space import SpaceSummary
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now
from sona_pg.store.recorded_tables import SQL_SERVER
from sona_pg.store.schema import batches, feedback, servers, spaces, trajectories

SILENCE = timedelta(seconds=15)  # since the last heartbeat, after which a server is not live; as in the view sona.fleet
COUNTERS = ("trajectories", "feedback", "dropped")

# The counters of deleted servers are added to their space. (Run by psycopg, for maintenance.)
FORGET = """
WITH forgotten AS (
    DELETE FROM sona.servers WHERE space_id = %(space)s AND seen_at < %(before)s
    RETURNING trajectories, feedback, dropped, budget_set_at, budget_spent, budget_requests
), summed AS (
    SELECT count(*) AS servers, sum(f.trajectories) AS trajectories, sum(f.feedback) AS feedback,
           sum(f.dropped) AS dropped,
           coalesce(sum(f.budget_spent) FILTER (WHERE f.budget_set_at = s.budget_set_at), 0) AS spent,
           coalesce(sum(f.budget_requests) FILTER (WHERE f.budget_set_at = s.budget_set_at), 0) AS requests
    FROM forgotten f JOIN sona.spaces s ON s.space_id = %(space)s
)
UPDATE sona.spaces
SET departed_trajectories = departed_trajectories + summed.trajectories,
    departed_feedback = departed_feedback + summed.feedback,
    departed_dropped = departed_dropped + summed.dropped,
    budget_departed_spent = budget_departed_spent + summed.spent,
    budget_departed_requests = budget_departed_requests + summed.requests
FROM summed WHERE sona.spaces.space_id = %(space)s AND summed.servers > 0
RETURNING summed.servers
"""

REGISTER = """
INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)
VALUES (%(space)s, %(server_id)s, %(host)s, %(pid)s, %(release)s, %(at)s, %(at)s, 0)
ON CONFLICT DO NOTHING
"""

SUMMARIES = f"""
SELECT s.name, s.dim, s.live_version,
       (s.departed_trajectories + told.trajectories + by_sql.trajectories)::bigint,
       (s.departed_feedback + told.feedback + by_sql.feedback)::bigint,
       waits.facts::bigint,
       (SELECT count(*) FROM sona.patterns p WHERE p.space_id = s.space_id AND p.dim = s.dim),
       (SELECT count(*) FROM sona.candidates c WHERE c.space_id = s.space_id),
       told.servers, s.created_at
FROM sona.spaces s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(v.trajectories), 0) AS trajectories, coalesce(sum(v.feedback), 0) AS feedback,
           count(*) FILTER (WHERE v.ended_at IS NULL AND v.seen_at >= %(live_since)s) AS servers
    FROM sona.servers v WHERE v.space_id = s.space_id
) AS told
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.trajectories), 0) AS trajectories, coalesce(sum(b.feedback), 0) AS feedback
    FROM sona.batches b WHERE b.space_id = s.space_id AND b.server_id = '{SQL_SERVER}'
) AS by_sql
CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.trajectories + b.feedback), 0) AS facts
    FROM sona.batches b WHERE b.space_id = s.space_id AND b.cycle_id IS NULL AND b.left_out_by IS NULL
) AS waits
ORDER BY s.name
"""


class Heartbeat(NamedTuple):
    """Reply to a server's heartbeat."""

    live_version: int
    canary: Canary | None  # a candidate that some servers serve
    registered: bool  # false after its row was deleted
    at: datetime  # by the database's clock


class Server(NamedTuple):
    """One engine in one process, a row of ``sona.servers``."""

    server_id: UUID
    host: str
    pid: int
    release: str


def register(connection: Connection, space_id: int, server: Server, at: datetime) -> None:
    """Add a server to the space ``at`` the database's time; idempotent."""
    driver_connection(connection).execute(REGISTER, {**server._asdict(), "space": space_id, "at": at})


def heartbeat(
    connection: Connection, space_id: int, server_id: UUID, version: int, skew_ms: float | None
) -> Heartbeat | None:
    """Record the server's served version and clock skew; return None if the space no longer exists."""
    at = func.statement_timestamp()  # Citus takes no volatile function in an UPDATE
    seen = (
        update(servers)
        .where(servers.c.space_id == space_id, servers.c.server_id == server_id)
        .values(seen_at=at, serving_version=version, skew_ms=skew_ms)
        .returning(servers.c.space_id)
        .cte("seen")
    )
    registered = select(func.count()).select_from(seen).scalar_subquery()
    of_space = select(spaces.c.live_version, registered, spaces.c.canary_version, spaces.c.canary_share, at)
    row = connection.execute(of_space.where(spaces.c.space_id == space_id)).one_or_none()
    return None if row is None else Heartbeat(int(row[0]), canary_of(row[2], row[3]), bool(row[1]), row[4])


def canary_of(version: int | None, share: float | None) -> Canary | None:
    """Return the canary of a space's row."""
    return None if version is None or share is None else Canary(int(version), share)


def depart(connection: Connection, space_id: int, server_id: UUID, version: int) -> None:
    """Mark the server as ended, with the version that it served last: no heartbeat may have told it."""
    it = (servers.c.space_id == space_id) & (servers.c.server_id == server_id)
    connection.execute(update(servers).where(it).values(ended_at=now(connection), serving_version=version))


def live_version(connection: Connection, space_id: int) -> int:
    """Return the version that servers should serve."""
    version = connection.scalar(select(spaces.c.live_version).where(spaces.c.space_id == space_id))
    return int(version or 0)


def totals(connection: Connection, space_id: int) -> dict[str, int] | None:
    """Return the number of live servers, and the counters summed over all servers ever; None without such a space."""
    is_live = servers.c.ended_at.is_(None) & (servers.c.seen_at >= now(connection) - SILENCE)
    counted = connection.execute(
        select(
            func.count().filter(is_live).label("servers"),
            *(func.coalesce(func.sum(servers.c[name]), 0).label(name) for name in COUNTERS),
        ).where(servers.c.space_id == space_id)
    ).one()
    departed = connection.execute(
        select(*(spaces.c[f"departed_{name}"].label(name) for name in COUNTERS)).where(spaces.c.space_id == space_id)
    ).one_or_none()
    if departed is None:
        return None
    by_sql = connection.execute(  # the server's number is written out, for the partial index
        select(*(func.coalesce(func.sum(batches.c[name]), 0).label(name) for name in COUNTERS[:2])).where(
            batches.c.space_id == space_id, batches.c.server_id == literal_column(f"'{SQL_SERVER}'::uuid")
        )
    ).one()
    told = (counted._mapping, departed._mapping, by_sql._mapping)
    there = {name: sum(int(counts.get(name, 0)) for counts in told) for name in COUNTERS}
    return {"servers": int(counted.servers), **there}


def summarise_spaces(connection: Connection) -> list[SpaceSummary]:
    """Return all spaces by name, with their row counts."""
    rows = driver_connection(connection).execute(SUMMARIES, {"live_since": now(connection) - SILENCE})
    return [SpaceSummary(*row) for row in rows]


def waiting_feedback(connection: Connection, space_id: int) -> dict[str, Any]:
    """Return the number of facts whose trajectory has not arrived, and when the oldest was recorded."""
    arrived = exists().where(trajectories.c.space_id == space_id, trajectories.c.id == feedback.c.trajectory_id)
    row = connection.execute(
        select(func.count().label("facts"), func.min(feedback.c.recorded_at).label("since")).where(
            feedback.c.space_id == space_id, ~arrived
        )
    ).one()
    return {"facts": int(row.facts), "since": row.since}
