"""The budget is met on average, without drift, for any stream."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sona_pg.errors import ConfigError
from sona_pg.learning.routing.pacing import BudgetPacer


def spend(pacer: BudgetPacer, values: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Plays a stream (n, k) by the pacer's price and returns what every call cost."""
    paid = np.zeros(len(values))
    for t, value in enumerate(values):
        at = int(np.argmax(value - pacer.price() * costs))
        paid[t] = costs[at]
        pacer.record(value, costs, float(costs[at]))
    return paid


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 0.9), st.integers(0, 10_000), st.floats(0.01, 0.5))
def test_the_mean_cost_stays_within_a_point_of_the_budget_after_warm_up(budget: float, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    gain = 0.6 * scale + scale * rng.random(3000)  # the strong route is always better, so the budget binds
    paid = spend(BudgetPacer(budget), np.stack([np.zeros(3000), gain], axis=1), np.array([0.0, 1.0]))
    share = np.cumsum(paid) / np.arange(1, 3001)
    assert np.abs(share[1000:] - budget).max() < 0.012


def test_the_budget_holds_when_the_stream_changes() -> None:
    rng = np.random.default_rng(0)
    gain = np.concatenate([0.1 + 0.1 * rng.random(2000), 0.5 + 0.3 * rng.random(2000), 0.01 * rng.random(2000)])
    paid = spend(BudgetPacer(0.3), np.stack([np.zeros(6000), gain], axis=1), np.array([0.0, 1.0]))
    share = np.cumsum(paid) / np.arange(1, 6001)
    assert share[500:].max() < 0.32
    assert share[500:].min() > 0.26  # what one part of the stream leaves is lost but for a little
    late = spend(BudgetPacer(0.3), np.stack([np.zeros(2000), 0.01 * rng.random(2000)], axis=1), np.array([0.0, 1.0]))
    assert late.mean() == pytest.approx(0.3, abs=0.01)


def test_the_money_goes_where_the_gain_is() -> None:
    rng = np.random.default_rng(1)
    gain = rng.random(4000)
    paid = spend(BudgetPacer(0.25), np.stack([np.zeros(4000), gain], axis=1), np.array([0.0, 1.0]))[500:]
    assert gain[500:][paid == 1].mean() > 0.84  # the best quarter has a mean of 0.875


def test_three_routes_with_costs_of_their_own_meet_the_budget() -> None:
    rng = np.random.default_rng(2)
    costs = np.array([0.2, 1.0, 5.0])
    values = np.stack([np.zeros(4000), 0.3 * rng.random(4000), 0.2 + 0.6 * rng.random(4000)], axis=1)
    paid = spend(BudgetPacer(1.5), values, costs)
    assert paid[500:].mean() == pytest.approx(1.5, rel=0.02)


def test_a_budget_is_a_limit_and_not_a_duty() -> None:
    rng = np.random.default_rng(3)
    worse = np.stack([np.zeros(1000), -rng.random(1000)], axis=1)
    assert spend(BudgetPacer(0.5), worse, np.array([0.0, 1.0]))[20:].sum() == 0


def test_a_budget_below_the_cheapest_takes_the_cheapest_and_recovers() -> None:
    pacer, costs = BudgetPacer(0.5), np.array([1.0, 2.0])
    values = np.tile([0.0, 0.5], (500, 1)) + np.random.default_rng(4).random((500, 1)) * [0, 0.1]
    assert spend(pacer, values, costs)[50:].max() == 1.0
    assert math.isfinite(pacer.price())


def test_a_generous_budget_costs_nothing() -> None:
    pacer = BudgetPacer(10.0)
    spend(pacer, np.random.default_rng(5).random((100, 2)), np.array([0.0, 1.0]))
    assert pacer.price() == 0.0


def test_candidate_sets_may_change_their_size() -> None:
    pacer, rng = BudgetPacer(0.5), np.random.default_rng(6)
    for t in range(400):
        k = 1 + t % 4
        pacer.record(rng.random(k), np.arange(k, dtype=float), float(rng.integers(0, k)))
    assert pacer.calls == 400
    assert pacer.price() >= 0


def test_values_that_are_not_finite_are_ignored() -> None:
    pacer = BudgetPacer(0.5)
    pacer.record([np.nan, 1], [0, 1], 1.0)
    pacer.record([0, 1], [0, np.inf], 1.0)
    pacer.record([0, 1], [0, 1], np.nan)
    pacer.record([0, 1, 2], [0, 1], 1.0)
    assert pacer.calls == 0
    assert math.isnan(pacer.mean_cost)
    assert pacer.price() > 0  # the cheapest, while nothing is known


def test_the_real_cost_replaces_what_was_booked() -> None:
    rng = np.random.default_rng(7)
    pacer, costs, paid = BudgetPacer(0.4), np.array([0.0, 1.0]), []
    for value in rng.random(4000):
        at = int(value - pacer.price() > 0)
        pacer.record([0.0, value], costs, float(costs[at]))
        pacer.settle(float(costs[at]), 2.0 * at)  # it costs twice as much as anybody says
        paid.append(2.0 * at)
    assert np.mean(paid) == pytest.approx(0.4, rel=0.02)
    assert pacer.mean_cost == pytest.approx(np.mean(paid))


def test_a_single_dear_call_does_not_make_the_next_ones_cheaper_than_they_need_to_be() -> None:
    rng = np.random.default_rng(8)
    costs, taken = np.array([0.0, 0.8, 25.0]), []
    pacer = BudgetPacer(1.0)
    for _ in range(4000):
        values = np.array([0.0, 0.13 + 0.05 * rng.standard_normal(), 0.14 + 0.05 * rng.standard_normal()])
        taken.append(int(np.argmax(values - pacer.price() * costs)))
        pacer.record(values, costs, float(costs[taken[-1]]))
    counts = np.bincount(taken[1000:], minlength=3) / 3000
    assert counts[0] < 0.04  # calls that the second route answers better, within the budget
    assert counts[2] > 0.003
    assert costs[taken].mean() < 1.02


def test_what_is_not_spent_is_not_saved_up_without_end() -> None:
    pacer, costs = BudgetPacer(0.5), np.array([0.0, 1.0])
    for _ in range(2000):
        pacer.record([0.1, 0.0], costs, 0.0)
    rng = np.random.default_rng(9)
    late = spend(pacer, np.stack([np.zeros(1000), 0.5 + rng.random(1000)], axis=1), costs)
    assert late.mean() < 0.54


@pytest.mark.parametrize("budget", [-0.1, float("nan"), float("inf")])
def test_a_budget_without_meaning_is_refused(budget: float) -> None:
    with pytest.raises(ConfigError):
        BudgetPacer(budget)


@pytest.mark.parametrize("budget", [5e-324, 1e-200, 1e-12, 1e300, 1.7e308])
def test_the_smallest_and_the_largest_budget_have_a_price(budget: float) -> None:
    pacer = BudgetPacer(1.0)
    for paced in (BudgetPacer(budget), pacer):
        paced.resume(budget, 0.0)
        for _ in range(40):
            assert 0 <= paced.price() < math.inf
            paced.record([0.5, 0.9], [0.0, 1.0], 1.0)
            paced.note()
            paced.settle(0.0, 0.5)
