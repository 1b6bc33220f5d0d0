"""Rows for the benchmark of SQL objects, inserted without the writer: trajectories of some weeks, with feedback."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.cycles_fill import EPOCH, HEADER, TRAILER, Queries, halfvecs
from benchmarks.server import DIM, SPACE

ROUTES = [f"model-{number}" for number in range(8)]
QUESTIONS = [f"a question of some forty characters {row:04d}" for row in range(1000)]
SETS = {1: ROUTES, 2: ROUTES[:4], 3: ROUTES[2:]}
PART = 50_000  # rows a COPY, and of a batch
DAYS = 60
FEEDBACK = 5  # every so many trajectories one has feedback
TEXT_ARRAY = struct.Struct(">iiiii")  # dimensions, no nulls, oid of text, length, lower bound

Bytes = NDArray[np.uint8]
Columns = Mapping[str, NDArray[np.generic]]


def rows_of(columns: Columns) -> bytes:
    """Return columns, each (n,) of a fixed size in network order, as rows of a binary COPY."""
    n = len(next(iter(columns.values())))
    kind = np.dtype(
        [("fields", ">i2")]
        + [pair for name, values in columns.items() for pair in ((f"{name} size", ">i4"), (name, values.dtype))]
    )
    rows = np.zeros(n, kind)
    rows["fields"] = len(columns)
    for name, values in columns.items():
        rows[f"{name} size"] = values.dtype.itemsize
        rows[name] = values
    return HEADER + rows.tobytes() + TRAILER


def texts(names: Sequence[str], which: NDArray[np.int64]) -> NDArray[np.generic]:
    """Return one of ``names``, all equally long, for each row."""
    width = len(names[0].encode())
    return np.array([name.encode() for name in names], f"S{width}").view(f"V{width}")[which]


def labels(users: NDArray[np.int64]) -> NDArray[np.generic]:
    """Return arrays of two labels, a user and a plan."""
    told = []
    for user in range(int(users.max()) + 1):
        parts = [f"user:{user:05d}".encode(), b"paid" if user % 3 else b"free"]
        body = b"".join(struct.pack(">i", len(part)) + part for part in parts)
        told.append(TEXT_ARRAY.pack(1, 0, 25, 2, 1) + body)
    return np.array(told, f"V{len(told[0])}")[users]


class AnalyticsFiller:
    """Stores decisions of the last weeks, evenly spread, in one space."""

    def __init__(self, url: str, now: datetime, seed: int = 0) -> None:
        """Store by ``url``, up to ``now``."""
        self._url = url
        self._now = now
        self._rng = np.random.default_rng(seed)
        self._server = [uuid.UUID(int=number + 1) for number in range(4)]

    def fill(self, n: int, say: Callable[[str], None] = lambda _: None) -> list[uuid.UUID]:
        """Store ``n`` trajectories; return some of their ids."""
        began = time.perf_counter()
        queries = Queries(0)
        block = halfvecs(queries.draw(min(PART, n)))
        some = []
        with psycopg.connect(self._url) as connection:
            for number, names in SETS.items():
                connection.execute(
                    "INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (%s, %s, %s)",
                    [SPACE, number, names],
                )
            for ago in range(DAYS // 7 + 2):
                connection.execute("SELECT sona.ensure_partitions(%s, 1)", [self._now - timedelta(weeks=ago)])
            for start in range(0, n, PART):
                some += self._part(connection, start, min(PART, n - start), n, block)
                connection.commit()
        say(f"{n} trajectories in {time.perf_counter() - began:.0f} s")
        return some

    def _part(
        self, connection: psycopg.Connection[object], start: int, n: int, of: int, block: Bytes
    ) -> list[uuid.UUID]:
        rng = self._rng
        first = self._now - timedelta(days=DAYS)
        step = timedelta(days=DAYS).total_seconds() * 1000 / of
        at = int(first.timestamp() * 1000) + ((start + np.arange(n)) * step).astype(np.int64)
        ids = np.frombuffer(rng.bytes(16 * n), np.uint8).reshape(n, 16).copy()
        ids[:, :6] = at.astype(">u8").view(np.uint8).reshape(n, 8)[:, 2:]
        ids[:, 6], ids[:, 8] = ids[:, 6] & 0x0F | 0x70, ids[:, 8] & 0x3F | 0x80
        ids = ids[np.lexsort(ids.T[::-1])]
        batch, chosen = start // PART + 1, rng.choice(len(ROUTES), n, p=np.array([8, 7, 6, 5, 4, 3, 2, 1]) / 36)
        quality = np.clip(0.4 + 0.05 * chosen + 0.2 * rng.standard_normal(n), 0, 1)
        halves = np.roll(block, int(rng.integers(len(block))), axis=0)[:n]
        self._copy(connection, "trajectories", {
            "space_id": np.full(n, SPACE, ">i4"), "quality": quality.astype(">f4"), "id": ids.view("V16").ravel(),
            "batch": np.full(n, batch, ">i8"), "policy_version": (1 + at * 0 + start * 40 // of).astype(">i8"),
            "candidate_set": rng.integers(1, 4, n).astype(">i8"),
            "latency_us": rng.lognormal(12, 0.7, n).astype(">i4"),
            "propensity": rng.choice([0.1, 0.3, 0.9], n).astype(">f4"), "cost": rng.random(n).astype(">f4"),
            "step_count": np.full(n, 0, ">i2"), "route": texts(ROUTES, chosen),
            "context": labels(rng.integers(0, 5000, n)),
            "query": texts(QUESTIONS, np.arange(n) % len(QUESTIONS)),
            "embedding": np.ascontiguousarray(halves).view(f"V{halves.shape[1]}").ravel(),
        })  # fmt: skip
        said = np.arange(0, n, FEEDBACK)
        micros = ((at[said] - int(EPOCH.timestamp() * 1000)) * 1000 + rng.integers(1e6, 9e9, len(said))).astype(">i8")
        self._copy(connection, "feedback", {
            "space_id": np.full(len(said), SPACE, ">i4"), "quality": rng.random(len(said)).astype(">f4"),
            "trajectory_id": np.ascontiguousarray(ids[said]).view("V16").ravel(),
            "sequence": np.full(len(said), 1, ">i8"),
            "batch": np.full(len(said), batch, ">i8"), "recorded_at": micros,
            "source": texts(["user ", "judge"], np.arange(len(said)) % 2),
        })  # fmt: skip
        ends = [uuid.UUID(bytes=ids[row].tobytes()) for row in (0, -1)]
        recorded = datetime.fromtimestamp(int(at[-1]) / 1000, UTC) - timedelta(minutes=5)
        connection.execute(
            "INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback,"
            " recorded_at) VALUES (%s, %s, %s, %s, %s, %s, 0, %s, %s)",
            [SPACE, batch, self._server[batch % 4], *ends, n, len(said), recorded],
        )
        return ends

    def _copy(
        self, connection: psycopg.Connection[object], table: str, columns: Mapping[str, NDArray[np.generic]]
    ) -> None:
        query = f"COPY sona.{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
            copy.write(rows_of(columns))


def vector() -> str:
    """Return a query vector as text."""
    return str(Queries(1).draw(1)[0].astype(float).tolist())


__all__ = ["DIM", "AnalyticsFiller", "vector"]
