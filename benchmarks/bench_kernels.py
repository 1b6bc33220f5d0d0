"""The kernels beside their peers, in one run: `python benchmarks/bench_kernels.py [--embeddings FILE.npz]`.

Each line is the median of several rounds in which ours and the peer take turns, so that a busy machine slows both.
Peers that wait for their own threads lose more than we do on a busy machine: judge by OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1 there. A k-means line is reached only if its inertia is within 0.5 % of the peer's.
Every result that is timed is compared with the peer's first. A target is an absolute time, a ratio to the peer, or
both. With --embeddings (an .npz with an array `emb`) k-means also runs on real vectors.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels


def importable(name: str) -> Any:
    """A peer that may be missing: the module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


faiss, sklearn, clusters = importable("faiss"), importable("sklearn"), importable("sklearn.cluster")

Floats = NDArray[np.float32]
D = 256
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Line:
    """One comparison: seconds, and what was promised."""

    what: str
    ours: float
    peer: float | None
    peer_name: str
    limit: float | None = None  # seconds
    share: float | None = None  # of the peer's time
    as_good: bool = True  # the result is as good as the peer's

    def __str__(self) -> str:
        promises, reached = [], self.as_good
        if self.limit is not None:
            promises.append(duration(self.limit))
            reached &= self.ours <= self.limit
        if self.share is not None and self.peer is not None:
            promises.append(f"{self.share:.2f} of peer")
            reached &= self.ours <= self.share * self.peer
        ratio = f"{self.ours / self.peer:.3f}" if self.peer else "-"
        peer = f"{duration(self.peer)} {self.peer_name}" if self.peer else self.peer_name
        verdict = ("yes" if reached else "NO") if promises else "-"
        return f"{self.what:<44} {duration(self.ours):>9}  {peer:<24} {ratio:>6}  {', '.join(promises):<24} {verdict}"


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def race(*runs: Callable[[], object], rounds: int = 15, budget: float = 0.02) -> list[float]:
    """Median seconds of one call of each, taking turns; a round repeats a call until it lasts about `budget`."""
    repeats = []
    for run in runs:
        start = time.perf_counter()
        run()
        once = time.perf_counter() - start
        repeats.append(max(1, int(budget / max(once, 1e-8))))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, repeat, seen in zip(runs, repeats, times, strict=True):
            start = time.perf_counter()
            for _ in range(repeat):
                run()
            seen.append((time.perf_counter() - start) / repeat)
    return [statistics.median(seen) for seen in times]


def normal(*shape: int) -> Floats:
    return RNG.standard_normal(shape).astype(np.float32)


def unit(X: Floats) -> Floats:
    kernels.normalize_rows(X, X)
    return X


def bench_lora() -> Iterator[Line]:
    A, B, scale = normal(2, D), normal(2, D), np.float32(0.5)
    forward = kernels.lora_forward
    for n in (1, 32, 1024):
        x = normal(n, D) if n > 1 else normal(D)
        out = np.empty_like(x)

        def ours(x: Floats = x, out: Floats = out) -> Floats:
            return forward(x, A, B, 0.5, out)

        def peer(x: Floats = x) -> Any:
            return x + scale * ((x @ A.T) @ B)

        assert np.allclose(ours(), peer(), atol=1e-3)
        mine, numpys = race(ours, peer)
        promise: dict[str, float] = {"limit": 0.16e-6, "share": 1 / 20} if n == 1 else {"share": 1.0}
        yield Line(f"LoRA forward, rank 2, {n} x {D}", mine, numpys, "NumPy", **promise)
    x, delta, dA, dB = normal(D), normal(D), np.zeros_like(A), np.zeros_like(B)

    def backward() -> None:
        kernels.lora_backward(x, delta, A, B, 0.5, dA, dB)

    def backward_numpy() -> tuple[Any, Any]:
        return scale * np.outer(B @ delta, x), scale * np.outer(A @ x, delta)

    backward()
    assert np.allclose(dA, backward_numpy()[0], atol=1e-2)
    mine, numpys = race(backward, backward_numpy)
    yield Line(f"LoRA backward, rank 2, {D}", mine, numpys, "NumPy")


def bench_topk() -> Iterator[Line]:
    k = 5
    for m in (100, 1_000, 10_000):
        C, q = unit(normal(m, D)), unit(normal(1, D))[0]
        block = kernels.CentroidBlock(C)

        def numpys(C: Floats = C, q: Floats = q) -> tuple[NDArray[np.intp], Floats]:
            scores = C @ q
            best = np.argpartition(scores, -k)[-k:]
            best = best[np.argsort(-scores[best])]
            return best, scores[best]

        def scan(C: Floats = C, q: Floats = q) -> tuple[NDArray[np.int64], Floats]:
            return kernels.topk(q, C, k)

        def prepared(block: kernels.CentroidBlock = block, q: Floats = q) -> tuple[NDArray[np.int64], Floats]:
            return block.topk(q, k)

        assert np.array_equal(prepared()[0], scan()[0])
        assert np.array_equal(scan()[0], numpys()[0])
        plain, mine, peer = race(scan, prepared, numpys)
        yield Line(f"top-{k} of {m:,}, plain scan", plain, peer, "NumPy")
        yield Line(f"top-{k} of {m:,}, CentroidBlock", mine, peer, "NumPy", 3e-6 if m == 100 else None, 1 / 3)


def bench_kmeans(kind: str, data: Callable[[int], Floats]) -> Iterator[Line]:
    for n, k, limit in ((1_000, 50, 10e-3), (5_000, 100, 30e-3), (100_000, 100, None)):
        X = data(n)
        rounds, threads = (9, 1) if n < 50_000 else (3, os.cpu_count() or 1)
        found: dict[str, float] = {}

        def ours(X: Floats = X, k: int = k, threads: int = threads, found: dict[str, float] = found) -> None:
            found["ours"] = kernels.kmeans_fit(X, k, 0, spherical=False, threads=threads)[2]

        def peer_faiss(X: Floats = X, k: int = k, found: dict[str, float] = found) -> None:
            index = faiss.Kmeans(X.shape[1], k, seed=0, min_points_per_centroid=1)
            index.train(X)
            found["faiss"] = float(index.index.search(X, 1)[0].sum(dtype=np.float64))

        mine, *others = race(ours, *([peer_faiss] if faiss else []), rounds=rounds, budget=0)
        peers = dict(zip(["faiss"] if faiss else [], others, strict=True))
        if sklearn:  # once: on 100,000 rows it takes half a minute
            start = time.perf_counter()
            found["sklearn"] = float(clusters.KMeans(k, n_init=1, random_state=0).fit(X).inertia_)
            peers["sklearn"] = time.perf_counter() - start
        fastest = min(peers, key=peers.__getitem__, default="none")
        note = " ".join(f"{name} {inertia / found['ours']:.4f}" for name, inertia in found.items() if name != "ours")
        assert all(found["ours"] <= 1.03 * inertia for inertia in found.values()), found
        as_good = found["ours"] <= 1.005 * found.get(fastest, np.inf)
        share = None if limit else 0.5
        yield Line(f"k-means {kind} {n:,} k={k}", mine, peers.get(fastest), fastest, limit, share, as_good)
        print(f"    peers' inertia over ours: {note}")


def bench_ewc() -> Iterator[Line]:
    n = 100_000
    theta, F, optimum, g = normal(n), np.abs(normal(n)), normal(n), normal(n)
    expected = (theta + 0.1 * F * optimum) / (1 + 0.1 * F)
    got = theta.copy()
    kernels.ewc_prox(got, F, optimum, 0.1)
    assert np.allclose(got, expected, atol=1e-5)

    def prox_numpy() -> Any:
        return (theta + np.float32(0.1) * F * optimum) / (1 + np.float32(0.1) * F)

    def fisher_numpy() -> Any:
        return np.float32(0.999) * F + np.float32(0.001) * g * g

    mine, peer = race(lambda: kernels.ewc_prox(theta, F, optimum, 0.1), prox_numpy)
    yield Line(f"EWC proximal step, {n:,}", mine, peer, "NumPy", 100e-6)
    mine, peer = race(lambda: kernels.fisher_update(F, g, 0.999), fisher_numpy)
    yield Line(f"Fisher update, {n:,}", mine, peer, "NumPy", 100e-6)


def bench_wire() -> Iterator[Line]:
    n = 20_000
    X = normal(n, D).astype(np.float16)
    field = struct.pack(">hiIhh", 1, 0, 4 + 2 * D, D, 0)[0:2] + struct.pack(">ihh", 4 + 2 * D, D, 0)
    rows = np.empty((n, len(field) + 2 * D), np.uint8)
    rows[:, : len(field)] = np.frombuffer(field, np.uint8)
    rows[:, len(field) :] = X.astype(">f2").view(np.uint8)
    stream = b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"
    chunks = [stream[at : at + 65536] for at in range(0, len(stream), 65536)]

    def decode() -> Floats:
        decoder = kernels.CopyDecoder([("embedding", "halfvec", D)], capacity=n)
        for chunk in chunks:
            decoder.feed(chunk)
        embedding: Floats = decoder.finish()["embedding"]
        return embedding

    def peer() -> Floats:  # the best NumPy can do when it knows that all rows are alike
        body = np.frombuffer(stream, np.uint8, n * rows.shape[1], 19).reshape(rows.shape)
        return body[:, len(field) :].copy().view(">f2").astype(np.float32)

    assert np.array_equal(decode(), X.astype(np.float32))
    mine, numpys = race(decode, peer)
    yield Line(f"COPY decode, halfvec({D}), one row", mine / n, numpys / n, "NumPy strided", 0.5e-6)
    x = normal(100_000)
    assert kernels.f32_to_f16_be(x) == x.astype(">f2").tobytes()
    mine, numpys = race(lambda: kernels.f32_to_f16_be(x), lambda: x.astype(">f2").tobytes())
    yield Line("float32 to float16 BE, 100,000", mine, numpys, "NumPy")
    data = RNG.bytes(1 << 20)
    mine = race(lambda: kernels.crc32c(data))[0]
    assert kernels.crc32c(b"123456789") == 0xE3069283
    yield Line("CRC-32C, 1 MiB", mine, None, "-")


def machine() -> str:
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    versions += [
        f"{name} {module.__version__}" for name, module in (("scikit-learn", sklearn), ("faiss", faiss)) if module
    ]
    load = os.getloadavg()[0]
    return f"{cpu}, {os.cpu_count()} cores, load {load:.1f}; {', '.join(versions)}; ISA {kernels.isa()}"


def real_data(path: Path) -> Callable[[int], Floats]:
    """Rows of the file in random order; beyond their number, noisy copies of them."""
    E = np.load(path)["emb"].astype(np.float32)

    def draw(n: int) -> Floats:
        rows = E[np.concatenate([RNG.permutation(len(E)) for _ in range(-(-n // len(E)))])[:n]]
        rows[len(E) :] += 0.02 * normal(*rows[len(E) :].shape)
        return unit(np.ascontiguousarray(rows[:, :D]))

    return draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, help=".npz with an array `emb` (n, 256 or more)")
    parser.add_argument("--only", default="", help="run the groups whose name contains this")
    arguments = parser.parse_args()
    groups: dict[str, Callable[[], Iterator[Any]]] = {
        "lora": bench_lora,
        "topk": bench_topk,
        "ewc": bench_ewc,
        "wire": bench_wire,
        "kmeans-random": lambda: bench_kmeans("random", lambda n: unit(normal(n, D))),
    }
    if arguments.embeddings:
        groups["kmeans-real"] = lambda: bench_kmeans("real", real_data(arguments.embeddings))
    print(machine())
    print(f"{'what':<44} {'ours':>9}  {'peer':<24} {'ratio':>6}  {'target':<24} reached")
    for name, group in groups.items():
        if arguments.only in name:
            for line in group():
                print(line, flush=True)


if __name__ == "__main__":
    main()
