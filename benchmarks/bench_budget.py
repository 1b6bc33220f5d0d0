"""One budget for eight servers that are killed now and then: `python -m benchmarks.bench_budget`.

Servers are forked processes. Each decides by the budget of the space, tells real costs that differ from the estimates
by a factor of up to two, and is killed (SIGKILL) after some requests, with what it has not reported; another one takes
its place. What they really spent stands in memory shared with this process.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, Options, run
from benchmarks.server import server
from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

SERVERS, KILLS, REQUESTS, DIM = 8, 24, 24_000, 64
BUDGETS = (0.15, 0.4)
COSTS = {"small": 0.05, "large": 1.0}
POLL = 0.5  # seconds; a server lives for about one second
PAUSE = 0.001  # seconds between two requests of a server


def opened(url: str, space: str, poll: float = POLL) -> SonaEngine:
    """Return a server."""
    config = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=poll))
    return SonaEngine(DIM, url, space, config=config)


def ask(engine: SonaEngine, rng: np.random.Generator, paid: NDArray[np.float64]) -> None:
    """Decide once, tell the outcome, and add what it cost to ``paid`` (2,): spent, requests."""
    x = rng.standard_normal(DIM).astype(np.float32)
    decision = engine.route(x, list(COSTS), costs=COSTS)
    cost = COSTS[decision.route] * float(2.0 ** rng.uniform(-1.0, 1.0))
    paid += cost, 1.0
    quality = 0.5 + 0.3 * float(np.tanh(x[0])) * (decision.route == "large")
    engine.end_trajectory(engine.begin_trajectory(x, decision=decision), quality, cost=cost)


def serve(url: str, space: str, paid: NDArray[np.float64], requests: int, seed: int, poll: float) -> None:
    """Serve some requests in a forked child, then be killed."""
    try:
        rng = np.random.default_rng(seed)
        engine = opened(url, space, poll)
        for _ in range(requests):
            ask(engine, rng, paid)
            time.sleep(PAUSE)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def spend_with_kills(url: str, space: str, total: int, kills: int, poll: float = POLL) -> tuple[float, float]:
    """Let servers come, serve about ``total`` requests and be killed; return what they spent, and their requests."""
    lives = SERVERS + kills
    shares = np.random.default_rng(1).uniform(0.5, 1.5, lives)
    requests = (total * shares / shares.sum()).astype(int).tolist()
    paid = np.frombuffer(mmap.mmap(-1, lives * 16), np.float64).reshape(lives, 2)
    running: set[int] = set()
    for life in range(lives):
        if len(running) == SERVERS:
            running.discard(os.wait()[0])
        child = os.fork()
        if child == 0:
            serve(url, space, paid[life], requests[life], life, poll)
        running.add(child)
    for child in running:
        os.waitpid(child, 0)
    assert paid[:, 1].astype(int).tolist() == requests, "every request was served"
    return float(paid[:, 0].sum()), float(paid[:, 1].sum())


def bench(options: Options, url: str, budget: float) -> None:
    """Compare what servers that come and go have spent with their budget."""
    space = f"budget-{uuid4().hex[:6]}"
    with opened(url, space) as engine:
        before, rng = np.zeros(2), np.random.default_rng(1)
        for _ in range(500):
            ask(engine, rng, before)
        engine.force_learn()
        engine.set_budget(budget)
    spent, asked = spend_with_kills(url, space, options.rows(REQUESTS), KILLS)
    with opened(url, space) as engine:
        status = engine.budget()
    assert status is not None
    ratio = spent / asked / budget
    what = f"{asked:,.0f} requests, {SERVERS + KILLS} kills, budget {budget:g}: spent over the budget"
    told = f"reported: {status.requests / asked:.1%} of the requests, pace {status.pace:.3f}"
    options.emit(Line(what, f"{ratio:.3f}", told, None, "1.01", ratio <= 1.01))


def main(options: Options) -> None:
    """Run all."""
    with server(options.home) as url:
        for budget in BUDGETS:
            bench(options, url, budget)


if __name__ == "__main__":
    run(__doc__, main)
