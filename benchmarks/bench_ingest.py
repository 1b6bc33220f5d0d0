"""The writer beside raw COPY of the same bytes, and reading back: `python -m benchmarks.bench_ingest`.

Recorded trajectory to committed row, beside COPY of the same rows, encoded beforehand, into the same tables in one
transaction; ours and the peer take turns, in separate processes, and the ratio is the median of the rounds. Every row
is counted afterwards.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
import uuid
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import select

from benchmarks.report import Line, Options, race, run, seconds
from benchmarks.server import DIM, SPACE, empty, prepare, server
from sona_pg.config import IngestConfig
from sona_pg.ingest import Writer, WriterRequest, statements
from sona_pg.ingest.parts import HEADER, TRAILER
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect
from sona_pg.store.copying import copy_arrays
from sona_pg.store.schema import trajectories

ROWS, ROUNDS = 400_000, 5
RNG = np.random.default_rng(0)
X, ACTIVATIONS = (RNG.standard_normal(DIM).astype(np.float32) for _ in range(2))
ATTENTION = RNG.random(64).astype(np.float32)


def record_rows(url: str, server_id: uuid.UUID, rows: int, steps: bool, barrier: Barrier | None) -> float:
    """Record as fast as the buffer accepts records, up to the commit of the last row."""
    hot, engine = HotPath(DIM, 10_000, 64 << 20), connect(url)
    home = Path(tempfile.gettempdir())
    writer = Writer(hot, engine, WriterRequest(space_id=SPACE, server_id=server_id, config=IngestConfig(), home=home))
    begin, step, end = hot.begin_trajectory, hot.add_step, hot.end_trajectory
    if barrier is not None:
        barrier.wait()
    start = time.perf_counter()
    for index in range(rows):
        if not index & 63:
            while hot.waiting > 9000:
                time.sleep(0.001)
        trajectory = begin(X)
        if steps:
            step(trajectory, ACTIVATIONS, ATTENTION, 0.5)
        end(trajectory, 0.75)
    writer.flush()
    took = time.perf_counter() - start
    assert hot.dropped_count == 0
    writer.close()
    engine.dispose()
    return took


def encode_rows(rows: int, steps: bool) -> dict[str, bytes]:
    """Return the same rows as COPY streams."""
    hot = HotPath(DIM, rows, 1 << 32)
    parts: dict[str, list[bytes]] = {"trajectories": [], "steps": []}
    for index in range(rows):
        trajectory = hot.begin_trajectory(X)
        if steps:
            hot.add_step(trajectory, ACTIVATIONS, ATTENTION, 0.5)
        hot.end_trajectory(trajectory, 0.75)
        if hot.waiting >= 8000 or index == rows - 1:
            batch = hot.drain(1, SPACE)
            assert batch is not None
            for table, stream in (("trajectories", batch.trajectories), ("steps", batch.steps)):
                parts[table].append(stream[len(HEADER) : -len(TRAILER)])
    return {table: HEADER + b"".join(rows) + TRAILER for table, rows in parts.items() if steps or table != "steps"}


def copy_rows(url: str, streams: dict[str, bytes], barrier: Barrier) -> float:
    """Send them over one connection, in one transaction."""
    with psycopg.connect(url) as connection:
        barrier.wait()
        start = time.perf_counter()
        for table, stream in streams.items():
            with connection.cursor() as cursor, cursor.copy(statements.COPY[table]) as copy:
                copy.write(stream)
        connection.commit()
        return time.perf_counter() - start


def child(kind: str, url: str, server_id: uuid.UUID, rows: int, steps: bool, barrier: Barrier, answer: Any) -> None:
    before = time.process_time()
    if kind == "ours":
        took = record_rows(url, server_id, rows, steps, barrier)
    else:
        streams = encode_rows(rows, steps)
        before = time.process_time()
        took = copy_rows(url, streams, barrier)
    answer.put((took, time.process_time() - before))


def side_by_side(
    kind: str, url: str, server_id: uuid.UUID, rows: int, steps: bool, processes: int
) -> tuple[float, float]:
    """Return seconds until the last of several processes is done, and the CPU seconds of all."""
    context = multiprocessing.get_context("spawn")
    barrier, answer = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=child, args=(kind, url, server_id, rows, steps, barrier, answer))
        for _ in range(processes)
    ]
    for process in children:
        process.start()
    answers = [answer.get(timeout=600) for _ in children]
    for process in children:
        process.join()
    return max(took for took, _ in answers), sum(cpu for _, cpu in answers)


def bench_rows(options: Options, url: str, server_id: uuid.UUID) -> None:
    for steps in (False, True):
        for processes in (1, 2):
            each = options.rows(ROWS) // processes // (2 if steps else 1)
            times: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
            for turn in range(ROUNDS):
                for kind in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                    empty(url)
                    times[kind].append(side_by_side(kind, url, server_id, each, steps, processes))
                    with psycopg.connect(url) as connection:
                        counted = connection.execute(
                            "SELECT (SELECT count(*) FROM sona.trajectories), (SELECT count(*) FROM sona.steps)"
                        ).fetchone()
                    assert counted == (each * processes, each * processes * steps), counted
            (ours, cpu), (peer, raw_cpu) = (
                [statistics.median(column) for column in zip(*times[kind], strict=True)] for kind in ("ours", "peer")
            )
            ratio = statistics.median(b / a for (a, _), (b, _) in zip(times["ours"], times["peer"], strict=True))
            total = each * processes
            what = "one recording process" if processes == 1 else "two recording processes"
            what += ", recorded to committed, " + ("one step each" if steps else "no steps")
            beside = f"raw COPY {total / peer:,.0f}/s"
            options.emit(Line(what, f"{total / ours:,.0f}/s", beside, ratio, "0.85 of its rate", ratio >= 0.85))
            beside = f"raw COPY {seconds(raw_cpu / total)}"
            options.emit(Line("  CPU of the client for a row", seconds(cpu / total), beside, cpu / raw_cpu))


def bench_disk(options: Options, url: str, server_id: uuid.UUID) -> None:
    rows = options.rows(100_000)
    empty(url)
    record_rows(url, server_id, rows, False, None)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('sona.trajectories') WHERE isleaf"
        ).fetchone()
    assert row is not None
    size = float(row[0]) / rows
    what = f"disk per trajectory without steps, {DIM}-d, indexes included"
    options.emit(Line(what, f"{size:.0f} bytes", "", None, "700 bytes", size <= 700))


def bench_reading(options: Options, url: str) -> None:
    """Read the rows that ``bench_disk`` has written."""
    query = select(trajectories.c.embedding).where(trajectories.c.space_id == SPACE)
    raw_query = "COPY (SELECT embedding FROM sona.trajectories WHERE space_id = 1) TO STDOUT (FORMAT BINARY)"
    engine = connect(url)
    rows = options.rows(100_000)
    with engine.connect() as connection, psycopg.connect(url) as raw:

        def ours() -> NDArray[np.float32]:
            values: NDArray[np.float32] = copy_arrays(connection, query, [("embedding", "halfvec", DIM)])[0][
                "embedding"
            ]
            return values

        def drained() -> None:
            with raw.cursor().copy(raw_query) as copy:
                for _ in copy:
                    pass

        values = ours()
        assert values.shape == (rows, DIM)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values[-1], X.astype(np.float16).astype(np.float32))
        mine, peer = race(ours, drained, rounds=9, budget=0)
    engine.dispose()
    what = f"reading {rows:,} embeddings for learning into one float32 array"
    beside = f"raw COPY TO, drained {rows / peer:,.0f}/s"
    options.emit(Line(what, f"{rows / mine:,.0f}/s", beside, peer / mine, "0.8 of its rate", peer / mine >= 0.8))


def suite(options: Options) -> None:
    with server(options.home) as url:
        server_id = prepare(url)
        bench_rows(options, url, server_id)
        bench_disk(options, url, server_id)
        bench_reading(options, url)


if __name__ == "__main__":
    run(__doc__, suite)
