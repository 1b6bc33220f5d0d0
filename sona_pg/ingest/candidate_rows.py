"""Candidates and candidate sets, written to Postgres."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import ArrayLike, NDArray

from sona_pg import limits
from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.ingest import statements
from sona_pg.ingest.commit import Origin, copy_stream, hold_space
from sona_pg.ingest.parts import HEADER, TRAILER
from sona_pg.recorder import keep_directions
from sona_pg.store.states import CHANNEL

log = logging.getLogger("sona_pg.ingest")

AT_ONCE = 2000  # rows a transaction
TOO_MANY = "%d candidates are left out: space %s may have %d; give what is the same the same id, or use another space"


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Candidates by id."""

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]  # (n, dim) float32
    put_at: datetime = field(default_factory=lambda: datetime.now(UTC))  # by the clock of this machine
    order: GroupOrder | None = None

    @property
    def bytes(self) -> int:
        """Approximate memory while queued."""
        return self.embeddings.nbytes + _bytes_of(self.ids)


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates that were shown together."""

    set_id: int
    ids: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Approximate memory while queued."""
        return _bytes_of(self.ids)


Extra = Candidates | CandidateSet


def _bytes_of(ids: tuple[str, ...]) -> int:
    return 256 + sum(64 + len(name) for name in ids)


def checked(ids: Sequence[str], embeddings: ArrayLike, dim: int, order: GroupOrder | None = None) -> list[Candidates]:
    """Return candidates with a copy of their embeddings (n, dim), in parts of one transaction's size.

    Raises:
        InvalidValue: an id is not text, or an embedding is not finite or exceeds the range of half precision.
        DimensionMismatch: the embeddings are not as long as the space's.
    """
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise InvalidValue(f"embeddings have shape {matrix.shape}, expected ({len(ids)}, {dim})")
    if matrix.shape[1] != dim:
        raise DimensionMismatch(dim, matrix.shape[1], "candidate embedding")
    if not (np.abs(matrix) <= 65504).all():
        raise InvalidValue("a candidate's embedding has a value that is not finite, or beyond ±65504")
    check_ids(ids)
    kept = np.array(matrix, order="C")
    keep_directions(kept)  # in half precision
    return [
        Candidates(
            tuple(ids[at : at + AT_ONCE]), kept[at : at + AT_ONCE], order=None if order is None else order.after(at)
        )
        for at in range(0, len(ids), AT_ONCE)
    ]


def check_ids(ids: Sequence[str]) -> None:
    """Raise ``InvalidValue`` for an id that cannot be stored."""
    for name in ids:
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidValue(f"a candidate's id is {name!r}, expected text without a NUL character")


def in_parts(rows: Sequence[Extra]) -> list[list[Extra]]:
    """Return ``rows`` split into transactions of about ``AT_ONCE`` rows."""
    parts: list[list[Extra]] = []
    size = AT_ONCE
    for row in rows:
        weight = len(row.ids) if isinstance(row, Candidates) else 1
        if size + weight > AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += weight
    return parts


def halves(row: Candidates) -> list[Candidates]:
    """Return candidates in two parts; a single one is not split."""
    middle = len(row.ids) // 2
    if not middle:
        return [row]
    later = None if row.order is None else row.order.after(middle)
    return [
        Candidates(row.ids[:middle], row.embeddings[:middle], row.put_at, row.order),
        Candidates(row.ids[middle:], row.embeddings[middle:], row.put_at, later),
    ]


def write(
    raw: psycopg.Connection[Any],
    origin: Origin,
    number: int,
    rows: Sequence[Candidates | CandidateSet],
    now: datetime,
    *,
    announce: bool = True,
) -> bool:
    """Add candidates, or change their embedding, and add sets that are not there yet.

    With ``announce`` the commit notifies servers of new candidates, which they must read before they can rank them by
    id. Return whether a notice was sent.

    Raises:
        SpaceRemoved: the space is gone.
    """
    raw.execute(statements.take_name(number))
    raw.execute(statements.END_IF_IDLE)
    hold_space(raw, origin)
    values = {"space": origin.space_id, "now": now}
    announced = False
    stream = b"".join(_candidate_rows(rows))
    if stream:
        raw.execute(statements.STAGE_CANDIDATES)
        copy_stream(raw, statements.COPY_CANDIDATES, HEADER + stream + TRAILER)
        room = room_for(raw, origin)
        if room < AT_ONCE and (left_out := raw.execute(statements.TRIM_CANDIDATES, {**values, "room": room}).rowcount):
            log.error(TOO_MANY, left_out, origin.space, limits.MOST_CANDIDATES)
        # Values within the text: Citus does not tell its workers the types of parameters of DO UPDATE.
        with psycopg.ClientCursor(raw) as cursor:
            told = {**values, "changed": clock_of(raw)}
            changed = cursor.execute(statements.UNSTAGE_CANDIDATES, told).rowcount
        changed += order_groups(raw, origin, rows, now)
        announced = announce and changed > 0
        if announced:
            notice = {"channel": CHANNEL, "payload": f"{origin.space_id} candidates"}
            raw.execute(statements.ANNOUNCE_CANDIDATES, notice)
    sets = sorted((row for row in rows if isinstance(row, CandidateSet)), key=lambda row: row.set_id)
    if sets:
        with raw.cursor() as cursor:  # one round trip for all
            cursor.executemany(
                statements.ADD_CANDIDATE_SET, [{**values, "set_id": row.set_id, "ids": list(row.ids)} for row in sets]
            )
    return announced


def order_groups(raw: psycopg.Connection[Any], origin: Origin, rows: Sequence[Extra], recorded: datetime) -> int:
    """Store the groups of stored candidates, and their order; return how many changed.

    Those recorded before ``recorded`` are marked as changed.
    """
    changed = 0
    for row in rows:
        if isinstance(row, Candidates) and row.order is not None:
            values = {"space": origin.space_id, "ids": list(row.ids), "recorded": recorded, "changed": clock_of(raw)}
            told = {"group": row.order.group, "first": row.order.first}
            changed += raw.execute(statements.ORDER_CANDIDATES, {**values, **told}).rowcount
    return changed


def clock_of(raw: psycopg.Connection[Any]) -> datetime:
    """Return the time of the database."""
    row = raw.execute(statements.CLOCK).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def room_for(raw: psycopg.Connection[Any], origin: Origin) -> int:
    """Return how many more candidates the space may hold."""
    values = {"space": origin.space_id, "most": limits.MOST_CANDIDATES}
    row = raw.execute(statements.CANDIDATE_ROOM, values).fetchone()
    assert row is not None
    return int(row[0])


def _candidate_rows(rows: Sequence[Candidates | CandidateSet]) -> Iterator[bytes]:
    for row in rows:
        if isinstance(row, Candidates):
            dim = row.embeddings.shape[1]
            halves = row.embeddings.astype(">f2")
            for name, half in zip(row.ids, halves, strict=True):
                text = name.encode()
                yield struct.pack(">hi", 2, len(text)) + text
                yield struct.pack(">ihh", 4 + 2 * dim, dim, 0) + half.tobytes()
