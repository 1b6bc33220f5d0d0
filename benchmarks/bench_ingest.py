"""Recording, adapting and writing beside their peers, in one run: `python benchmarks/bench_ingest.py`.

    calls      begin + one step + end, and apply_micro_lora, called from Python
    rows       recorded trajectory to committed row, beside COPY of the same bytes, encoded beforehand, into the same
               tables in one transaction; ours and the peer take turns, the ratio is the median of the rounds
    disk       what a row without steps takes, indexes included
    latency    p50, p99 and p99.9 of record and apply: alone, while the writer writes, while Postgres stands still

Every result that is timed is checked first or afterwards. The server is an embedded one in a folder of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import signal
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from sona_pg import kernels
from sona_pg.config import IngestConfig
from sona_pg.ingest import Writer, statements
from sona_pg.ingest.commit import HEADER, TRAILER
from sona_pg.kernels import Adapter, HotPath
from sona_pg.store.connect import connect
from sona_pg.store.embedded import start_embedded
from sona_pg.store.migrate import upgrade

DIM, SPACE = 256, 1
NODE_RECORD, NODE_APPLY = 49e-6, 41e-6  # npm @ruvector/sona, as measured on the machine of DESIGN
RNG = np.random.default_rng(0)
X, ACTIVATIONS = (RNG.standard_normal(DIM).astype(np.float32) for _ in range(2))
ATTENTION = RNG.random(64).astype(np.float32)


@dataclass(frozen=True)
class Line:
    """One comparison; a ratio is ours to the peer's."""

    what: str
    ours: str
    peer: str
    ratio: float | None
    target: str
    reached: bool | None

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.4f}" if self.ratio < 0.1 else f"{self.ratio:.2f}"
        reached = "" if self.reached is None else "yes" if self.reached else "NO"
        return f"{self.what:46} {self.ours:>16} {self.peer:>30} {ratio:>7} {self.target:>18} {reached:>8}"


def seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3f} us"


def per_call(call: Callable[[], object], number: int, rounds: int = 15) -> float:
    """Seconds a call, the loop around it included: the median of rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(number):
            call()
        times.append((time.perf_counter() - start) / number)
    return statistics.median(times)


# -- calls ------------------------------------------------------------------------------------------------------


def bench_record() -> Line:
    hot = HotPath(DIM, 10_000, 64 << 20)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(2000):
            trajectory = hot.begin_trajectory(X)
            hot.add_step(trajectory, ACTIVATIONS, ATTENTION, 0.5)
            hot.end_trajectory(trajectory, 0.75)
        times.append((time.perf_counter() - start) / 2000)
        batch = hot.drain(1, SPACE)
        assert batch is not None
        assert (batch.trajectory_count, batch.step_count, hot.dropped_count) == (2000, 2000, 0)
        assert (batch.step_activations[-1] == ACTIVATIONS).all()
    ours = statistics.median(times)
    return Line(
        "begin + step(256, 64) + end", seconds(ours), f"npm, published: {seconds(NODE_RECORD)}", ours / NODE_RECORD,
        "0.5 us", ours <= 0.5e-6,
    )  # fmt: skip


def bench_apply() -> list[Line]:
    hot = HotPath(DIM, 10, 1 << 16)
    A, B = (0.1 * RNG.standard_normal((2, DIM)).astype(np.float32) for _ in range(2))
    scale = np.float32(0.5)
    hot.set_adapters(Adapter(A, B, float(scale)))
    lines = []
    for n, number in ((0, 20_000), (32, 2000), (1024, 100)):
        x = X if n == 0 else RNG.standard_normal((n, DIM)).astype(np.float32)
        out = np.empty_like(x)
        At = np.ascontiguousarray(A.T)
        np.testing.assert_allclose(hot.apply_micro_lora(x, out), x + scale * ((x @ At) @ B), rtol=1e-4, atol=1e-4)
        pairs = [
            (
                per_call(lambda x=x, out=out: hot.apply_micro_lora(x, out), number, 3),
                per_call(lambda x=x, At=At: x + scale * ((x @ At) @ B), number, 3),
            )
            for _ in range(5)
        ]
        ours, peer = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
        reached = ours <= 0.16e-6 and ours <= peer / 20 if n == 0 else ours < peer
        lines.append(
            Line(
                f"apply_micro_lora, rank 2, {f'batch of {n}' if n else 'one vector'}",
                seconds(ours),
                f"NumPy {seconds(peer)}",
                ours / peer,
                "0.16 us, NumPy/20" if n == 0 else "faster",
                reached,
            )
        )
        if n == 0:
            lines.append(
                Line("  beside npm @ruvector/sona, published", seconds(ours), seconds(NODE_APPLY), ours / NODE_APPLY,
                     "1/250", ours <= NODE_APPLY / 250)
            )  # fmt: skip
    return lines


# -- rows -------------------------------------------------------------------------------------------------------


def prepare(url: str) -> uuid.UUID:
    upgrade(url)
    now, server = datetime.now(UTC), uuid.uuid4()
    with psycopg.connect(url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 2)", [now])
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (%s, 'bench', %s, %s)", [SPACE, DIM, now]
        )
        connection.execute(
            "INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)"
            " VALUES (%s, %s, 'bench', 0, '0', %s, %s, 0)",
            [SPACE, server, now, now],
        )
    return server


def empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE sona.trajectories, sona.steps, sona.batches")
        connection.execute("CHECKPOINT")


def record_rows(url: str, server: uuid.UUID, rows: int, steps: bool, barrier: Barrier | None) -> float:
    """Record as fast as the buffer takes it, to the commit of the last row."""
    hot, engine = HotPath(DIM, 10_000, 64 << 20), connect(url)
    home = Path(tempfile.gettempdir())
    writer = Writer(hot, engine, space_id=SPACE, server_id=server, config=IngestConfig(), home=home)
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
    """The same rows as COPY streams, encoded beforehand."""
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


def copy_rows(url: str, streams: dict[str, bytes], barrier: Barrier | None) -> float:
    with psycopg.connect(url) as connection:
        if barrier is not None:
            barrier.wait()
        start = time.perf_counter()
        for table, stream in streams.items():
            with connection.cursor() as cursor, cursor.copy(statements.COPY[table]) as copy:
                copy.write(stream)
        connection.commit()
        return time.perf_counter() - start


def child(kind: str, url: str, server: uuid.UUID, rows: int, steps: bool, barrier: Barrier, answer: Any) -> None:
    if kind == "ours":
        answer.put(record_rows(url, server, rows, steps, barrier))
    else:
        answer.put(copy_rows(url, encode_rows(rows, steps), barrier))


def side_by_side(kind: str, url: str, server: uuid.UUID, rows: int, steps: bool, processes: int) -> float:
    """Seconds until the last of several processes is done."""
    context = multiprocessing.get_context("spawn")
    barrier, answer = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=child, args=(kind, url, server, rows, steps, barrier, answer)) for _ in range(processes)
    ]
    for process in children:
        process.start()
    took = max(answer.get(timeout=300) for _ in children)
    for process in children:
        process.join()
    return float(took)


def bench_rows(url: str, server: uuid.UUID, rows: int, rounds: int) -> list[Line]:
    lines = []
    for steps in (False, True):
        for processes in (1, 2):
            each = rows // processes // (2 if steps else 1)
            pairs = []
            for turn in range(rounds):
                times: dict[str, float] = {}
                for kind in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                    empty(url)
                    times[kind] = side_by_side(kind, url, server, each, steps, processes)
                    with psycopg.connect(url) as connection:
                        counted = connection.execute(
                            "SELECT (SELECT count(*) FROM sona.trajectories), (SELECT count(*) FROM sona.steps)"
                        ).fetchone()
                    assert counted == (each * processes, each * processes * steps), counted
                pairs.append((times["ours"], times["peer"]))
            ours, peer = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
            ratio = statistics.median(b / a for a, b in pairs)
            total = each * processes
            lines.append(
                Line(
                    f"rows/s, {'one step' if steps else 'no steps'}, {processes} process{'es' * (processes > 1)}",
                    f"{total / ours:,.0f}/s",
                    f"raw COPY {total / peer:,.0f}/s",
                    ratio,
                    "0.85",
                    ratio >= 0.85,
                )
            )
    return lines


def bench_disk(url: str, server: uuid.UUID, rows: int) -> Line:
    empty(url)
    record_rows(url, server, rows, False, None)
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('sona.trajectories') WHERE isleaf"
        ).fetchone()
    assert row is not None
    size = float(row[0]) / rows
    return Line("disk per trajectory without steps", f"{size:.0f} bytes", "", None, "700 bytes", size <= 700)


# -- latency ----------------------------------------------------------------------------------------------------


def percentiles(call: Callable[[], object], number: int, pace: float) -> str:
    """p50, p99 and p99.9 of single calls, a call every `pace` seconds."""
    times = np.empty(number)
    clock = time.perf_counter
    for index in range(number):
        start = clock()
        call()
        times[index] = clock() - start
        if not index & 15:
            time.sleep(16 * pace)
    return " / ".join(f"{value * 1e6:.2f}" for value in np.percentile(times, [50, 99, 99.9])) + " us"


def bench_latency(url: str, server: uuid.UUID) -> list[Line]:
    hot, engine = HotPath(DIM, 200_000, 1 << 30), connect(url)
    hot.set_adapters(Adapter(0.1 * RNG.standard_normal((2, DIM)), 0.1 * RNG.standard_normal((2, DIM))))
    out = np.empty(DIM, np.float32)

    def record() -> None:
        trajectory = hot.begin_trajectory(X)
        hot.add_step(trajectory, ACTIVATIONS, ATTENTION, 0.5)
        hot.end_trajectory(trajectory, 0.75)

    def apply() -> None:
        hot.apply_micro_lora(X, out)

    lines = []

    def measure(state: str) -> None:
        for what, call in (("record", record), ("apply", apply)):
            text = percentiles(call, 40_000, 10e-6)
            lines.append(Line(f"{what}, {state}: p50 / p99 / p99.9", text, "", None, "", None))

    measure("no writer")
    hot.drain(1, SPACE, max_rows=200_000, max_bytes=1 << 30)
    home = Path(tempfile.gettempdir())
    writer = Writer(hot, engine, space_id=SPACE, server_id=server, config=IngestConfig(), home=home)
    measure("writer at work")
    writer.flush()
    with psycopg.connect(url, autocommit=True) as connection:
        [(pid,)] = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'sona-pg%' AND pid <> pg_backend_pid()"
        ).fetchall()
    os.kill(pid, signal.SIGSTOP)
    try:
        measure("Postgres paused")
        assert writer.waiting > 30_000
    finally:
        os.kill(pid, signal.SIGCONT)
    writer.flush()
    assert hot.dropped_count == 0
    writer.close()
    engine.dispose()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where the server's data goes; default: the disk")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {kernels.isa()}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, psycopg {psycopg.__version__}"
    )
    print(f"{'what':46} {'ours':>16} {'peer':>30} {'ratio':>7} {'target':>18} {'reached':>8}")
    for line in (bench_record(), *bench_apply()):
        print(line)
    with tempfile.TemporaryDirectory(prefix="sona-bench-", dir=options.folder or "/var/tmp") as name:
        Path(name).chmod(0o755)
        with start_embedded(Path(name)) as server:
            with psycopg.connect(server.url) as connection:
                print(f"Postgres {connection.info.server_version // 10_000} in {name}")
            server_id = prepare(server.url)
            for line in bench_rows(server.url, server_id, options.rows, options.rounds):
                print(line, flush=True)
            print(bench_disk(server.url, server_id, options.rows // 4))
            for line in bench_latency(server.url, server_id):
                print(line)


if __name__ == "__main__":
    main()
