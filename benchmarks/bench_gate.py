"""False judgements of the gate in 10,000 streams of two equal versions, and decisions until a real loss is told.

Every stream is looked at after every decision. ``python -m benchmarks.bench_gate``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Line, Options, run
from sona_pg.config import GateConfig
from sona_pg.learning.gating.wager import Wager

GATE = GateConfig()
STREAMS = 10_000
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def choice(values: list[float], chances: list[float]) -> Draw:
    """Return differences with these values and chances."""
    return lambda rng, streams: rng.choice(values, streams, p=chances)


# Differences in quality between two versions: streams, and the bound of each difference.
EQUAL: dict[str, tuple[Draw, float]] = {
    "the same answers": (choice([0.0], [1.0]), 1.0),
    "a tenth differs": (choice([-1.0, 0.0, 1.0], [0.05, 0.9, 0.05]), 1.0),
    "all differ": (choice([-1.0, 1.0], [0.5, 0.5]), 1.0),
    "rarely much worse": (choice([-1.0, 1.0 / 9.0], [0.1, 0.9]), 1.0),
    "routes explored at 1 in 10": (choice([-0.5, 4.5], [0.9, 0.1]), 5.0),
}
WORSE: dict[str, tuple[Draw, float]] = {
    "lower by 0.4": (lambda rng, streams: rng.normal(0.4, 0.3, streams).clip(-1, 1), 1.0),
    "lower by 0.2": (lambda rng, streams: rng.normal(0.2, 0.5, streams).clip(-1, 1), 1.0),
    "routes, lower by 0.4": (lambda rng, streams: rng.normal(0.4, 0.5, streams), 5.0),
}


def suite(options: Options) -> None:
    """Simulate equal versions, versions at the margin, and worse ones."""
    streams = options.rows(STREAMS)
    for name, (draw, bound) in EQUAL.items():
        wager = played(draw, GATE.decisions, streams, bound)
        back = float(wager.exceeds(GATE.margin, GATE.confidence).mean())
        rejected = float(wager.is_below(-GATE.margin, GATE.confidence).mean())
        options.emit(
            Line(
                f"gate: two equal versions, {name}: rolled back",
                f"{back:.2%} of {streams:,}",
                f"rejected {rejected:.2%}",
                target="5 % at most",
                reached=max(back, rejected) <= 0.05,
            )
        )
        worse = played(
            lambda rng, n, draw=draw: draw(rng, n) - GATE.margin, GATE.decisions, streams, bound + GATE.margin
        )
        promoted = float(worse.exceeds(-GATE.margin, GATE.confidence).mean())
        options.emit(
            Line(
                f"gate: worse by the margin, {name}: promoted",
                f"{promoted:.2%} of {streams:,}",
                target="5 % at most",
                reached=promoted <= 0.05,
            )
        )
    for name, (draw, bound) in WORSE.items():
        needed = until_told(draw, bound, streams // 10)
        late = float(np.quantile(needed, 0.99))
        options.emit(
            Line(
                f"gate: {name}: decisions until it is rolled back, median and 99 %",
                f"{np.median(needed):.0f}, {late:.0f}",
                target="200 at most" if "0.4" in name else "",
                reached=late <= 200 if "0.4" in name else None,
            )
        )


def played(draw: Draw, count: int, streams: int, bound: float) -> Wager:
    """Return the bets after ``count`` decisions in each stream."""
    rng = np.random.default_rng(0)
    wager = Wager.opened([-GATE.margin, GATE.margin], streams, grid=0)
    for _ in range(count):
        wager = wager.fold(draw(rng, streams), bound)
    return wager


def until_told(draw: Draw, bound: float, streams: int) -> NDArray[np.int64]:
    """Return (streams,) the number of decisions until the loss is told; the most that a gate counts where it is not."""
    rng = np.random.default_rng(0)
    wager = Wager.opened([GATE.margin], streams, grid=0)
    needed = np.full(streams, GATE.decisions)
    for decision in range(GATE.decisions):
        wager = wager.fold(draw(rng, streams), bound)
        told = wager.exceeds(GATE.margin, GATE.confidence) & (needed == GATE.decisions)
        needed[told] = decision + 1
        if (needed < GATE.decisions).all():
            break
    return needed


if __name__ == "__main__":
    run(__doc__, suite)
