"""Reads the pulse of a space in one statement: counters of servers, unlearned batches, the last minutes' outcomes."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.pulse import Pulse
from sona_pg.domain.space import Space
from sona_pg.errors import SpaceRemoved
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now

PULSE = """
SELECT s.live_version, extract(epoch FROM %(at)s - v.created_at),
       s.departed_trajectories + told.trajectories, s.departed_feedback + told.feedback,
       s.departed_dropped + told.dropped,
       recent.rated, recent.quality, waits.facts, extract(epoch FROM %(at)s - waits.since), failed.cycles,
       told.live, greatest(s.live_version - told.oldest, 0), hour.cycles, last.seconds
FROM sona.spaces s
LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
CROSS JOIN LATERAL (
    SELECT coalesce(sum(trajectories), 0) AS trajectories, coalesce(sum(feedback), 0) AS feedback,
           coalesce(sum(dropped), 0) AS dropped,
           count(*) FILTER (WHERE ended_at IS NULL AND seen_at >= %(at)s - interval '15 s') AS live,
           min(serving_version) FILTER (WHERE ended_at IS NULL AND seen_at >= %(at)s - interval '15 s') AS oldest
    FROM sona.servers WHERE space_id = s.space_id
) AS told
CROSS JOIN LATERAL (
    SELECT coalesce(sum(trajectories + feedback), 0) AS facts, min(recorded_at) AS since FROM sona.batches
    WHERE space_id = s.space_id AND cycle_id IS NULL AND left_out_by IS NULL
) AS waits
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles FROM sona.cycles
    WHERE space_id = s.space_id AND error IS NOT NULL AND started_at > coalesce(v.created_at, '-infinity')
) AS failed
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles FROM sona.cycles
    WHERE space_id = s.space_id AND error IS NULL AND started_at > %(at)s - interval '1 h'
) AS hour
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM finished_at - started_at) AS seconds FROM sona.cycles
    WHERE space_id = s.space_id ORDER BY started_at DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    -- The newest alone: of a busy space, a minute has too many.
    SELECT count(o.quality) AS rated, avg(o.quality) AS quality FROM (
        SELECT coalesce((
                   SELECT avg(f.quality) FROM sona.latest_feedback f
                   WHERE f.space_id = s.space_id AND f.trajectory_id = t.id
               ), t.quality) AS quality
        FROM sona.trajectories t
        WHERE t.space_id = s.space_id AND t.id >= sona.uuid_floor(%(at)s - interval '5 min')
        ORDER BY t.id DESC LIMIT 200
    ) AS o
) AS recent
WHERE s.space_id = %(space)s
"""


def read_pulse(connection: Connection, space: Space) -> Pulse:
    """Return the pulse of a space; ``SpaceRemoved`` if it is gone."""
    at = now(connection)
    row = driver_connection(connection).execute(PULSE, {"space": space.space_id, "at": at}).fetchone()
    if row is None:
        raise SpaceRemoved(space.name)
    version, age, trajectories, feedback, dropped, rated, quality, waiting, since, failed, live, behind, hour, last = (
        row
    )
    return Pulse(
        at=at,
        live_version=int(version),
        version_age=_number(age),
        trajectories=int(trajectories),
        feedback=int(feedback),
        dropped=int(dropped),
        rated=int(rated),
        quality=_number(quality),
        waiting=int(waiting),
        waiting_for=_number(since),
        failed_cycles=int(failed),
        servers=int(live),
        behind=int(behind or 0),
        cycles=int(hour),
        cycle_seconds=_number(last),
    )


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
