"""The HTTP service, one worker and its database, beside a bare FastAPI endpoint: `python -m benchmarks.bench_service`.

The bare endpoint parses and echoes the same bodies in the same process; they take turns, and medians are compared.
"""

from __future__ import annotations

import base64
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import psycopg

from benchmarks.asked_space import unit_rows
from benchmarks.http_load import load, post
from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import server

RNG = np.random.default_rng(1)
ROUNDS = 7
PACE = 2_000  # requests a second
BATCH = 2_000  # trajectories


def coded(rows: np.ndarray) -> list[str]:
    """Return rows as base64 of float32."""
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]


@contextmanager
def worker(url: str) -> Iterator[int]:
    """Run a worker; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.service_worker", url, str(port)])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def turns(port: int, ours: Sequence[bytes], bare: Sequence[bytes], n: int, connections: int) -> tuple[float, float]:
    """Return the median rates of the service and of the bare endpoint, which take turns."""
    rates: tuple[list[float], list[float]] = ([], [])
    for place in range(ROUNDS + 1):
        for kept, requests in zip(rates, (ours, bare), strict=True):
            found = load(port, requests, n, connections=connections)
            if place:  # the first round is to warm up
                kept.append(found.rate)
    return statistics.median(rates[0]), statistics.median(rates[1])


def bench_single(options: Options, port: int, what: str, path: str, bodies: Sequence[dict[str, object]]) -> None:
    """Print the rate of single requests beside the bare endpoint, and their latency at a steady pace."""
    texts = [json.dumps(body).encode() for body in bodies]
    ours, bare = [post(path, text) for text in texts], [post("/bare/row", text) for text in texts]
    n = max(500, int(4_000 * options.scale))
    rate, echo = turns(port, ours, bare, n, 8)
    ratio = rate / echo
    options.emit(
        Line(
            f"POST {path}, {what}, one worker",
            f"{rate:,.0f} /s",
            f"bare echo: {echo:,.0f} /s",
            ratio,
            ">= 0.7 of its rate",
            ratio >= 0.7,
        )
    )
    paced = load(port, ours, max(2_000, int(20_000 * options.scale)), rate=PACE, connections=16)
    kept = paced.rate >= 0.98 * PACE and paced.percentile(0.99) <= 0.010
    told = f"p50 {seconds(paced.percentile(0.5))}, p99 {seconds(paced.percentile(0.99))}"
    options.emit(
        Line(f"POST {path} at {PACE:,} requests a second", f"{paced.rate:,.0f} /s", told, None, "p99 <= 10 ms", kept)
    )


def bench_batch(options: Options, port: int, url: str) -> None:
    """Print the rate of batches by columns, committed."""
    vectors = coded(unit_rows(RNG, BATCH))
    body = json.dumps({"vectors": vectors, "routes": ["small"] * BATCH, "qualities": [0.5] * BATCH}).encode()
    ours, bare = [post("/v1/trajectories/columns", body)], [post("/bare/batch", body)]
    n = max(6, int(40 * options.scale))
    rate, echo = turns(port, ours, bare, n, 2)
    ratio = rate / echo
    before = count(url)
    began = time.perf_counter()
    load(port, ours, n, connections=2)
    deadline = time.monotonic() + 60
    while count(url) < before + n * BATCH and time.monotonic() < deadline:
        time.sleep(0.02)
    committed = n * BATCH / (time.perf_counter() - began)
    assert count(url) >= before + n * BATCH, "trajectories are missing"
    options.emit(
        Line(
            f"POST /v1/trajectories/columns, batches of {BATCH:,} x 256-d base64: rows a second",
            f"{rate * BATCH:,.0f}",
            f"bare echo: {echo * BATCH:,.0f}",
            ratio,
            ">= 50,000, >= 0.7 of it",
            rate * BATCH >= 50_000 and ratio >= 0.7,
        )
    )
    options.emit(
        Line(
            "POST /v1/trajectories/columns: committed rows a second",
            f"{committed:,.0f}",
            "",
            None,
            ">= 50,000",
            committed >= 50_000,
        )
    )


def count(url: str) -> int:
    """Return how many trajectories are committed."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT coalesce(sum(trajectories), 0) FROM sona.batches").fetchone()
    assert row is not None
    return int(row[0])


def main(options: Options) -> None:
    """Run all."""
    rows = unit_rows(RNG, 64)
    with server(options.home) as url, worker(url) as port:
        told = [{"vector": text} for text in coded(rows)]
        numbers = [{"vector": [round(float(value), 6) for value in row]} for row in rows]
        bench_single(options, port, "256-d base64", "/v1/adapt", told)
        bench_single(options, port, "256 numbers", "/v1/adapt", numbers)
        whole = [{**body, "route": "small", "quality": 0.5} for body in told]
        bench_single(options, port, "256-d base64", "/v1/trajectories", whole)
        bench_batch(options, port, url)


if __name__ == "__main__":
    run(__doc__, main)
