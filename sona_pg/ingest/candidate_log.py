"""Durability ``spool``: candidates and their sets in files until Postgres has them, beside the records that name them.

    <folder of the process>/candidates-00000001    frames: length, checksum, one call's candidates and sets

``enqueue_candidates`` and ``enqueue_candidate_set`` write to the file before they return, so before any record can name
the candidates: a process that replays a record finds them. A file is deleted once all its content is committed.
"""

from __future__ import annotations

import json
import os
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import StorageError
from sona_pg.ingest import statements
from sona_pg.ingest.candidate_rows import (
    Candidates,
    CandidateSet,
    Extra,
    clock_of,
    order_groups,
    room_for,
)
from sona_pg.ingest.commit import Origin, hold_space
from sona_pg.ingest.descriptors import close_here, open_here
from sona_pg.kernels import crc32c

FILE_BYTES = 8 << 20  # a larger file is followed by a new one
PREFIX = "candidates-"
FRAME = struct.Struct("<III")  # length of the payload, length ^ CHECK, CRC-32C of the payload
HEAD = struct.Struct("<II")  # bytes of JSON, bytes of float32
CHECK = 0x63616E64

# A known candidate gets the embedding only if it is newer than the stored one. Rows in the order of the key, so that
# two processes do not deadlock.
ADD_CANDIDATES = """
INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)
SELECT %(space)s, given.id, %(at)s, given.embedding::halfvec
FROM unnest(%(ids)s::text[], %(embeddings)s::text[]) AS given (id, embedding)
WHERE NOT EXISTS (SELECT FROM sona.candidates known WHERE known.space_id = %(space)s AND known.candidate_id = given.id)
ORDER BY given.id LIMIT greatest(%(room)s, 0)
ON CONFLICT DO NOTHING
"""
CHANGE_CANDIDATES = """
UPDATE sona.candidates SET embedding = given.embedding::halfvec, recorded_at = %(at)s, changed_at = %(changed)s
FROM unnest(%(ids)s::text[], %(embeddings)s::text[]) AS given (id, embedding)
WHERE sona.candidates.space_id = %(space)s AND sona.candidates.candidate_id = given.id
  AND sona.candidates.recorded_at < %(at)s AND sona.candidates.embedding <> given.embedding::halfvec
"""
ADD_SET = """
INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (%(space)s, %(set_id)s, %(ids)s)
ON CONFLICT DO NOTHING
"""


class CandidateLog:
    """The append side; the writer calls it under its own lock, in the order in which it stores candidates."""

    def __init__(self, folder: Path) -> None:
        """Start without a file; the first ``append`` creates one in ``folder``."""
        self._folder = folder
        self._file = -1
        self._number = 0
        self._size = 0  # bytes of complete frames in the current file
        self._put = self._done = 0
        # Files before the current one, each with the number of rows written up to its end.
        self._full: deque[tuple[Path, int]] = deque()

    def append(self, rows: Sequence[Extra]) -> None:
        """Write ``rows`` as one frame, all or nothing.

        Raises:
            StorageError: it cannot be written.
        """
        data = b"".join(map(framed, rows))
        try:
            if self._file < 0 or self._size >= FILE_BYTES:
                self._next_file()
            self._write(data)
        except OSError as exc:
            raise StorageError(
                f"the spool cannot be written ({self._folder}: {exc.strerror}): these candidates are not stored; "
                "make room on the disk, or choose durability 'memory' or 'sync'"
            ) from exc
        self._put += len(rows)

    def committed(self, n: int) -> None:
        """Forget the oldest ``n`` rows: Postgres has them."""
        self._done += n
        while self._full and self._full[0][1] <= self._done:
            path, _ = self._full.popleft()
            with suppress(OSError):  # already deleted, or replayed once more without effect
                path.unlink()
        if self._done == self._put and self._size:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
                self._size = 0

    def close(self) -> None:
        """Close the current file, and delete it if all in it is committed."""
        if self._file < 0:
            return
        close_here(self._file)
        self._file = -1
        if self._done == self._put:
            with suppress(OSError):
                self._path.unlink()

    @property
    def _path(self) -> Path:
        return self._folder / f"{PREFIX}{self._number:08d}"

    def _next_file(self) -> None:
        before, number = self._path, self._number + 1
        file = open_here(self._folder / f"{PREFIX}{number:08d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if self._file >= 0:
            self._full.append((before, self._put))
            close_here(self._file)
        self._file, self._number, self._size = file, number, 0

    def _write(self, data: bytes) -> None:
        """Append ``data``; the next attempt overwrites the bytes of a failed one."""
        at, left = self._size, memoryview(data)
        while left:
            written = os.pwrite(self._file, left, at)
            at, left = at + written, left[written:]
        self._size = at


def files_in(folder: Path) -> list[Path]:
    """Return the files of a process, oldest first."""
    return sorted(folder.glob(f"{PREFIX}*"))


def read(path: Path) -> tuple[list[Extra], int, str]:
    """Return the rows in a dead process's file, the offset of their end, and its cause: 'end', 'torn' or 'bad'."""
    data = path.read_bytes()
    rows: list[Extra] = []
    at = 0
    while at < len(data):
        if len(data) - at < FRAME.size:
            return rows, at, "torn"
        length, check, checksum = FRAME.unpack_from(data, at)
        if length ^ CHECK != check:
            return rows, at, "bad"
        content = data[at + FRAME.size : at + FRAME.size + length]
        if len(content) < length:
            return rows, at, "torn"
        if crc32c(content) != checksum:
            return rows, at, "bad"
        rows.append(_row(content))
        at += FRAME.size + length
    return rows, at, "end"


def store(raw: psycopg.Connection[Any], origin: Origin, number: int, rows: Sequence[Extra]) -> None:
    """Add missing candidates and sets, and newer embeddings; idempotent."""
    raw.execute(statements.take_name(number))
    raw.execute(statements.END_IF_IDLE)
    hold_space(raw, origin)
    for row in rows:
        if isinstance(row, CandidateSet):
            raw.execute(ADD_SET, {"space": origin.space_id, "set_id": row.set_id, "ids": list(row.ids)})
            continue
        texts = [f"[{','.join(map(str, embedding))}]" for embedding in row.embeddings.tolist()]
        values = {"space": origin.space_id, "ids": list(row.ids), "embeddings": texts, "at": row.put_at}
        raw.execute(CHANGE_CANDIDATES, {**values, "changed": clock_of(raw)})
        raw.execute(ADD_CANDIDATES, {**values, "room": room_for(raw, origin)})
        order_groups(raw, origin, [row], row.put_at)


def framed(row: Extra) -> bytes:
    """Return a row encoded as a frame of the file."""
    if isinstance(row, CandidateSet):
        head, floats = json.dumps({"set_id": row.set_id, "ids": row.ids}).encode(), b""
    else:
        told = {"ids": row.ids, "put_at": row.put_at.isoformat(), "order": row.order}
        head, floats = json.dumps(told).encode(), np.asarray(row.embeddings, "<f4").tobytes()
    content = HEAD.pack(len(head), len(floats)) + head + floats
    return FRAME.pack(len(content), len(content) ^ CHECK, crc32c(content)) + content


def _row(content: bytes) -> Extra:
    texts, floats = HEAD.unpack_from(content)
    head = json.loads(content[HEAD.size : HEAD.size + texts])
    ids = tuple(head["ids"])
    if "set_id" in head:
        return CandidateSet(head["set_id"], ids)
    embeddings = np.frombuffer(content, "<f4", floats // 4, HEAD.size + texts).astype(np.float32)
    put_at = datetime.fromisoformat(head["put_at"])
    order = head.get("order")  # files of earlier releases have none
    return Candidates(ids, embeddings.reshape(len(ids), -1), put_at, None if order is None else GroupOrder(*order))
