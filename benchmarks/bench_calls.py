"""Calls on the request path, beside NumPy and npm: `python -m benchmarks.bench_calls`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import node_peer
from benchmarks.report import Line, Options, race_numpy, run, seconds
from sona_pg import kernels
from sona_pg.recorder import Adapter, HotPath

DIM, K = 256, 5
RNG = np.random.default_rng(0)
Floats = NDArray[np.float32]
NPM = "npm @ruvector/sona"


def normal(*shape: int) -> Floats:
    return RNG.standard_normal(shape).astype(np.float32)


def beside_npm(what: str, ours: float, key: str, target: str, share: float | None) -> Line:
    """Compare with the npm package; without it, the line gives the reason."""
    try:
        answer: Any = node_peer.measured(DIM)
        name = f"{NPM} {answer['version']}"
        for part in key.split("."):
            answer = answer[part]
        peer = float(answer["seconds"] if isinstance(answer, dict) else answer)
    except node_peer.PeerMissing as exc:
        return Line(what, seconds(ours), f"NOT RUN: {exc}", None, target)
    if isinstance(answer, dict):
        name += f" ({answer['patterns']:,})"
    reached = None if share is None else ours <= share * peer
    return Line(what, seconds(ours), f"{name}: {seconds(peer)}", ours / peer, target, reached)


def bench_apply(options: Options) -> None:
    hot = HotPath(DIM, 10, 1 << 16)
    A, B, scale = 0.1 * normal(2, DIM), 0.1 * normal(2, DIM), np.float32(0.5)
    hot.set_adapters(Adapter(A, B, float(scale)))
    At = np.ascontiguousarray(A.T)
    for n in (1, 32, 1024):
        x = normal(n, DIM) if n > 1 else normal(DIM)
        out = np.empty_like(x)

        def ours(x: Floats = x, out: Floats = out) -> Any:
            return hot.apply_micro_lora(x, out)

        def numpy(x: Floats = x) -> Any:
            return x + scale * ((x @ At) @ B)

        np.testing.assert_allclose(ours(), numpy(), rtol=1e-4, atol=1e-4)
        mine, peer = race_numpy(ours, numpy)
        what = f"apply_micro_lora(x, out=), rank 2, {DIM}-d" + (f", batch of {n:,}" if n > 1 else "")
        if n > 1:
            options.emit(Line(what, seconds(mine), f"NumPy {seconds(peer)}", mine / peer, "faster", mine < peer))
            continue
        options.emit(Line(what, seconds(mine), "", None, "0.16 µs", mine <= 0.16e-6))
        options.emit(Line(what, seconds(mine), f"NumPy {seconds(peer)}", mine / peer, "NumPy / 20", mine <= peer / 20))
        options.emit(beside_npm(what, mine, "apply", "Node / 250", 1 / 250))


def bench_record(options: Options) -> None:
    hot = HotPath(DIM, 10_000, 64 << 20)
    x, activations, attention = normal(DIM), normal(DIM), RNG.random(64).astype(np.float32)

    def burst() -> None:
        for _ in range(2000):
            trajectory = hot.begin_trajectory(x)
            hot.add_step(trajectory, activations, attention, 0.5)
            hot.end_trajectory(trajectory, 0.75)

    def take_out() -> None:
        batch = hot.drain(1, 1)
        assert batch is not None
        assert (batch.trajectory_count, batch.step_count, hot.dropped_count) == (2000, 2000, 0)
        assert batch.step_activations is not None
        assert (batch.step_activations[-1] == activations).all()

    times = []
    for _ in range(30):
        start = time.perf_counter()
        burst()
        times.append(time.perf_counter() - start)
        take_out()
    ours = float(np.median(times)) / 2000
    what = "begin + one step (256 activations, 64 attention) + end"
    options.emit(Line(what, seconds(ours), "", None, "0.5 µs", ours <= 0.5e-6))
    options.emit(beside_npm(what, ours, "record", "", None))


def bench_find(options: Options) -> None:
    for m in (100, 1_000, 10_000):
        C, q = normal(m, DIM), normal(DIM)
        kernels.normalize_rows(C, C)
        q /= np.linalg.norm(q)
        block = kernels.CentroidBlock(C)

        def ours(block: kernels.CentroidBlock = block, q: Floats = q) -> Any:
            return block.topk(q, K)

        def numpy(C: Floats = C, q: Floats = q) -> Any:
            scores = C @ q
            best = np.argpartition(scores, -K)[-K:]
            best = best[np.argsort(-scores[best])]
            return best, scores[best]

        assert np.array_equal(ours()[0], numpy()[0])
        mine, peer = race_numpy(ours, numpy)
        what = f"kernel: CentroidBlock.topk, k=5 of {m:,}"
        if m == 100:
            options.emit(Line(what, seconds(mine), "", None, "3 µs", mine <= 3e-6))
        options.emit(Line(what, seconds(mine), f"NumPy {seconds(peer)}", mine / peer, "NumPy / 3", mine <= peer / 3))
        options.emit(beside_npm(what, mine, f"find.{m}", "faster", 1.0))


def suite(options: Options) -> None:
    bench_apply(options)
    bench_record(options)
    bench_find(options)


if __name__ == "__main__":
    run(__doc__, suite)
