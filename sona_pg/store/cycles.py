"""Learning cycles: the record of what each run of a loop read and changed."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, insert, literal, select

from sona_pg.domain.cycle import CycleResult, LearningSchedule, PastCycle
from sona_pg.store.leases import missing, now
from sona_pg.store.schema import batches, cycles, spaces

COLUMNS = ("loop", "cycle_id", "base_version", "version", "trajectories", "feedback", "set_aside", "patterns")


def record(
    connection: Connection,
    space_id: int,
    server_id: UUID,
    result: CycleResult,
    started: datetime,
    finished: datetime,
    error: str | None = None,
) -> None:
    """Store ``result`` in ``sona.cycles``, with why it failed; what has no column of its own goes into ``detail``."""
    values = dataclasses.asdict(result)
    columns = {name: values.pop(name) for name in COLUMNS}
    connection.execute(
        insert(cycles).values(
            space_id=space_id,
            server_id=server_id,
            started_at=started,
            finished_at=finished,
            detail=values,
            error=error,
            **columns,
        )
    )


def schedule(connection: Connection, space_id: int, loop: str) -> LearningSchedule:
    """Return what decides whether a cycle of ``loop`` is due; every time in it is the database's."""
    at = now(connection)
    of_space = cycles.c.space_id == space_id
    # A server of an earlier release wrote its own clock here, which may be ahead: such a cycle counts as never begun.
    begun = (
        select(func.max(cycles.c.started_at))
        .where(of_space, cycles.c.loop == loop, cycles.c.error.is_(None), cycles.c.started_at <= literal(at))
        .scalar_subquery()
    )
    read = select(func.coalesce(func.sum(cycles.c.trajectories + cycles.c.feedback), 0)).where(of_space)
    waits = select(func.coalesce(func.sum(batches.c.trajectories + batches.c.feedback), 0)).where(
        batches.c.space_id == space_id, batches.c.cycle_id.is_(None)
    )
    row = connection.execute(
        select(
            spaces.c.live_version,
            func.coalesce(begun, spaces.c.created_at).label("begun"),
            (spaces.c.departed_learned + read.scalar_subquery()).label("learned"),
            waits.scalar_subquery().label("waiting"),
        ).where(spaces.c.space_id == space_id)
    ).one_or_none()
    if row is None:
        raise missing(space_id)
    return LearningSchedule(int(row.live_version), int(row.waiting), int(row.learned), at - row.begun)


def past(connection: Connection, space_id: int) -> list[PastCycle]:
    """Return the cycles that made a version, by version."""
    rows = connection.execute(
        select(cycles.c.cycle_id, cycles.c.version, cycles.c.detail)
        .where(cycles.c.space_id == space_id, cycles.c.loop == "background", cycles.c.version > cycles.c.base_version)
        .order_by(cycles.c.version)
    )
    return [PastCycle(row.cycle_id, row.version, row.detail.get("candidates")) for row in rows]
