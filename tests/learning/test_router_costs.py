"""The router learns what routes really cost, for each query, and forgets it as it forgets a quality."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.learning.routing.router import RouterState, expected_costs
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit, revise, withdraw

DIM, CONFIG = 12, RouterConfig(landmarks=100, width=50)


def events(n: int, seed: int, *, estimate: float = np.nan, told: float = 1.0) -> RouteEvents:
    """Calls of routes 0 and 1, of which 1 costs ten times as much; the first axis says how long the answer gets."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    route = rng.integers(0, 2, n).astype(np.int32)
    paid = np.where(route == 1, 10.0, 1.0) * (1 + 0.8 * x[:, 0])
    paid[rng.random(n) > told] = np.nan
    quality = rng.random(n).astype(np.float32)
    return RouteEvents(x, route, quality, cost=np.full(n, estimate, np.float32), paid=paid.astype(np.float32))


def costs_of(state: RouterState, asked: RouteEvents, estimates: list[float] | None = None) -> np.ndarray:
    """Return the cost to expect of routes 0, 1 and an unknown one for each query, (n, 3)."""
    row = state.rows_of(np.array([0, 1, 7]))
    given = None if estimates is None else np.array(estimates)
    return np.stack([expected_costs(state, row, phi, given) for phi in state.basis(asked.query, None)])


def errors(state: RouterState, estimates: list[float] | None = None) -> tuple[float, float]:
    """Return the mean squared relative error of the expected costs, and of the best constant."""
    asked = events(400, 99)
    costs = costs_of(state, asked, estimates)[np.arange(400), asked.route]
    assert asked.paid is not None
    apart = costs / np.where(asked.route == 1, 10.0, 1.0)
    truth = asked.paid / np.where(asked.route == 1, 10.0, 1.0)
    return float(np.mean((apart - truth) ** 2)), float(truth.var())


@pytest.mark.parametrize("told", [1.0, 0.5])
def test_the_cost_of_a_query_is_learned_without_estimates(told: float) -> None:
    state = fit(RouterState.initial(DIM), events(800, 0, told=told), config=CONFIG)
    ours, constant = errors(state)
    assert ours < 0.5 * constant


def test_estimates_are_corrected_by_the_ratio_that_was_seen() -> None:
    state = fit(RouterState.initial(DIM), events(800, 1, estimate=4.0), config=CONFIG)
    ours, constant = errors(state, [4.0, 4.0, 4.0])
    assert ours < 0.5 * constant
    asked = events(5, 2)
    assert costs_of(state, asked, [2.0, 2.0, 2.0])[:, :2] == pytest.approx(costs_of(state, asked, [4.0] * 3)[:, :2] / 2)
    assert (costs_of(state, asked, [4.0] * 3)[:, 2] == 4.0).all()  # nothing is known of its errors


def test_without_real_costs_estimates_are_taken_as_they_are() -> None:
    state = fit(RouterState.initial(DIM), events(300, 3, estimate=2.0, told=0.0), config=CONFIG)
    assert costs_of(state, events(3, 4), [1.0, 5.0, 9.0]).tolist() == [[1.0, 5.0, 9.0]] * 3
    assert costs_of(state, events(3, 4)) == pytest.approx(np.full((3, 3), 2.0))


def test_a_cost_is_never_expected_to_be_negative() -> None:
    state = fit(RouterState.initial(DIM), events(500, 5), config=CONFIG)
    assert (costs_of(state, events(2000, 6)) > 0).all()


def test_costs_that_are_taken_back_leave_no_trace() -> None:
    kept, gone = events(300, 7), events(100, 8, estimate=3.0)
    clean = fit(RouterState.initial(DIM), kept, config=CONFIG)
    both = withdraw(fit(clean, gone, config=CONFIG), gone)
    assert both.paid == pytest.approx(clean.paid, abs=1e-6)
    assert both.cost_weights == pytest.approx(clean.cost_weights, abs=1e-3)
    assert np.array_equal(both.least < 0, clean.least < 0)


def test_a_cost_that_is_told_later_counts_as_if_it_had_been_known() -> None:
    known = events(300, 9)
    assert known.paid is not None
    silent = dataclasses.replace(known, paid=np.full(300, np.nan, np.float32))
    at_once = fit(RouterState.initial(DIM), known, config=CONFIG)
    later = revise(fit(RouterState.initial(DIM), silent, config=CONFIG), known, known.quality, silent.paid)
    assert later.paid == pytest.approx(at_once.paid, abs=1e-9)
    assert later.cost_weights == pytest.approx(at_once.cost_weights, abs=1e-5)
    assert later.totals == pytest.approx(at_once.totals)


def test_a_state_of_before_costs_were_learned_can_be_read() -> None:
    state = fit(RouterState.initial(DIM), events(200, 10, told=0.0), config=CONFIG)
    arrays = {name: value for name, value in state.to_arrays().items() if name not in ("paid", "cost_weights", "least")}
    read = RouterState.from_arrays(arrays)
    for name, value in state.to_arrays().items():
        assert np.array_equal(read.to_arrays()[name], value)
