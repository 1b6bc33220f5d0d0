"""Statements that write part of a batch, inside a transaction that ``link.py`` begins and commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from sona_pg.errors import SpaceRemoved
from sona_pg.ingest import statements
from sona_pg.ingest.own_worker import Way
from sona_pg.ingest.parts import HEADER, TRAILER, Part, chosen, sequences_given
from sona_pg.ingest.refusals import is_content_error, state_of
from sona_pg.store.states import JUDGED


@dataclass(frozen=True, slots=True)
class Origin:
    """The writing server and the space written to."""

    space_id: int
    server_id: UUID
    space_name: str = ""
    made_at: datetime | None = None  # when the space was made; None: whichever has this number

    @property
    def space(self) -> str:
        """Name of the space in errors."""
        return self.space_name or str(self.space_id)


@dataclass(frozen=True, slots=True)
class Losses:
    """Records of this process, since the last batch, that will never be stored."""

    dropped: int = 0  # refused: the buffer was full
    abandoned: int = 0  # abandoned: the trajectory was never ended


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that Postgres refused for its content."""

    kind: str  # 'trajectory', 'feedback', 'candidate' or 'candidate_set'
    name: UUID | str  # of the trajectory, the candidate or the set
    reason: str
    rows: dict[str, bytes]  # by table: its rows in COPY's binary format, of candidates and sets as in candidate_log.py


@dataclass(slots=True)
class Written:
    """Rows that one transaction added to the ledger."""

    trajectories: int = 0
    steps: int = 0
    feedback: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    conflicting: list[UUID] = field(default_factory=list)  # stored already with other contents, which stay
    already: bool = False  # an earlier attempt had committed
    taken: bool = False  # another server has used the number: nothing was written
    counted: bool = False  # rows and losses were added to the fleet's counters

    def add(self, other: Written) -> None:
        self.trajectories += other.trajectories
        self.steps += other.steps
        self.feedback += other.feedback


def _as_it_stands(statement: str) -> str:
    return statement


def write(
    raw: psycopg.Connection[Any],
    origin: Origin,
    part: Part,
    losses: Losses,
    now: datetime,
    meanwhile: Callable[[], None],
    *,
    guarded: bool = False,
    way: Way | None = None,
) -> Written:
    """Write a part whose rows are new: the marker, then plain COPY. An earlier attempt's commit is recognised.

    Feedback with a sequence given by the caller may be stored already: only new facts are added. ``meanwhile`` is
    called while the server works on the rows. ``guarded``: row-level security applies to this role. ``way``: ``raw``
    leads to the space's own worker of Citus; the caller announces what is judged, for nobody listens there.

    Raises:
        SpaceRemoved: the space is gone.
        Moved: it is not on that worker any more.
    """
    here = _as_it_stands if way is None else way.here
    written = Written(part.trajectory_count, part.step_count, part.feedback_count, counted=True)
    marker, counters = _marker(origin, part, now), _counters(origin, written, losses, now)
    repeats = part.encoded.sequence_given and written.feedback > 0
    rows = {"trajectories": written.trajectories, "steps": written.steps, "feedback": written.feedback}
    tables = [table for table, count in rows.items() if count and not (repeats and table == "feedback")]
    busiest = "steps" if written.steps else "trajectories"
    with raw.pipeline():  # one round trip
        raw.execute(statements.take_name(part.number))
        raw.execute(statements.WAIT_BRIEFLY)
        kept = None if way is None else way.lock(raw)
        held = raw.execute(here(statements.HOLD_SPACE), {"space": origin.space_id})
        marked = raw.execute(here(statements.MARK), marker)
        counted = None if repeats else raw.execute(here(statements.COUNT), counters)
        if part.encoded.judged and way is None:
            announce(raw, origin, part)
        for table in tables if guarded else ():
            raw.execute(statements.STAGE[table])
    if way is not None and kept is not None:
        way.require(kept)
    _require(held, origin)
    if marked.fetchone() is None:
        return _marked_before(raw, origin, part, here)
    if counted is not None:
        _count_departed(raw, counted, counters, here)
    copy = statements.COPY_STAGED if guarded else statements.COPY
    for table in tables:
        copy_stream(raw, here(copy[table]), part.stream(table), meanwhile if table == busiest else None)
    for table in tables if guarded else ():
        raw.execute(statements.PASS_ON[table], {"space": origin.space_id})
    if repeats:
        written.feedback = _add_feedback(raw, origin, part)
        return _settled(raw, origin, part, written, losses, now, announced=True)
    return written


def write_carefully(
    raw: psycopg.Connection[Any], origin: Origin, part: Part, losses: Losses, now: datetime
) -> Written:  # fmt: skip
    """Write a part of which some rows may be stored already, or be refused; add the new, valid ones.

    A refused part is halved until the refused rows are single; all others are added.

    Raises:
        SpaceRemoved: the space is gone.
    """
    earlier = _marked(raw, origin, part, now)
    if earlier is not None:
        return earlier
    for table in statements.STAGED:
        if part.step_count if table == "steps" else part.trajectory_count:
            raw.execute(statements.STAGE[table])
    written = Written()
    pending = [(part.first, part.last)]
    while pending:
        first, last = pending.pop()
        try:
            with raw.transaction():  # a savepoint
                added = _add_new(raw, origin, Part(part.number, part.encoded, first, last))
            written.add(added)
            written.conflicting += added.conflicting
        except psycopg.Error as exc:
            if not is_content_error(exc):
                raise
            if last - first == 1:
                written.rejected.append(_rejected(part, first, exc))
            else:
                middle = (first + last) // 2
                pending += [(middle, last), (first, middle)]
    return _settled(raw, origin, part, written, losses, now)


def committed_before(
    raw: psycopg.Connection[Any], origin: Origin, part: Part, now: datetime
) -> Written | None:  # fmt: skip
    """Return what an attempt of unknown outcome has committed; None if it has not, and cannot any more.

    Its marker is the proof: putting one there waits for a transaction that holds the key.

    Raises:
        SpaceRemoved: the space is gone.
    """
    earlier = _marked(raw, origin, part, now)
    if earlier is None:
        raw.rollback()
    return earlier


def hold_space(raw: psycopg.Connection[Any], origin: Origin) -> None:
    """Prevent removal of the space until the transaction ends, and limit its waits for locks.

    Raises: SpaceRemoved: the space has been removed.
    """
    raw.execute(statements.WAIT_BRIEFLY)
    _require(raw.execute(statements.HOLD_SPACE, {"space": origin.space_id}), origin)


def copy_stream(
    raw: psycopg.Connection[Any], query: str, stream: bytes, meanwhile: Callable[[], None] | None = None
) -> None:
    with raw.cursor() as cursor, cursor.copy(query) as copy:
        copy.write(stream)
        if meanwhile is not None:
            meanwhile()


def _require(held: psycopg.Cursor[Any], origin: Origin) -> None:
    """Raise ``SpaceRemoved`` unless the row found by ``HOLD_SPACE`` is of this space, and no other of its number."""
    found = held.fetchone()
    if found is None or origin.made_at not in (None, found[0]):
        raise SpaceRemoved(origin.space, replaced=found is not None)


def _marked(raw: psycopg.Connection[Any], origin: Origin, part: Part, now: datetime) -> Written | None:
    """Put the marker there; return what an earlier attempt has committed if it was there already."""
    raw.execute(statements.take_name(part.number))
    hold_space(raw, origin)
    marked = raw.execute(statements.MARK, _marker(origin, part, now)).fetchone()
    return _marked_before(raw, origin, part) if marked is None else None


def _marked_before(
    raw: psycopg.Connection[Any], origin: Origin, part: Part, here: Callable[[str], str] = _as_it_stands
) -> Written:
    """Return whose marker is there: it proves a commit only to the server that wrote it."""
    row = raw.execute(here(statements.MARKED_BY), {"space": origin.space_id, "batch": part.number}).fetchone()
    raw.rollback()
    if row is not None and row[0] == origin.server_id:
        return Written(part.trajectory_count, part.step_count, part.feedback_count, already=True, counted=True)
    return Written(taken=True)


def _add_new(raw: psycopg.Connection[Any], origin: Origin, part: Part) -> Written:
    added, of_space = Written(), {"space": origin.space_id}
    new: list[Any] = []
    repeated: list[UUID] = []
    for table, rows in part.streams(part.first, part.last):
        if table == "feedback":
            added.feedback = _add_feedback(raw, origin, part)
            continue
        copy_stream(raw, statements.COPY_STAGED[table], HEADER + rows + TRAILER)
        if table == "trajectories":
            new = raw.execute(statements.UNSTAGE[table], of_space).fetchall()
            added.trajectories = len(new)
            if len(new) < part.trajectory_count:
                repeated, added.conflicting = _repeated(raw, of_space, [row[0] for row in new])
        else:
            told = raw.execute(statements.STAGED_REWARDS, {"ids": repeated}).fetchall() if repeated else []
            if repeated:  # more steps than were stored must not join them
                raw.execute(statements.DROP_STEPS, {"ids": [row[0] for row in new], "counts": [row[1] for row in new]})
            added.steps = raw.execute(statements.UNSTAGE[table], of_space).rowcount
            added.conflicting = list({*added.conflicting, *_of_other_rewards(raw, of_space, told)})
        raw.execute(statements.CLEAR_STAGE[table])
    return added


def _repeated(
    raw: psycopg.Connection[Any], of_space: dict[str, int], new: Sequence[UUID]
) -> tuple[list[UUID], list[UUID]]:
    """Return the ids of staged trajectories that were stored before, and those of them whose contents are others."""
    staged = raw.execute(statements.STAGED_CONTENTS).fetchall()
    ids = [row[0] for row in staged]
    told = {"ids": ids, "contents": [row[1] for row in staged]}
    others = [row[0] for row in raw.execute(statements.CONFLICTING, {**of_space, **told})]
    return list(Counter(ids) - Counter(new)), others


def _of_other_rewards(
    raw: psycopg.Connection[Any], of_space: dict[str, int], told: Sequence[tuple[UUID, int, float | None]]
) -> list[UUID]:
    """Return the ids of trajectories whose stored steps have other rewards than those told."""
    if not told:
        return []
    ids, ordinals, rewards = map(list, zip(*told, strict=True))
    values = {**of_space, "ids": ids, "ordinals": ordinals, "rewards": rewards}
    return [row[0] for row in raw.execute(statements.OTHER_REWARDS, values)]


def _add_feedback(raw: psycopg.Connection[Any], origin: Origin, part: Part) -> int:
    """Add new facts, and return their number; a stored fact is not changed.

    A sequence not given by the caller is the time; if another fact has the same one, this fact gets the number after
    it.
    """
    columns = part.feedback_columns()
    of_space = {"space": origin.space_id, "batch": part.number}
    added = raw.execute(statements.ADD_FEEDBACK, {**of_space, **columns}).rowcount
    if added == part.feedback_count:
        return added
    columns = chosen(columns, [row for row, given in enumerate(sequences_given(columns)) if not given])
    while columns["sequence"]:
        overtaken = raw.execute(statements.OVERTAKEN, {**of_space, **columns}).fetchall()
        columns = chosen(columns, [row for (row,) in overtaken])
        columns["sequence"] = [sequence + 1 for sequence in columns["sequence"]]
        if overtaken:
            added += raw.execute(statements.ADD_FEEDBACK, {**of_space, **columns}).rowcount
    return added


def _rejected(part: Part, unit: int, exc: psycopg.Error) -> Rejected:
    batch = part.encoded
    n = batch.trajectory_count
    ids, index, kind = (
        (batch.trajectory_ids, unit, "trajectory") if unit < n else (batch.feedback_ids, unit - n, "feedback")
    )
    reason = f"{state_of(exc)}: {exc.diag.message_primary or exc}"
    return Rejected(kind, UUID(bytes=ids[index].tobytes()), reason, dict(part.streams(unit, unit + 1)))


# -- the marker and the counters ----------------------------------------------------------------------------


def _marker(origin: Origin, part: Part, now: datetime) -> dict[str, object]:
    first, last = part.span or (None, None)
    return {
        "space": origin.space_id,
        "batch": part.number,
        "server": origin.server_id,
        "first_id": first,
        "last_id": last,
        "trajectories": part.trajectory_count,
        "steps": part.step_count,
        "feedback": part.feedback_count,
        "now": now,
    }


def _counters(origin: Origin, written: Written, losses: Losses, now: datetime) -> dict[str, object]:
    return {
        "space": origin.space_id,
        "server": origin.server_id,
        "trajectories": written.trajectories,
        "feedback": written.feedback,
        "conflicting": len(written.conflicting),
        "dropped": losses.dropped,
        "abandoned": losses.abandoned,
        "now": now,
    }


def _count_departed(
    raw: psycopg.Connection[Any],
    counted: psycopg.Cursor[Any],
    counters: dict[str, object],
    here: Callable[[str], str] = _as_it_stands,
) -> None:
    """Count for the space what ``COUNT`` has counted for no server: maintenance has deleted it."""
    if counted.fetchone() is None:
        raw.execute(here(statements.COUNT_DEPARTED), counters)


def announce(raw: psycopg.Connection[Any], origin: Origin, part: Part) -> None:
    """Tell other servers of a batch in which something is judged, once it is committed."""
    raw.execute(statements.ANNOUNCE, {"channel": JUDGED, "payload": f"{origin.space_id} {part.number}"})


def _settled(
    raw: psycopg.Connection[Any],
    origin: Origin,
    part: Part,
    written: Written,
    losses: Losses,
    now: datetime,
    *,
    announced: bool = False,
) -> Written:
    """Update marker and counters to the rows added; delete both if no rows were added."""
    if not (written.trajectories or written.steps or written.feedback):
        raw.rollback()
        if written.conflicting:
            raw.execute(statements.COUNT, _counters(origin, written, Losses(), now))
        return written
    values = {
        "space": origin.space_id,
        "batch": part.number,
        "trajectories": written.trajectories,
        "steps": written.steps,
        "feedback": written.feedback,
    }
    if part.encoded.judged and not announced:
        announce(raw, origin, part)
    raw.execute(statements.CORRECT_MARK, values)
    counters = _counters(origin, written, losses, now)
    _count_departed(raw, raw.execute(statements.COUNT, counters), counters)
    written.counted = True
    return written
