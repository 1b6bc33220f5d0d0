"""Trajectories set aside by learners: listed with their reasons, and given back to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now
from sona_pg.store.transactions import reading, transaction

LISTING = """
SELECT a.trajectory_id, a.reason, c.finished_at AS set_aside_at, t.id IS NOT NULL AS stored, t.route, t.query
FROM sona.set_aside a
LEFT JOIN sona.cycles c ON c.space_id = %(space)s AND c.cycle_id = a.cycle_id
LEFT JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = a.trajectory_id
WHERE a.space_id = %(space)s
ORDER BY a.trajectory_id DESC LIMIT %(limit)s
"""
STORED = """
SELECT DISTINCT t.id, t.batch, t.step_count FROM sona.set_aside a
JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = a.trajectory_id
WHERE a.space_id = %(space)s AND (%(ids)s::uuid[] IS NULL OR a.trajectory_id = ANY(%(ids)s::uuid[]))
ORDER BY t.id
"""
FREE = "DELETE FROM sona.set_aside WHERE space_id = %(space)s AND trajectory_id = ANY(%(moved)s::uuid[])"
MOVE = "UPDATE sona.trajectories SET batch = %(batch)s WHERE space_id = %(space)s AND id = ANY(%(moved)s::uuid[])"
LEAVE = """
UPDATE sona.batches SET trajectories = sona.batches.trajectories - gone.trajectories,
    steps = greatest(sona.batches.steps - gone.steps, 0)
FROM unnest(%(batches)s::bigint[], %(trajectories)s::integer[], %(steps)s::integer[])
    AS gone (batch, trajectories, steps)
WHERE sona.batches.space_id = %(space)s AND sona.batches.batch = gone.batch
"""
# Never learned from, so the cycles that claimed their batches are the same without them.
BATCH = """
INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
VALUES (%(space)s, %(batch)s, %(server)s, %(first)s, %(last)s, %(count)s, %(steps)s, 0, %(at)s)
"""


class SetAsideStore:
    """Lists and retries the trajectories that learners have set aside."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def listing(self, space: Space, limit: int) -> list[dict[str, Any]]:
        """Return the newest ``limit`` trajectories set aside, with the reason of each."""
        with reading(self._engine, "listing trajectories set aside") as connection:
            found = driver_connection(connection).execute(LISTING, {"space": space.space_id, "limit": limit})
            names = [column.name for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found]

    def retry(self, space: Space, batch: int, server_id: UUID, ids: Sequence[UUID] | None = None) -> int:
        """Give trajectories (by default all) back to the next cycle, as the new ``batch``; return their number."""
        with transaction(self._engine, "retrying trajectories set aside") as connection:
            raw = driver_connection(connection)
            values: dict[str, Any] = {
                "space": space.space_id,
                "ids": None if ids is None else list(ids),
                "batch": batch,
            }
            stored = raw.execute(STORED, values).fetchall()
            if not stored:
                return 0
            moved = [row[0] for row in stored]
            left: dict[int, tuple[int, int]] = {}
            for _, before, steps in stored:
                count, of_steps = left.get(before, (0, 0))
                left[before] = count + 1, of_steps + steps
            values |= {
                "moved": moved, "first": moved[0], "last": moved[-1], "count": len(moved), "server": server_id,
                "steps": sum(row[2] for row in stored), "at": now(connection),
            }  # fmt: skip
            raw.execute(FREE, values)
            raw.execute(BATCH, values)
            raw.execute(MOVE, values)
            counts = list(left.values())
            raw.execute(
                LEAVE,
                {
                    "space": space.space_id,
                    "batches": list(left),
                    "trajectories": [count for count, _ in counts],
                    "steps": [steps for _, steps in counts],
                },
            )
            return len(moved)
