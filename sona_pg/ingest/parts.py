"""Part of an encoded batch, written by one transaction under its own number."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.ingest.kept_batches import Batch

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# Offset of the batch number in a row of trajectories or feedback: after column count, space and a length.
BATCH_AT = 2 + 8 + 4
# A row of feedback up to the length of its quality: column count, then each value after its length.
FEEDBACK_HEAD = struct.Struct(">h 4x4x 4x8x 4x16s 4xq 4xq")
UNIX_EPOCH = -946_684_800_000_000  # microseconds from 2000 to 1970
POSTGRES_EPOCH = "2000-01-01 00:00:00+00"  # epoch of times in COPY's binary format, in microseconds


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Units ``first`` to ``last`` of a batch: unit i is trajectory i with its steps, or after these a feedback."""

    number: int  # batch number in the rows of this part and its marker
    encoded: Batch
    first: int
    last: int

    @classmethod
    def whole(cls, encoded: Batch) -> Part:
        """Return all of a batch under the number it was encoded with."""
        return cls(encoded.batch, encoded, 0, len(encoded))

    def __len__(self) -> int:
        return self.last - self.first

    def split(self, at: int, number: int) -> tuple[Part, Part]:
        """Return the first ``at`` units, and the others under ``number``."""
        middle = self.first + at
        return (
            Part(self.number, self.encoded, self.first, middle),
            Part(number, self.encoded, middle, self.last),
        )

    def renumbered(self, number: int) -> Part:
        """Return the same rows under another number."""
        return Part(number, self.encoded, self.first, self.last)

    @property
    def trajectory_count(self) -> int:
        return len(range(*self._trajectories.indices(self.encoded.trajectory_count)))

    @property
    def feedback_count(self) -> int:
        return len(range(*self._feedback.indices(self.encoded.feedback_count)))

    @property
    def step_count(self) -> int:
        trajectories = self._trajectories
        first, last = np.searchsorted(self.encoded.step_trajectory, [trajectories.start, trajectories.stop])
        return int(last - first)

    @property
    def span(self) -> tuple[UUID, UUID] | None:
        """The smallest and the largest id of its trajectories; None if there are none."""
        encoded = self.encoded
        if self.trajectory_count == encoded.trajectory_count:
            return (encoded.first_id, encoded.last_id) if encoded.first_id and encoded.last_id else None
        ids = [row.tobytes() for row in encoded.trajectory_ids[self._trajectories]]
        return (UUID(bytes=min(ids)), UUID(bytes=max(ids))) if ids else None

    def stream(self, table: str) -> bytes:
        """Return the rows of a table as a binary COPY stream."""
        encoded = self.encoded
        if len(self) == len(encoded) and self.number == encoded.batch:
            whole: bytes = getattr(encoded, table)
            return whole
        return HEADER + self._rows(table) + TRAILER

    def streams(self, first: int, last: int) -> Iterator[tuple[str, bytes]]:
        """Give the rows of units ``first`` to ``last`` by table, without header and trailer; none of an empty table."""
        part = Part(self.number, self.encoded, first, last)
        for table in ("trajectories", "steps", "feedback"):
            rows = part._rows(table)
            if rows:
                yield table, rows

    def feedback_columns(self) -> dict[str, list[Any]]:
        """Return its feedback by column, times in microseconds since ``POSTGRES_EPOCH``."""
        data, offsets = self.encoded.feedback, self.encoded.feedback_rows[:-1][self._feedback]
        columns: dict[str, list[Any]] = {
            name: [] for name in ("trajectory_id", "sequence", "recorded_us", "quality", "source", "correction", "paid")
        }
        for offset in offsets.tolist():
            _, name, sequence, recorded = FEEDBACK_HEAD.unpack_from(data, offset)
            quality, at = _value(data, offset + FEEDBACK_HEAD.size)
            source, at = _value(data, at)
            correction, at = _value(data, at)
            paid, _ = _value(data, at)
            assert source is not None
            columns["trajectory_id"].append(UUID(bytes=name))
            columns["sequence"].append(sequence)
            columns["recorded_us"].append(recorded)
            columns["quality"].append(None if quality is None else struct.unpack(">f", quality)[0])
            columns["source"].append(source.decode())
            columns["correction"].append(None if correction is None else correction.decode())
            columns["paid"].append(None if paid is None else struct.unpack(">f", paid)[0])
        return columns

    @property
    def _trajectories(self) -> slice:
        n = self.encoded.trajectory_count
        return slice(min(self.first, n), min(self.last, n))

    @property
    def _feedback(self) -> slice:
        n = self.encoded.trajectory_count
        return slice(max(self.first - n, 0), max(self.last - n, 0))

    def _rows(self, table: str) -> bytes:
        encoded = self.encoded
        rows: NDArray[np.int64]
        if table == "feedback":
            rows, chosen = encoded.feedback_rows, self._feedback
        else:
            rows = encoded.trajectory_rows if table == "trajectories" else encoded.step_rows
            chosen = self._trajectories
        first, last = int(rows[chosen.start]), int(rows[chosen.stop])
        stream: bytes = getattr(encoded, table)
        between = stream[first:last]
        if table == "steps" or self.number == encoded.batch:
            return between
        return _renumbered(between, rows[chosen] - first, self.number)


def sequences_given(columns: dict[str, list[Any]]) -> list[bool]:
    """Return for each fact of ``feedback_columns`` whether the caller gave its sequence; else that is its time."""
    times = zip(columns["sequence"], columns["recorded_us"], strict=True)
    return [sequence + UNIX_EPOCH != recorded for sequence, recorded in times]


def chosen(columns: dict[str, list[Any]], rows: Sequence[int]) -> dict[str, list[Any]]:
    """Return the selected rows of all columns."""
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def _renumbered(rows: bytes, offsets: NDArray[np.int64], number: int) -> bytes:
    data = np.frombuffer(rows, np.uint8).copy()
    data[offsets[:, None] + BATCH_AT + np.arange(8)] = np.frombuffer(struct.pack(">q", number), np.uint8)
    return data.tobytes()


def _value(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return the value whose length is at offset ``at``, None for null, and the offset of the next value."""
    (size,) = struct.unpack_from(">i", data, at)
    return (None, at + 4) if size < 0 else (data[at + 4 : at + 4 + size], at + 4 + size)
