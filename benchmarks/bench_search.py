"""Search in SQL beside the exact scan, and recording into a filled store: `python -m benchmarks.bench_search`.

A million vectors of a real-like mixture (clusters of unequal weight, each of low rank), in 35 spaces of very unequal
size, half of them in one; the week they are in is sealed and indexed as by `sona-pg maintain`. Then recording is timed
with five million trajectories stored.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import server
from sona_pg import SonaEngine, kernels
from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.domain.space import Space
from sona_pg.store.admin.weeks import Week
from sona_pg.store.database import Database

D, K = 256, 10
STORED, QUERIES, WARM = 1_000_000, 300, 20
LEVELS, RECORDED = (0, 1_000_000, 5_000_000), 100_000  # stored beside it; recorded for one measurement
Floats = NDArray[np.float32]
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
COPY = "COPY sona.trajectories (space_id, quality, id, batch, step_count, route, embedding) FROM STDIN (FORMAT BINARY)"
ROW = np.dtype(
    [("fields", ">i2")]
    + [pair for name, kind, size in (
        ("space", ">i4", 4), ("quality", ">f4", 4), ("id", "V16", 16), ("batch", ">i8", 8), ("steps", ">i2", 2),
        ("route", "V7", 7), ("embedding", f"V{4 + 2 * D}", 4 + 2 * D),
    ) for pair in ((f"{name} size", ">i4"), (name, kind))]
)  # fmt: skip
SHARES = [0.5, *[0.1] * 4, *[0.008] * 10, *[0.001] * 20]  # of the stored vectors, by space


class Mixture:
    """Distribution of one space's vectors."""

    def __init__(self, seed: int, clusters: int = 200, spread: int = 24) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.standard_normal((clusters, D), np.float32)
        self.shape = self.rng.standard_normal((spread, D), np.float32) * 0.18
        weights = 1 / np.arange(1, clusters + 1) ** 0.7
        self.weights = weights / weights.sum()

    def draw(self, n: int) -> Floats:
        rows = self.centres[self.rng.choice(len(self.centres), n, p=self.weights)]
        rows = rows + self.rng.standard_normal((n, len(self.shape)), np.float32) @ self.shape
        rows += 0.25 * self.rng.standard_normal((n, D), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def encode(space: int, vectors: Floats, start: datetime, seconds: float, rng: np.random.Generator) -> bytes:
    """Rows in COPY's binary format, spread evenly over a time."""
    n = len(vectors)
    rows = np.zeros(n, ROW)
    for name in ROW.names or ():
        if name.endswith(" size"):
            rows[name] = ROW[name.removesuffix(" size")].itemsize
    milliseconds = int(start.timestamp() * 1000) + (np.arange(n) * (1000 * seconds / n)).astype(np.uint64)
    ids = np.frombuffer(rng.bytes(16 * n), np.uint8).reshape(n, 16).copy()
    ids[:, :6] = milliseconds.astype(">u8").view(np.uint8).reshape(n, 8)[:, 2:]
    ids[:, 6] = ids[:, 6] & 0x0F | 0x70
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    halves = np.frombuffer(kernels.f32_to_f16_be(np.ascontiguousarray(vectors)), np.uint8).reshape(n, 2 * D)
    head = np.broadcast_to(np.frombuffer(D.to_bytes(2, "big") + bytes(2), np.uint8), (n, 4))
    rows["fields"], rows["space"], rows["batch"] = 7, space, 1
    rows["quality"] = rng.random(n)
    rows["id"] = ids.view("V16").ravel()
    rows["route"] = np.void(b"model-a")
    rows["embedding"] = np.ascontiguousarray(np.hstack([head, halves])).view(f"V{4 + 2 * D}").ravel()
    return HEADER + rows.tobytes() + TRAILER


def store(url: str, stream: bytes) -> None:
    with psycopg.connect(url) as connection, connection.cursor().copy(COPY) as copy:
        copy.write(stream)


Kept = list[tuple[Space, Mixture, NDArray[np.float16]]]


def fill(options: Options, database: Database, url: str, stored: int) -> Kept:
    """Store vectors in a past week and seal it; return one space of each size with its vectors."""
    now = datetime.now(UTC)
    week = Week(Week.of(now).monday - timedelta(weeks=2))
    rng = np.random.default_rng(0)
    kept: Kept = []
    started, total = time.perf_counter(), 0
    with psycopg.connect(url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 1)", [week.monday])
    for number, share in enumerate(SHARES):
        space, mixture = database.open_space(f"space {number}", D, now), Mixture(number)
        n, blocks = int(stored * share), []
        for first in range(0, n, 100_000):
            block = mixture.draw(min(100_000, n - first))
            store(url, encode(space.space_id, block, week.monday + timedelta(hours=number), 400_000, rng))
            blocks.append(block.astype(np.float16))
        total += n
        if number in (0, 1, 5, 15):  # one of each size
            kept.append((space, mixture, np.concatenate(blocks)))
    took = time.perf_counter() - started
    print(f"-- {total:,} vectors of {D} in {len(SHARES)} spaces drawn and stored in {took:.0f} s", flush=True)
    started = time.perf_counter()
    done = [
        thing for thing in database.maintenance(MaintenanceConfig(memory_mb=2048)).run() if thing.action == "indexed"
    ]
    assert len(done) == 1, done
    with psycopg.connect(url) as connection:
        (index,) = connection.execute("SELECT pg_relation_size(%s)", [f"sona.{done[0].subject}"]).fetchone() or (0,)
    what = "  sealing that week: its HNSW index"
    options.emit(Line(what, seconds(time.perf_counter() - started), f"{index / total:.0f} bytes a row more"))
    return kept


def measure(options: Options, database: Database, space: Space, mixture: Mixture, vectors: NDArray[np.float16]) -> None:
    """Search with new draws, and compare with the exact answer."""
    asked = mixture.draw(QUERIES)
    halves = asked.astype(np.float16).astype(np.float32)
    similarity = np.empty((QUERIES, 0), np.float32)
    for first in range(0, len(vectors), 50_000):
        block = vectors[first : first + 50_000].astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        best = np.hstack([similarity, halves @ block.T])
        similarity = -np.partition(-best, K, axis=1)[:, : K + 1]
    similarity = -np.sort(-similarity, axis=1)
    times, exact_times, hits = [], [], 0
    for query in asked[:WARM]:
        database.search(space, query, K)
    for row, query in enumerate(asked):
        started = time.perf_counter()
        found = database.search(space, query, K)
        times.append(time.perf_counter() - started)
        assert len(found) == K
        assert found.complete
        norm = np.linalg.norm(halves[row])
        hits += sum(item.similarity >= similarity[row, K - 1] / norm - 1e-5 for item in found)
        if row < 5:
            started = time.perf_counter()
            exact = database.search(space, query, K, exact=True)
            exact_times.append(time.perf_counter() - started)
            assert np.allclose([item.similarity for item in exact], similarity[row, :K] / norm, atol=1e-3)
    recall, p50, p99 = hits / (K * QUERIES), statistics.median(times), float(np.quantile(times, 0.99))
    scan = statistics.median(exact_times)
    what = f"search in SQL, {len(vectors):,} of {options.rows(STORED):,} stored: "
    options.emit(Line(f"{what}recall@{K}", f"{recall:.3f}", "the exact answer", None, "0.95", recall >= 0.95))
    options.emit(Line(f"{what}p50", seconds(p50), f"exact scan {seconds(scan)}", p50 / scan, "2 ms", p50 <= 2e-3))
    options.emit(Line(f"{what}p99", seconds(p99)))


def bench_recording(options: Options, url: str) -> None:
    """Record through an engine with more and more stored beside it in the same partition and space."""
    quiet = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
    rng = np.random.default_rng(1)
    block, rows = Mixture(0).draw(100_000), options.rows(RECORDED)
    with SonaEngine(D, url, "recording", config=quiet) as engine:
        space = Database.open(url)
        number = space.find_space("recording").space_id
        space.close()
        stored, base = 0, 0.0

        def rate() -> float:
            nonlocal stored
            started = time.perf_counter()
            for row in range(rows):
                while engine.waiting > 8000:
                    time.sleep(0.001)
                engine.end_trajectory(engine.begin_trajectory(block[row % len(block)]), 0.5)
            engine.flush()
            stored += rows
            return rows / (time.perf_counter() - started)

        rate()  # warm
        for level in LEVELS:
            wanted = options.rows(level) if level else 0
            while stored < wanted:
                n = min(len(block), wanted - stored)
                store(url, encode(number, block[:n], datetime.now(UTC), 1, rng))
                stored += n
            measured = statistics.median(rate() for _ in range(5))
            base = base or measured
            what = f"recorded to committed, {wanted:,} stored"
            ratio = measured / base
            if level:
                beside = f"at 0 stored {base:,.0f}/s"
                options.emit(Line(what, f"{measured:,.0f}/s", beside, ratio, "0.9 of its rate", ratio >= 0.9))
        assert engine.dropped_count == 0
    with psycopg.connect(url) as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM sona.trajectories WHERE space_id = %s", [number]
        ).fetchone() or (0,)
    assert found == stored, (found, stored)


def suite(options: Options) -> None:
    with server(options.home) as url:
        database = Database.open(url)
        for space, mixture, vectors in fill(options, database, url, options.rows(STORED)):
            measure(options, database, space, mixture, vectors)
        database.close()
    with server(options.home) as url:
        bench_recording(options, url)


if __name__ == "__main__":
    run(__doc__, suite)
