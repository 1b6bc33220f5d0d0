"""One batch into Postgres: what happens inside a transaction; beginning and committing it is ``link.py``'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from sona_pg.ingest import statements
from sona_pg.kernels import EncodedBatch

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# SQLSTATE classes that say the rows are wrong: data, integrity constraints, limits of an index row
CONTENT = ("22", "23", "54")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes, and into which space."""

    space_id: int
    server_id: UUID


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that Postgres refused for its content."""

    kind: str  # 'trajectory' or 'feedback'
    trajectory_id: UUID
    reason: str
    rows: dict[str, bytes]  # by table: its rows in COPY's binary format


@dataclass(slots=True)
class Written:
    """What one transaction added to the ledger."""

    trajectories: int = 0
    steps: int = 0
    feedback: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    already: bool = False  # an earlier attempt had committed

    def add(self, other: Written) -> None:
        self.trajectories += other.trajectories
        self.steps += other.steps
        self.feedback += other.feedback


def is_content_error(exc: BaseException) -> bool:
    """Whether Postgres refused the rows themselves, so that trying again is of no use."""
    return isinstance(exc, psycopg.Error) and (exc.sqlstate or "").startswith(CONTENT)


def write(
    raw: psycopg.Connection[Any],
    origin: Origin,
    batch: EncodedBatch,
    dropped: int,
    now: datetime,
    meanwhile: Callable[[], None],
) -> Written:
    """Write a batch whose rows are new: the marker, then plain COPY. An earlier attempt's commit is recognised.

    ``meanwhile`` is called while the server still works on what it was sent.
    """
    written = Written(batch.trajectory_count, batch.step_count, batch.feedback_count)
    marker, counters = _marker(origin, batch, now), _counters(origin, written, dropped, now)
    with raw.pipeline():  # one round trip
        raw.execute(statements.take_name(batch.batch))
        marked = raw.execute(statements.MARK, marker)
        raw.execute(statements.COUNT, counters)
    if marked.fetchone() is None:
        raw.rollback()
        return Written(already=True)
    if batch.trajectory_count:
        copy_stream(raw, statements.COPY["trajectories"], batch.trajectories, None if batch.step_count else meanwhile)
    if batch.step_count:
        copy_stream(raw, statements.COPY["steps"], batch.steps, meanwhile)
    if batch.feedback_count:
        copy_stream(raw, statements.COPY["feedback"], batch.feedback)
    return written


def write_carefully(
    raw: psycopg.Connection[Any], origin: Origin, batch: EncodedBatch, dropped: int, now: datetime
) -> Written:
    """Write a batch some rows of which may be in already, or be refused: only new and good ones are added.

    A part that is refused is halved until single rows are left; the rest of the batch goes in.
    """
    raw.execute(statements.take_name(batch.batch))
    if raw.execute(statements.MARK, _marker(origin, batch, now)).fetchone() is None:
        return Written(already=True)
    for table in statements.STAGE.values():
        raw.execute(table)
    written = Written()
    size = len(batch)
    pending = [(0, size)]
    while pending:
        first, last = pending.pop()
        try:
            with raw.transaction():  # a savepoint
                added = _add_part(raw, origin, batch, first, last)
            written.add(added)
        except psycopg.Error as exc:
            if not is_content_error(exc):
                raise
            if last - first == 1:
                written.rejected.append(_rejected(batch, first, exc))
            else:
                middle = (first + last) // 2
                pending += [(middle, last), (first, middle)]
    if not (written.trajectories or written.steps or written.feedback):
        raw.rollback()  # no marker for a batch that adds nothing
        return written
    _correct(raw, origin, batch, written)
    raw.execute(statements.COUNT, _counters(origin, written, dropped, now))
    return written


# -- parts of a batch: unit i is trajectory i with its steps, or after the last of these a feedback -----------


def _add_part(raw: psycopg.Connection[Any], origin: Origin, batch: EncodedBatch, first: int, last: int) -> Written:
    added = {
        table: _add_new(raw, origin, table, HEADER + rows + TRAILER) for table, rows in _slices(batch, first, last)
    }
    return Written(added.get("trajectories", 0), added.get("steps", 0), added.get("feedback", 0))


def _slices(batch: EncodedBatch, first: int, last: int) -> Iterator[tuple[str, bytes]]:
    n = batch.trajectory_count
    if first < n:
        end = min(last, n)
        yield "trajectories", _between(batch.trajectories, batch.trajectory_rows, first, end)
        steps = _between(batch.steps, batch.step_rows, first, end)
        if steps:
            yield "steps", steps
    if last > n:
        yield "feedback", _between(batch.feedback, batch.feedback_rows, max(first - n, 0), last - n)


def _between(stream: bytes, rows: NDArray[np.int64], first: int, last: int) -> bytes:
    return stream[int(rows[first]) : int(rows[last])]


def _rejected(batch: EncodedBatch, unit: int, exc: psycopg.Error) -> Rejected:
    n = batch.trajectory_count
    ids, index, kind = (
        (batch.trajectory_ids, unit, "trajectory") if unit < n else (batch.feedback_ids, unit - n, "feedback")
    )
    reason = f"{exc.sqlstate}: {exc.diag.message_primary or exc}"
    return Rejected(kind, UUID(bytes=ids[index].tobytes()), reason, dict(_slices(batch, unit, unit + 1)))


# -- statements ---------------------------------------------------------------------------------------------


def _marker(origin: Origin, batch: EncodedBatch, now: datetime) -> dict[str, object]:
    return {
        "space": origin.space_id,
        "batch": batch.batch,
        "server": origin.server_id,
        "first_id": batch.first_id,
        "last_id": batch.last_id,
        "trajectories": batch.trajectory_count,
        "steps": batch.step_count,
        "feedback": batch.feedback_count,
        "now": now,
    }


def _counters(origin: Origin, written: Written, dropped: int, now: datetime) -> dict[str, object]:
    return {
        "space": origin.space_id,
        "server": origin.server_id,
        "trajectories": written.trajectories,
        "feedback": written.feedback,
        "dropped": dropped,
        "now": now,
    }


def _correct(raw: psycopg.Connection[Any], origin: Origin, batch: EncodedBatch, written: Written) -> None:
    values = {
        "space": origin.space_id,
        "batch": batch.batch,
        "trajectories": written.trajectories,
        "steps": written.steps,
        "feedback": written.feedback,
    }
    raw.execute(statements.CORRECT_MARK, values)


def copy_stream(
    raw: psycopg.Connection[Any], query: str, stream: bytes, meanwhile: Callable[[], None] | None = None
) -> None:
    with raw.cursor() as cursor, cursor.copy(query) as copy:
        copy.write(stream)
        if meanwhile is not None:
            meanwhile()


def _add_new(raw: psycopg.Connection[Any], origin: Origin, table: str, stream: bytes) -> int:
    copy_stream(raw, statements.COPY_STAGED[table], stream)
    with raw.cursor() as cursor:
        cursor.execute(statements.UNSTAGE[table], {"space": origin.space_id})
        added = len(cursor.fetchall())
        cursor.execute(statements.CLEAR_STAGE[table])
    return added
