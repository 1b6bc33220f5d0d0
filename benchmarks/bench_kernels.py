"""The learners' kernels beside NumPy, faiss and scikit-learn: `python -m benchmarks.bench_kernels [--data FOLDER]`.

Ours and the peers take turns, so that a busy machine slows all alike. Every timed result is first compared with the
peer's; a k-means target counts only if its inertia is within 0.5 % of the better peer's. Real embeddings are those of
DATA, else of the questions of extra `demo`, with noisy copies if there are too few.
"""

from __future__ import annotations

import importlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, Options, race, run, seconds
from sona_pg import kernels
from sona_pg.domain.state import FisherSnapshot
from sona_pg.learning.adapters.ewc import EwcPlusPlus

Floats = NDArray[np.float32]
D = 256
RNG = np.random.default_rng(0)
SEEDS = 5


def importable(name: str) -> Any:
    """Return the module of an optional peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


faiss, clusters = importable("faiss"), importable("sklearn.cluster")


def normal(*shape: int) -> Floats:
    return RNG.standard_normal(shape).astype(np.float32)


def unit(X: Floats) -> Floats:
    kernels.normalize_rows(X, X)
    return X


# -- k-means ------------------------------------------------------------------------------------------------


def real_embeddings(data: Path | None) -> tuple[str, Floats] | None:
    """Return name and (n, 256) rows of a real data set, or None if none is installed."""
    if data is not None:
        return "CLINC150", np.load(data / "clinc150.npz")["emb"][:, :D].astype(np.float32)
    try:
        from sona_pg.demo.corpus import load_corpus
        from sona_pg.text import default_embedder
    except ImportError:
        return None
    questions = sorted({item.question for item in load_corpus(None)})
    return "chatterbot", np.asarray(default_embedder().embed(questions), np.float32)


def draw(E: Floats, n: int) -> Floats:
    """Return n rows in random order; beyond their number, copies with noise."""
    rows = E[np.concatenate([RNG.permutation(len(E)) for _ in range(-(-n // len(E)))])[:n]]
    rows[len(E) :] += 0.02 * normal(*rows[len(E) :].shape)
    return unit(np.ascontiguousarray(rows))


def bench_kmeans(options: Options, kind: str, data: Callable[[int], Floats]) -> None:
    for n, k, limit in ((1_000, 50, 10e-3), (5_000, 100, 30e-3), (options.rows(100_000), 100, None)):
        X = data(n)
        rounds, threads = (9, 1) if limit else (3, os.cpu_count() or 1)
        found: dict[str, list[float]] = {"ours": [], "faiss": [], "scikit-learn": []}

        def ours(seed: int = 0, X: Floats = X, k: int = k, threads: int = threads) -> float:
            return kernels.kmeans_fit(X, k, seed, spherical=False, threads=threads)[2]

        def by_faiss(seed: int = 0, X: Floats = X, k: int = k) -> float:
            index = faiss.Kmeans(X.shape[1], k, seed=seed, min_points_per_centroid=1)
            index.train(X)
            return float(index.index.search(X, 1)[0].sum(dtype=np.float64))

        def by_sklearn(seed: int = 0, X: Floats = X, k: int = k) -> float:
            return float(clusters.KMeans(k, n_init=1, random_state=seed).fit(X).inertia_)

        runs: dict[str, Callable[..., float]] = {"ours": ours}
        runs |= {"faiss": by_faiss} if faiss else {}
        mine, *others = race(*runs.values(), rounds=rounds, budget=0)
        peers = dict(zip(list(runs)[1:], others, strict=True))
        if clusters:  # timed without turns: on 100,000 rows it takes half a minute
            start = time.perf_counter()
            found["scikit-learn"].append(by_sklearn())
            peers["scikit-learn"] = time.perf_counter() - start
            runs["scikit-learn"] = by_sklearn
        for seed in range(SEEDS if limit else 1):  # a single start is random: inertias are means over several
            for name, call in runs.items():
                if seed >= len(found[name]):
                    found[name].append(call(seed))
        fastest = min(peers, key=peers.__getitem__, default=None)
        beside = ", ".join(
            f"{name} {seconds(peers[name]) if name in peers else 'NOT INSTALLED'}" for name in ("faiss", "scikit-learn")
        )
        what = f"k-means {n:,} x {D}, k={k}, {kind}"
        ratio = mine / peers[fastest] if fastest else None
        if limit:
            options.emit(Line(what, seconds(mine), beside, ratio, seconds(limit), mine <= limit))
        else:
            reached = None if ratio is None else ratio <= 0.5
            options.emit(Line(what, seconds(mine), beside, ratio, "half of the faster", reached))
        if peers:
            mean = {name: float(np.mean(found[name])) for name in runs}
            least = min(peers, key=mean.__getitem__)
            worse = mean["ours"] / mean[least]
            line = Line(
                "  its inertia", f"{mean['ours']:.2f}", f"{least} {mean[least]:.2f}", worse, "1.005", worse <= 1.005
            )
            options.emit(line)


# -- EWC ----------------------------------------------------------------------------------------------------


def bench_ewc(options: Options) -> None:
    n, rate = 100_000, 1e-4
    base: dict[str, float] = {}
    for tasks in (1, 5, 10):
        ewc = EwcPlusPlus(n)
        kept = [FisherSnapshot(task, 0, np.abs(normal(n)), normal(n)) for task in range(tasks)]
        for snapshot in kept:
            ewc.protect(snapshot)
        theta, gradient = normal(n), normal(n)
        pull = np.float32(rate * ewc.lambda_)

        def step(ewc: EwcPlusPlus = ewc, theta: Floats = theta) -> Floats:
            return ewc.apply_constraints(theta, rate)

        def numpy_step(kept: list[FisherSnapshot] = kept, theta: Floats = theta, pull: Any = pull) -> Any:
            above, below = theta, np.float32(1)
            for task in kept:
                above = above + pull * task.fisher * task.optimum
                below = below + pull * task.fisher
            return above / below

        def fold(ewc: EwcPlusPlus = ewc, gradient: Floats = gradient) -> None:
            ewc.update_fisher(gradient)

        def numpy_fold(F: Floats = kept[0].fisher, gradient: Floats = gradient) -> Any:
            return np.float32(0.999) * F + np.float32(0.001) * gradient * gradient

        np.testing.assert_allclose(step(), numpy_step(), rtol=1e-3, atol=1e-4)
        for what, mine, peer in (
            ("EWC proximal step", *race(step, numpy_step)),
            ("EWC Fisher update", *race(fold, numpy_fold)),
        ):
            name = f"{what}, {n:,} parameters, {tasks} task{'s' * (tasks > 1)}"
            options.emit(Line(name, seconds(mine), f"NumPy {seconds(peer)}", mine / peer, "100 µs", mine <= 100e-6))
            growth = mine / base.setdefault(what, mine)
            if tasks == 10:
                name = f"  {what}: ten tasks to one"
                options.emit(Line(name, f"{growth:.2f}", "itself with one", growth, "the same (1.2)", growth <= 1.2))


# -- wire formats -------------------------------------------------------------------------------------------


def bench_wire(options: Options) -> None:
    n = 20_000
    X = normal(n, D).astype(np.float16)
    field = struct.pack(">hihh", 1, 4 + 2 * D, D, 0)
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
    mine, numpy = race(decode, peer)
    options.emit(
        Line(
            f"COPY decode, halfvec({D}), a row", seconds(mine / n), f"NumPy strided {seconds(numpy / n)}", mine / numpy
        )
    )
    x = normal(100_000)
    assert kernels.f32_to_f16_be(x) == x.astype(">f2").tobytes()
    mine, numpy = race(lambda: kernels.f32_to_f16_be(x), lambda: x.astype(">f2").tobytes())
    options.emit(Line("float32 to big-endian float16, 100,000", seconds(mine), f"NumPy {seconds(numpy)}", mine / numpy))


def suite(options: Options) -> None:
    real = real_embeddings(options.data)
    if real is None:
        options.emit(
            Line("k-means, real embeddings", "", "NOT RUN: give DATA=, or install extra 'demo'", None, "30 ms")
        )
    else:
        kind, embeddings = real
        bench_kmeans(options, kind, lambda n: draw(embeddings, n))
    bench_kmeans(options, "random", lambda n: unit(normal(n, D)))
    bench_ewc(options)
    bench_wire(options)


if __name__ == "__main__":
    run(__doc__, suite)
