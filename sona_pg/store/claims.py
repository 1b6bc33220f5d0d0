"""Claims: the batches that a cycle learns from, in slices of bounded size, and those hidden from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, any_, cast, exists, func, insert, not_, select

from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import is_number_of
from sona_pg.store.schema import batches, cycles, set_aside, staged_versions

MOST_VECTOR_BYTES = 128 << 20  # most float32 values of embeddings and steps in a slice

# Oldest first, in the order of the index `batches_unlearned`: at most `most` entries are read. The first batch is taken
# whatever its size; a batch counts as at least one fact, so that the number of empty ones is bounded.
NEXT_SLICE = """
SELECT batch, first_id, last_id, trajectories, steps, feedback, followed FROM (
    SELECT *, row_number() OVER oldest AS place, lead(batch) OVER oldest IS NOT NULL AS followed,
        sum(greatest(trajectories + feedback, 1)) OVER oldest AS facts_so_far,
        sum(trajectories + steps) OVER oldest AS vectors_so_far
    FROM (
        SELECT batch, first_id, last_id, trajectories, steps, feedback, recorded_at FROM sona.batches
        WHERE space_id = %(space)s AND cycle_id IS NULL AND left_out_by IS NULL
            AND (recorded_at, batch) <= (%(until)s::timestamptz, %(last)s::bigint)
        ORDER BY recorded_at, batch LIMIT %(most)s + 1
    ) AS waiting
    WINDOW oldest AS (ORDER BY recorded_at, batch)
) AS counted
WHERE place = 1 OR (place <= %(most)s AND facts_so_far <= %(most)s AND vectors_so_far <= %(vectors)s)
ORDER BY place
"""
NEWEST = """
SELECT recorded_at, batch FROM sona.batches WHERE space_id = %(space)s AND cycle_id IS NULL AND left_out_by IS NULL
ORDER BY recorded_at DESC, batch DESC LIMIT 1
"""
# A join: a condition on an array would search the array for each row.
MARK = """
UPDATE sona.batches SET cycle_id = %(cycle)s
FROM unnest(%(claimed)s::bigint[]) AS claimed (batch)
WHERE sona.batches.space_id = %(space)s AND sona.batches.batch = claimed.batch AND sona.batches.cycle_id IS NULL
    AND sona.batches.left_out_by IS NULL
"""


class Limit(NamedTuple):
    """Last batch of a run of cycles; batches recorded later wait for the next run."""

    recorded_at: datetime
    batch: int


class Claim(NamedTuple):
    """Batches that one cycle learns from."""

    batches: list[int]
    spans: list[tuple[UUID, UUID]]  # first and last trajectory id of each batch with trajectories
    steps: int
    feedback: int
    followed: bool  # whether more unlearned batches follow


class Horizon(NamedTuple):
    """Batches visible to a reader of the ledger: all except those that meet a condition."""

    hidden: ColumnElement[bool] | None  # on ``batches``
    visible: frozenset[int] = frozenset()  # batches that are always visible

    def sees(self, connection: Connection, space_id: int, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (n,) which of the batches ``numbers`` (n,) are seen."""
        if self.hidden is None or not len(numbers):
            return np.ones(len(numbers), np.bool_)
        asked = [number for number in np.unique(numbers).tolist() if number not in self.visible]
        if not asked:
            return np.ones(len(numbers), np.bool_)
        query = select(batches.c.batch).where(
            batches.c.space_id == space_id, is_number_of(batches.c.batch, asked), self.hidden
        )
        return ~np.isin(numbers, list(connection.scalars(query)))


EVERYTHING = Horizon(None)


def unclaimed_but(claimed: Sequence[int]) -> Horizon:
    """Return the horizon of a cycle that claims ``claimed``: these batches and those of earlier cycles."""
    return Horizon(batches.c.cycle_id.is_(None), frozenset(claimed))


def as_of(space_id: int, version: int) -> Horizon:
    """Return the horizon of the cycle that made ``version``."""
    return Horizon(later_than(space_id, version))


def later_than(space_id: int, version: int) -> ColumnElement[bool]:
    """Return the condition on ``batches``: not yet claimed when ``version`` was made.

    Batches without learnable facts belong to no version, and are not hidden. A candidate has learned from batches that
    it has not claimed yet.
    """
    # The space as a constant: Citus cannot tell from the outer query's column that it stays on one node.
    by_later_cycle = exists().where(
        cycles.c.space_id == space_id, cycles.c.cycle_id == batches.c.cycle_id, cycles.c.version > version
    )
    by_candidate = exists().where(
        staged_versions.c.space_id == space_id,
        staged_versions.c.version == version,
        batches.c.batch == any_(staged_versions.c.batches),
    )
    return (batches.c.cycle_id.is_(None) | by_later_cycle) & ~by_candidate


def not_held_by(space_id: int, version: int) -> ColumnElement[bool]:
    """Return the condition on ``batches``: ``version``, live at some time, had not learned from it.

    Unlike ``later_than`` it holds for versions rolled back since, whose batches may be unlearned again or belong to
    another cycle.
    """
    since_its_own = func.int8multirange(func.int8range(cycles.c.version, cast(None, BigInteger)))
    held = func.coalesce(cycles.c.in_force, since_its_own).op("@>")(cast(version, BigInteger))
    of_space = cycles.c.space_id == space_id
    by_other = exists().where(of_space, cycles.c.cycle_id == batches.c.cycle_id, not_(held))
    by_undone = exists().where(
        of_space, cycles.c.batches.is_not(None), held, batches.c.batch == cycles.c.batches.any_()
    )
    return (batches.c.cycle_id.is_(None) | by_other) & ~by_undone


def newest_waiting(connection: Connection, space_id: int) -> Limit | None:
    """Return the newest unlearned batch, or None."""
    row = driver_connection(connection).execute(NEWEST, {"space": space_id}).fetchone()
    return None if row is None else Limit(*row)


def next_slice(connection: Connection, space_id: int, dim: int, most: int, limit: Limit | None) -> Claim:
    """Return the oldest unlearned batches of a space, up to ``most`` facts and to ``limit``; at least one if any.

    Later batches are left for the next cycle. Each fact is folded exactly once: ``mark`` refuses marked batches.
    """
    values = {
        "space": space_id,
        "until": "infinity" if limit is None else limit.recorded_at,
        "last": 2**63 - 1 if limit is None else limit.batch,
        "most": most,
        "vectors": MOST_VECTOR_BYTES // (4 * dim),
    }
    rows = driver_connection(connection).execute(NEXT_SLICE, values).fetchall()
    return _claim(rows, bool(rows) and rows[-1][-1])


def of_cycle(connection: Connection, space_id: int, cycle_id: UUID) -> Claim:
    """Return the batches claimed by a past cycle."""
    columns = [batches.c[name] for name in ("batch", "first_id", "last_id", "trajectories", "steps", "feedback")]
    claimed = select(*columns).where(batches.c.space_id == space_id, batches.c.cycle_id == cycle_id)
    return _claim(connection.execute(claimed.order_by(batches.c.recorded_at, batches.c.batch)).all(), False)


def mark(connection: Connection, space_id: int, claimed: Sequence[int], cycle_id: UUID) -> bool:
    """Mark the claimed batches as learned by ``cycle_id``; return False if one of them was marked already."""
    values = {"space": space_id, "cycle": cycle_id, "claimed": list(claimed)}
    return driver_connection(connection).execute(MARK, values).rowcount == len(claimed)


def waiting_count(connection: Connection, space_id: int) -> int:
    """Return the number of unlearned trajectories and feedback of the space, as ``sona.learning.waiting_facts``."""
    waiting = select(func.coalesce(func.sum(batches.c.trajectories + batches.c.feedback), 0)).where(
        batches.c.space_id == space_id, batches.c.cycle_id.is_(None), batches.c.left_out_by.is_(None)
    )
    return int(connection.scalar(waiting) or 0)


def put_aside(connection: Connection, space_id: int, cycle_id: UUID, reasons: Sequence[tuple[UUID, str]]) -> None:
    """Record the trajectories that a cycle cannot learn from."""
    if reasons:
        connection.execute(
            insert(set_aside),
            [
                {"space_id": space_id, "trajectory_id": trajectory, "cycle_id": cycle_id, "reason": reason}
                for trajectory, reason in reasons
            ],
        )


def _claim(rows: Sequence[Any], followed: bool) -> Claim:
    return Claim(
        batches=[row[0] for row in rows],
        spans=[(row[1], row[2]) for row in rows if row[1] is not None],
        steps=sum(row[4] for row in rows),
        feedback=sum(row[5] for row in rows),
        followed=followed,
    )
