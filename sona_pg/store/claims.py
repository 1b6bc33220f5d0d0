"""Claims: which batches a cycle learns from, in slices of bounded size, and which batches it must not see yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, cast, exists, func, insert, not_, select

from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import is_number_of
from sona_pg.store.schema import batches, cycles, set_aside

MOST_VECTOR_BYTES = 128 << 20  # float32 of embeddings and steps that a slice reads, whatever their dimension

# Oldest first, as the index `batches_unlearned` has them: at most `most` of its entries are read. The first batch is
# taken however large it is; a batch counts as one fact at least, or empty ones would be taken without end.
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
# A join: a condition on an array would be looked through for each row.
MARK = """
UPDATE sona.batches SET cycle_id = %(cycle)s
FROM unnest(%(claimed)s::bigint[]) AS claimed (batch)
WHERE sona.batches.space_id = %(space)s AND sona.batches.batch = claimed.batch AND sona.batches.cycle_id IS NULL
    AND sona.batches.left_out_by IS NULL
"""


class Limit(NamedTuple):
    """The last batch that a run of cycles learns from; batches that are recorded later wait for the next run."""

    recorded_at: datetime
    batch: int


class Claim(NamedTuple):
    """Batches that one cycle learns from."""

    batches: list[int]
    spans: list[tuple[UUID, UUID]]  # first and last id of the trajectories of each batch that has some
    steps: int
    feedback: int
    followed: bool  # whether more batches wait behind them


class Horizon(NamedTuple):
    """The batches that a reader of the ledger sees: all, less those for which a condition holds."""

    hidden: ColumnElement[bool] | None  # on ``batches``
    visible: frozenset[int] = frozenset()  # batches that are seen in any case

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
    """Return the view of a cycle that claims ``claimed``: what earlier cycles have learned from, and these."""
    return Horizon(batches.c.cycle_id.is_(None), frozenset(claimed))


def as_of(version: int) -> Horizon:
    """Return the view that the cycle had which made ``version``."""
    return Horizon(later_than(version))


def later_than(version: int) -> ColumnElement[bool]:
    """Return the condition on ``batches``: not yet claimed when ``version`` was made.

    Batches in which a cycle found nothing to learn from are in no version, and hide nothing.
    """
    by_later_cycle = exists().where(
        cycles.c.space_id == batches.c.space_id, cycles.c.cycle_id == batches.c.cycle_id, cycles.c.version > version
    )
    return batches.c.cycle_id.is_(None) | by_later_cycle


def not_held_by(version: int) -> ColumnElement[bool]:
    """Return the condition on ``batches``: ``version``, which was live at some time, had not learned from it.

    Unlike ``later_than`` it is right for versions that were rolled back since: their batches may wait again, or belong
    to another cycle by now.
    """
    since_its_own = func.int8multirange(func.int8range(cycles.c.version, cast(None, BigInteger)))
    held = func.coalesce(cycles.c.in_force, since_its_own).op("@>")(cast(version, BigInteger))
    of_space = cycles.c.space_id == batches.c.space_id
    by_other = exists().where(of_space, cycles.c.cycle_id == batches.c.cycle_id, not_(held))
    by_undone = exists().where(
        of_space, cycles.c.batches.is_not(None), held, batches.c.batch == cycles.c.batches.any_()
    )
    return (batches.c.cycle_id.is_(None) | by_other) & ~by_undone


def newest_waiting(connection: Connection, space_id: int) -> Limit | None:
    """Return the newest batch that no cycle has learned from, if any waits."""
    row = driver_connection(connection).execute(NEWEST, {"space": space_id}).fetchone()
    return None if row is None else Limit(*row)


def next_slice(connection: Connection, space_id: int, dim: int, most: int, limit: Limit | None) -> Claim:
    """Return the oldest waiting batches of a space, up to ``most`` facts and to ``limit``; at least one, if one waits.

    What is committed meanwhile waits for the next cycle. A fact is folded exactly once because ``mark`` refuses
    batches that are marked.
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
    """Return the batches that a past cycle has claimed."""
    columns = [batches.c[name] for name in ("batch", "first_id", "last_id", "trajectories", "steps", "feedback")]
    claimed = select(*columns).where(batches.c.space_id == space_id, batches.c.cycle_id == cycle_id)
    return _claim(connection.execute(claimed.order_by(batches.c.recorded_at, batches.c.batch)).all(), False)


def mark(connection: Connection, space_id: int, claimed: Sequence[int], cycle_id: UUID) -> bool:
    """Say that ``cycle_id`` has learned from the claimed batches; return False if one of them waits no longer."""
    values = {"space": space_id, "cycle": cycle_id, "claimed": list(claimed)}
    return driver_connection(connection).execute(MARK, values).rowcount == len(claimed)


def waiting_count(connection: Connection, space_id: int) -> int:
    """Return how many trajectories of the space wait to be learned from."""
    waiting = select(func.coalesce(func.sum(batches.c.trajectories), 0)).where(
        batches.c.space_id == space_id, batches.c.cycle_id.is_(None), batches.c.left_out_by.is_(None)
    )
    return int(connection.scalar(waiting) or 0)


def put_aside(connection: Connection, space_id: int, cycle_id: UUID, reasons: Sequence[tuple[UUID, str]]) -> None:
    """Record the trajectories that a cycle could not learn from."""
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
