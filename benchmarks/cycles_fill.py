"""Rows for the benchmark of cycles, inserted without the writer: unlearned trajectories in batches, and candidates."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.server import DIM
from sona_pg import kernels

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
COPY_TRAJECTORIES = """
COPY sona.trajectories (space_id, quality, id, batch, step_count, route, embedding) FROM STDIN (FORMAT BINARY)
"""
COPY_CANDIDATES = "COPY sona.candidates (space_id, candidate_id, recorded_at, embedding) FROM STDIN (FORMAT BINARY)"
COPY_BATCHES = """
COPY sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at) FROM STDIN
"""
COPY_FEEDBACK = """
COPY sona.feedback (space_id, batch, trajectory_id, sequence, recorded_at, source, quality, correction) FROM STDIN
"""
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # Postgres counts times from here
PART = 50_000  # rows a COPY

Floats = NDArray[np.float32]


class Queries:
    """Queries around some centres of unequal weight."""

    def __init__(self, seed: int, centres: int = 300) -> None:
        """Draw the centres."""
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.standard_normal((centres, DIM), np.float32)
        weights = 1 / np.arange(1, centres + 1) ** 0.7
        self.weights = weights / weights.sum()

    def draw(self, n: int) -> Floats:
        """Return ``n`` unit rows."""
        rows = self.centres[self.rng.choice(len(self.centres), n, p=self.weights)]
        rows = rows + 0.8 * self.rng.standard_normal((n, DIM), np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def ids_from(milliseconds: int, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return ``n`` ascending UUIDv7s (n, 16), a thousand a millisecond."""
    ids = np.frombuffer(rng.bytes(16 * n), np.uint8).reshape(n, 16).copy()
    at = (milliseconds + np.arange(n) // 1000).astype(">u8").view(np.uint8).reshape(n, 8)
    ids[:, :6] = at[:, 2:]
    place = np.arange(n) % 1000
    ids[:, 6], ids[:, 7] = 0x70 | (place >> 8), place & 0xFF
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    return ids


def halfvecs(vectors: Floats) -> NDArray[np.uint8]:
    """Return vectors (n, DIM) as pgvector sends a halfvec, (n, 4 + 2 DIM)."""
    n = len(vectors)
    halves = np.frombuffer(kernels.f32_to_f16_be(np.ascontiguousarray(vectors)), np.uint8).reshape(n, 2 * DIM)
    head = np.broadcast_to(np.frombuffer(struct.pack(">hh", DIM, 0), np.uint8), (n, 4))
    return np.hstack([head, halves])


def nearest(vectors: Floats, answers: Floats) -> NDArray[np.intp]:
    """Return the place of the nearest of ``answers`` (m, DIM) to each of ``vectors`` (n, DIM)."""
    blocks = range(0, len(vectors), 1000)
    return np.concatenate([np.argmax(vectors[at : at + 1000] @ answers.T, axis=1) for at in blocks])


class Filler:
    """Stores rows of one space."""

    def __init__(self, url: str, space_id: int, seed: int = 0) -> None:
        """Store by ``url``; ids begin half an hour ago."""
        self._url = url
        self._space = space_id
        self._rng = np.random.default_rng(seed)
        self._batch = uuid.uuid4().int >> 80  # distinct from other fillers' numbers
        self._millisecond = int(time.time() * 1000) - 1_800_000
        self._server = uuid.uuid4()

    def candidates(self, first: int, vectors: Floats) -> list[str]:
        """Store candidates ``c<first>`` and on; return their ids."""
        names = [f"c{number:08d}" for number in range(first, first + len(vectors))]
        at = struct.pack(">iq", 8, int((datetime.now(UTC) - EPOCH).total_seconds() * 1e6))
        halves = halfvecs(vectors)
        size = struct.pack(">i", halves.shape[1])
        with psycopg.connect(self._url) as connection, connection.cursor().copy(COPY_CANDIDATES) as copy:
            copy.write(HEADER)
            for name, half in zip(names, halves, strict=True):
                head = struct.pack(">hiii", 4, 4, self._space, len(name)) + name.encode()
                copy.write(head + at + size + half.tobytes())
            copy.write(TRAILER)
        return names

    def trajectories(
        self,
        queries: Queries,
        n: int,
        batch: int,
        routes: Sequence[str],
        corrections: Sequence[str] = (),
        answers: Floats | None = None,
    ) -> None:
        """Store ``n`` unlearned trajectories in batches of ``batch``; with ``corrections``, feedback on each.

        A correction names the nearest of ``answers`` (a row for each of ``corrections``); without them, any.
        """
        with psycopg.connect(self._url) as connection:
            for start in range(0, n, PART):
                self._part(connection, queries.draw(min(PART, n - start)), batch, routes, corrections, answers)
                connection.commit()

    def _part(
        self,
        connection: psycopg.Connection[object],
        vectors: Floats,
        batch: int,
        routes: Sequence[str],
        corrections: Sequence[str],
        answers: Floats | None,
    ) -> None:
        n, now = len(vectors), datetime.now(UTC)
        ids = ids_from(self._millisecond, n, self._rng)
        self._millisecond += n // 1000 + 1
        numbers = self._batch + np.arange(n) // batch
        self._batch = int(numbers[-1]) + 1
        which = self._rng.integers(len(routes), size=n)
        width = max(len(name) for name in routes)
        halves = halfvecs(vectors)
        kind = np.dtype(
            [("fields", ">i2")]
            + [pair for name, form, size in (
                ("space", ">i4", 4), ("quality", ">f4", 4), ("id", "V16", 16), ("batch", ">i8", 8), ("steps", ">i2", 2),
                ("route", f"V{width}", width), ("embedding", f"V{halves.shape[1]}", halves.shape[1]),
            ) for pair in ((f"{name} size", ">i4"), (name, form))]
        )  # fmt: skip
        rows = np.zeros(n, kind)
        for name in kind.names or ():
            if name.endswith(" size"):
                rows[name] = kind[name.removesuffix(" size")].itemsize
        rows["fields"], rows["space"], rows["steps"] = 7, self._space, 0
        rows["quality"], rows["batch"] = self._rng.random(n), numbers
        rows["id"] = ids.view("V16").ravel()
        rows["route"] = np.array([name.ljust(width).encode() for name in routes], f"S{width}").view(f"V{width}")[which]
        rows["embedding"] = np.ascontiguousarray(halves).view(f"V{halves.shape[1]}").ravel()
        with connection.cursor() as cursor:
            with cursor.copy(COPY_TRAJECTORIES) as copy:
                copy.write(HEADER + rows.tobytes() + TRAILER)
            with cursor.copy(COPY_BATCHES) as copy:
                for first in range(0, n, batch):
                    inside = ids[first : first + batch]
                    ends = [uuid.UUID(bytes=inside[place].tobytes()) for place in (0, -1)]
                    told = len(inside) if corrections else 0
                    copy.write_row((self._space, int(numbers[first]), self._server, *ends, len(inside), 0, told, now))
            if corrections:
                chosen = self._rng.integers(len(corrections), size=n) if answers is None else nearest(vectors, answers)
                with cursor.copy(COPY_FEEDBACK) as copy:
                    for row in range(n):
                        id_ = uuid.UUID(bytes=ids[row].tobytes())
                        said = corrections[int(chosen[row])]
                        copy.write_row((self._space, int(numbers[row]), id_, 1, now, "label", None, said))
