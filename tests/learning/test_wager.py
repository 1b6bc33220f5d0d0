"""Betting on the difference of two versions: looked at all the time, it errs as seldom as it says."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.config import GateConfig
from sona_pg.learning.gating.wager import Wager

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
STREAMS = 2000
DEFAULT = GateConfig()


def played(draw: Draw, count: int, streams: int = STREAMS, bound: float = 1.0, gate: GateConfig = DEFAULT) -> Wager:
    """Return the state after ``count`` differences in each stream."""
    rng = np.random.default_rng(5)
    wager = Wager.opened([-gate.margin, gate.margin], streams, grid=0)
    for _ in range(count):
        wager = wager.fold(draw(rng, streams), bound)
    return wager


def of(values: list[float], chances: list[float]) -> Draw:
    return lambda rng, streams: rng.choice(values, streams, p=chances)


EQUAL: list[Draw] = [of([0.0], [1.0]), of([-1, 0, 1], [0.1, 0.8, 0.1]), of([-1, 1], [0.5, 0.5])]


@pytest.mark.parametrize("draw", EQUAL, ids=["same answers", "a fifth differs", "all differ"])
def test_equal_versions_are_hardly_ever_told_apart(draw: Draw) -> None:
    wager = played(draw, 300)
    assert wager.exceeds(0.05, 0.95).mean() <= 0.05  # rolled back
    assert wager.is_below(-0.05, 0.95).mean() <= 0.05  # rejected


AT_THE_MARGIN: list[Draw] = [
    of([-1, 0, 1], [0.15, 0.75, 0.1]),
    of([-1, 0.15 / 0.9 - 0.1 / 0.9], [0.1, 0.9]),
    of([-0.1, 0.9], [0.95, 0.05]),
]


@pytest.mark.parametrize("draw", AT_THE_MARGIN, ids=["even", "rarely bad", "rarely good"])
def test_a_version_worse_by_the_margin_is_promoted_as_seldom_as_the_confidence_says(draw: Draw) -> None:
    assert abs(draw(np.random.default_rng(0), 200_000).mean() + 0.05) < 0.005
    assert played(draw, 300).exceeds(-0.05, 0.95).mean() <= 0.055


def test_a_larger_bound_costs_decisions_and_no_validity() -> None:
    draw = of([-0.5, 4.5], [0.9, 0.1])  # the weight of a route that is explored at 1 in 5
    wager = played(draw, 300, bound=5.0)
    assert wager.exceeds(0.05, 0.95).mean() <= 0.05


def test_a_clear_loss_is_told_within_a_few_decisions_and_a_late_one_as_soon() -> None:
    def lost(rng: np.random.Generator, streams: int) -> NDArray[np.float64]:
        return rng.normal(0.4, 0.2, streams)

    assert played(lost, 40, 100).exceeds(0.05, 0.95).all()
    late = Wager.opened([0.05])
    for _ in range(500):
        late = late.fold([0.0])
    for _ in range(60):
        late = late.fold([0.4])
    assert late.exceeds(0.05, 0.95)[0]


def test_margin_and_confidence_decide_how_soon_equal_versions_are_accepted() -> None:
    def needed(gate: GateConfig) -> int:
        wager = Wager.opened([gate.margin])
        while not wager.is_below(gate.margin, gate.confidence)[0]:
            wager = wager.fold([0.0])
        return wager.seen

    usual = needed(DEFAULT)
    assert needed(GateConfig(margin=0.1)) < usual < needed(GateConfig(confidence=0.99))


def test_the_interval_holds_the_mean_and_narrows() -> None:
    wager, rng = Wager.opened([]), np.random.default_rng(1)
    widths = []
    for _ in range(3):
        for value in rng.normal(0.2, 0.1, 100):
            wager = wager.fold([value])
        low, high = wager.interval(0.95)
        assert low <= 0.2 <= high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] <= 0.2
    assert abs(wager.mean - 0.2) < 0.02


def test_it_is_restored_to_the_bit() -> None:
    wager = Wager.opened([-0.05, 0.05])
    for value in (0.3, -1.0, 0.0):
        wager = wager.fold([value])
    told = json.loads(json.dumps(wager.as_dict()))
    assert Wager.from_dict(told).fold([0.5]).as_dict() == wager.fold([0.5]).as_dict()
