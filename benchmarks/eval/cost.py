"""Duration of a learning cycle, database included: for a backlog, and by length of the history."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Clinc, Queries
from benchmarks.eval.sessions import RetrievalSession, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from sona_pg import SonaConfig, SonaEngine

BACKLOG = 5200  # trajectories
TIMES = 10  # how much longer the long history is
NEW = 500  # new feedbacks in each cycle that is timed
ROUNDS = 7
ROUTES, RANKED = "trajectories with a route and a quality", "rankings with thumbs"
TARGETS = {
    (ROUTES, f"cycle on {BACKLOG} stored, s"): Target(0.3, at_most=True),
    (RANKED, f"cycle on {BACKLOG} stored, s"): Target(0.3, at_most=True),
    (RANKED, f"{TIMES}x the history, times"): Target(1.2, at_most=True),
    (ROUTES, f"{TIMES}x the history, times"): Target(1.2, at_most=True),
}


def run_seed(context: Context, seed: int) -> Figures:
    """Return seconds of one cycle on a backlog, and of a usual cycle after a short and after a long history."""
    clinc = context.clinc()
    config = SonaConfig()
    config = config.replace(ingest=dataclasses.replace(config.ingest, capacity=20_000, buffer_bytes=256 << 20))
    figures: Figures = {}
    for name in (ROUTES, RANKED):
        kind = name.split()[0]
        with (
            open_space(context.url, f"cost-{kind}-short-{seed}", clinc.titles.shape[1], config) as short,
            open_space(context.url, f"cost-{kind}-long-{seed}", clinc.titles.shape[1], config) as long,
        ):
            backlog = _cycle(short, clinc, name, seed, BACKLOG)
            for part in range(TIMES):
                _cycle(long, clinc, name, seed + 1000 * part, BACKLOG)
            usual: dict[SonaEngine, list[float]] = {short: [], long: []}
            for turn in range(ROUNDS):
                for engine, seconds in usual.items():  # side by side, so that other load affects both
                    seconds.append(_cycle(engine, clinc, name, seed + 7 * turn, NEW))
            first, second = np.median(usual[short]), np.median(usual[long])
            figures[name] = {
                f"cycle on {BACKLOG} stored, s": backlog,
                f"cycle of {NEW} after {BACKLOG}, s": float(first),
                f"cycle of {NEW} after {TIMES * BACKLOG}, s": float(second),
                f"{TIMES}x the history, times": float(second / first),
            }
        context.say(f"cost seed {seed}: {name}: {figures[name]}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = "Duration of a background cycle, 384 dimensions: reading, learning and publishing in Postgres"
    return [Table("cost", title, gather(seeds, TARGETS), digits=2)]


def _cycle(engine: SonaEngine, clinc: Clinc, name: str, seed: int, size: int) -> float:
    """Record ``size`` trajectories, wait until they are stored, and return the seconds of the cycle that follows."""
    stream = clinc.stream(seed, size)
    (_ask_ranked if name == RANKED else _ask_routed)(engine, clinc, stream, seed)
    engine.flush()
    start = time.perf_counter()
    result = engine.force_learn()
    seconds = time.perf_counter() - start
    assert result.learned and result.trajectories == size, result  # noqa: PT018
    return seconds


def _ask_ranked(engine: SonaEngine, clinc: Clinc, stream: Queries, seed: int) -> None:
    RetrievalSession(engine, clinc.titles, clinc.names, "thumbs", seed=seed).ask(stream)


def _ask_routed(engine: SonaEngine, clinc: Clinc, stream: Queries, seed: int) -> None:
    good = np.random.default_rng(seed).random(len(stream)) < 0.5
    for row, query in enumerate(stream.embeddings):
        handle = engine.begin_trajectory(query)
        engine.add_step(handle, activations=query, reward=float(good[row]))
        engine.set_trajectory_route(handle, f"model-{stream.labels[row] % 3}")
        engine.end_trajectory(handle, quality=float(good[row]))
