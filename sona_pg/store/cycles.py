"""Learning cycles: the record of what each run of a loop read and changed."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, insert, select

from sona_pg.domain.cycle import CycleResult, PastCycle
from sona_pg.store.schema import cycles, spaces

COLUMNS = ("loop", "cycle_id", "base_version", "version", "trajectories", "feedback", "set_aside", "patterns")


def record(
    connection: Connection,
    space_id: int,
    server_id: UUID,
    result: CycleResult,
    started: datetime,
    finished: datetime,
) -> None:
    """Store ``result`` in ``sona.cycles``; what has no column of its own goes into ``detail``."""
    values = dataclasses.asdict(result)
    columns = {name: values.pop(name) for name in COLUMNS}
    connection.execute(
        insert(cycles).values(
            space_id=space_id,
            server_id=server_id,
            started_at=started,
            finished_at=finished,
            detail=values,
            **columns,
        )
    )


def last_started(connection: Connection, space_id: int, loop: str) -> datetime | None:
    """Return when the space's last cycle of ``loop`` began."""
    return connection.scalar(
        select(cycles.c.started_at)
        .where(cycles.c.space_id == space_id, cycles.c.loop == loop)
        .order_by(cycles.c.started_at.desc())
        .limit(1)
    )


def learned_facts(connection: Connection, space_id: int) -> int:
    """Return how many trajectories and facts of feedback the space's cycles have read, those that are gone included."""
    read = select(func.coalesce(func.sum(cycles.c.trajectories + cycles.c.feedback), 0)).where(
        cycles.c.space_id == space_id
    )
    departed = select(spaces.c.departed_learned).where(spaces.c.space_id == space_id)
    return int(connection.scalar(read) or 0) + int(connection.scalar(departed) or 0)


def past(connection: Connection, space_id: int) -> list[PastCycle]:
    """Return the cycles that made a version, by version."""
    rows = connection.execute(
        select(cycles.c.cycle_id, cycles.c.version, cycles.c.detail)
        .where(cycles.c.space_id == space_id, cycles.c.loop == "background", cycles.c.version > cycles.c.base_version)
        .order_by(cycles.c.version)
    )
    return [PastCycle(row.cycle_id, row.version, row.detail.get("candidates")) for row in rows]
