"""Learning cycles: their rows in sona.cycles, and the schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select

from sona_pg._version import __version__
from sona_pg.config.space_settings import completed
from sona_pg.domain.cycle import DeepExtent, DeepSchedule, LearningSchedule, PastCycle
from sona_pg.domain.deep_result import AnyCycle
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now
from sona_pg.store.roll_call import SpaceIds
from sona_pg.store.schema import cycles
from sona_pg.store.states import in_force
from sona_pg.store.topology import FEW, narrowed

COLUMNS = ("loop", "cycle_id", "base_version", "version", "trajectories", "feedback", "set_aside", "patterns")


def record(
    connection: Connection,
    space_id: int,
    server_id: UUID,
    result: AnyCycle,
    started: datetime,
    finished: datetime,
    error: str | None = None,
) -> None:
    """Store ``result`` in ``sona.cycles``, with the error if it failed; counts without a column go into ``detail``."""
    values = dataclasses.asdict(result)
    columns = {name: values.pop(name) for name in COLUMNS}
    connection.execute(
        insert(cycles).values(
            space_id=space_id,
            server_id=server_id,
            started_at=started,
            finished_at=finished,
            detail={**values, "release": __version__},
            error=error,
            **columns,
        )
    )


# `= ANY` rather than a join: Citus asks only the nodes of these spaces, so a dead one holds up no other's.
SCHEDULES = """
SELECT s.space_id, s.live_version, coalesce(begun.at, s.created_at), s.departed_learned + read.facts, waits.facts,
       s.settings, failed.cycles, failed.at, l.server_id
FROM sona.spaces s
LEFT JOIN sona.leases l ON l.space_id = s.space_id AND l.role = 'learner'
CROSS JOIN LATERAL (
    -- A server of an earlier release wrote its own clock here, which may be ahead: such a cycle counts as never begun.
    SELECT max(started_at) AS at FROM sona.cycles
    WHERE space_id = s.space_id AND loop = %(loop)s AND error IS NULL AND started_at <= %(at)s
) AS begun
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles, max(finished_at) AS at FROM sona.cycles
    WHERE space_id = s.space_id AND loop = %(loop)s AND error IS NOT NULL
        AND started_at > coalesce(begun.at, '-infinity') AND started_at <= %(at)s
) AS failed
CROSS JOIN LATERAL (
    SELECT coalesce(sum(trajectories + feedback), 0) AS facts FROM sona.cycles
    WHERE space_id = s.space_id AND (in_force IS NULL OR upper_inf(in_force))
) AS read
CROSS JOIN LATERAL (
    SELECT coalesce(sum(trajectories + feedback), 0) AS facts FROM sona.batches
    WHERE space_id = s.space_id AND cycle_id IS NULL AND left_out_by IS NULL
) AS waits
WHERE s.space_id = ANY(%(spaces)s::integer[])
"""


SCHEDULES_OF_FEW = narrowed(SCHEDULES)


def schedules(connection: Connection, spaces: Sequence[int], loop: str) -> dict[int, LearningSchedule]:
    """Return the schedule of ``loop`` by space; all times by the database's clock. Missing spaces are left out."""
    at = now(connection)
    query = SCHEDULES_OF_FEW if len(spaces) <= FEW else SCHEDULES
    rows = driver_connection(connection).execute(query, {"spaces": list(spaces), "loop": loop, "at": at})
    return {
        space: LearningSchedule(
            int(live),
            int(waiting),
            int(learned),
            at - begun,
            settings and completed(settings, {}),
            int(failures),
            at - (failed or at),
            learner,
        )
        for space, live, begun, learned, waiting, settings, failures, failed, learner in rows
    }


# The whole history of a space's cycles may be read: once in minutes.
DEEP_SCHEDULES = """
SELECT s.space_id, s.live_version, s.live_version > coalesce(deep.version, 0),
       coalesce((deep.detail ->> 'finished')::boolean, true), coalesce(deep.started_at, s.created_at),
       failed.cycles, failed.at, s.settings
FROM sona.spaces s
LEFT JOIN LATERAL (
    SELECT c.version, c.detail, c.started_at FROM sona.cycles c
    WHERE c.space_id = s.space_id AND c.loop = 'deep' AND c.error IS NULL AND c.started_at <= %(at)s
    ORDER BY c.started_at DESC LIMIT 1
) deep ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles, max(c.finished_at) AS at FROM sona.cycles c
    WHERE c.space_id = s.space_id AND c.loop = 'deep' AND c.error IS NOT NULL
        AND c.started_at > coalesce(deep.started_at, '-infinity') AND c.started_at <= %(at)s
) failed
WHERE s.space_id = ANY(%(spaces)s::integer[]) AND s.live_version > 0
"""


DEEP_SCHEDULES_OF_FEW = narrowed(DEEP_SCHEDULES)


def deep_schedules(connection: Connection, spaces: SpaceIds) -> dict[int, DeepSchedule]:
    """Return the schedule of loop C by space; spaces that have learned nothing are left out."""
    at = now(connection)
    query = DEEP_SCHEDULES_OF_FEW if len(spaces) <= FEW else DEEP_SCHEDULES
    rows = driver_connection(connection).execute(query, {"spaces": spaces.array, "at": at})
    return {
        space: DeepSchedule(
            int(live),
            learned_since,
            finished,
            at - began,
            int(failures),
            at - (failed or at),
            settings and completed(settings, {}),
        )
        for space, live, learned_since, finished, began, failures, failed, settings in rows
    }


def past(connection: Connection, space_id: int) -> list[PastCycle]:
    """Return the cycles behind the live version, by version: those that no rollback has undone."""
    made = cycles.c.loop.in_(("background", "deep", "load"))
    rows = connection.execute(
        select(cycles.c.cycle_id, cycles.c.version, cycles.c.detail, cycles.c.loop)
        .where(cycles.c.space_id == space_id, made, cycles.c.version > cycles.c.base_version, in_force())
        .order_by(cycles.c.version)
    )
    return [
        PastCycle(
            row.cycle_id,
            row.version,
            row.detail.get("candidates"),
            row.loop == "load",
            row.detail.get("release"),
            _extent(row.detail) if row.loop == "deep" else None,
        )
        for row in rows
    ]


def _extent(detail: Mapping[str, Any]) -> DeepExtent:
    return DeepExtent(detail["at"], None if detail["finished"] else detail["units"])
