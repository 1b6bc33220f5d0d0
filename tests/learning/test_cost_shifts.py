"""A price that changes without notice is noticed by a server's next calls, and forgotten by the next cycle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sona_pg.learning.routing.cost_shifts import CostShifts
from sona_pg.learning.routing.exploration import IMPLAUSIBLE, Exploration
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router import RouterState, expected_costs
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit
from sona_pg.serving.route_chooser import RouteChooser

DIM, CONFIG = 8, RouterConfig(landmarks=60, width=30)
NAMES = ("cheap", "dear")
LIST = {"cheap": 0.1, "dear": 5.0}


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def events(n: int, seed: int, factor: float = 1.0) -> RouteEvents:
    """Calls of a cheap route of quality .7 and a dear one of .9, whose price is ``factor`` times the list's."""
    rng = np.random.default_rng(seed)
    route = rng.integers(0, 2, n).astype(np.int32)
    quality = np.where(route == 1, 0.9, 0.7) + 0.05 * rng.standard_normal(n)
    price = np.where(route == 1, factor * LIST["dear"], LIST["cheap"])
    paid = price * rng.lognormal(-0.125, 0.5, n)
    estimate = np.where(route == 1, LIST["dear"], LIST["cheap"])
    return RouteEvents(
        unit(rng, n), route, quality.clip(0, 1).astype(np.float32),
        cost=estimate.astype(np.float32), paid=paid.astype(np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(fit(RouterState.initial(DIM), events(600, 0), config=CONFIG), NAMES, {"cheap": 0, "dear": 1})


def dear(state: RouterState) -> float:
    """Return the mean cost to expect of the dear route."""
    x = unit(np.random.default_rng(9), 50)
    rows = state.rows_of(np.array([0, 1]))
    return float(np.mean([expected_costs(state, rows, phi, None)[1] for phi in state.basis(x, None)]))


@pytest.mark.parametrize("factor", [0.01, 0.1, 10.0])
def test_a_price_that_changes_is_noticed_after_two_calls(router: Router, factor: float) -> None:
    shifts, rng = CostShifts(), np.random.default_rng(1)
    for _ in range(30):
        shifts.tell("dear", 5.0, 5.0 * rng.lognormal(-0.125, 0.5))
    assert shifts.applied(router) is router
    told = [shifts.tell("dear", 5.0, factor * 5.0 * rng.lognormal(-0.125, 0.5)) for _ in range(3)]
    assert any(told)
    assert dear(shifts.applied(router).state) / dear(router.state) == pytest.approx(factor, rel=0.7)
    assert shifts.factor("dear") == pytest.approx(factor, rel=0.7)
    for _ in range(40):  # a cycle has learned it: real costs are as expected again
        shifts.tell("dear", 5.0 * factor, 5.0 * factor * rng.lognormal(-0.125, 0.5))
    assert abs(math.log(dear(shifts.applied(router).state) / dear(router.state))) < 0.4


def test_usual_noise_is_no_change_of_price(router: Router) -> None:
    shifts, rng, shifted = CostShifts(), np.random.default_rng(2), 0
    for _ in range(2000):
        shifts.tell("dear", 5.0, 5.0 * rng.lognormal(-0.18, 0.6))
        shifts.applied(router)
        shifted += shifts.factor("dear") != 1.0
    assert shifted < 60
    assert not shifts.tell("dear", 0.0, 1.0)  # says nothing of a ratio
    assert not shifts.tell("dear", 1.0, math.inf)


def test_the_estimates_of_a_route_without_learned_costs_are_corrected(router: Router) -> None:
    rng = np.random.default_rng(3)
    bare = fit(RouterState.initial(DIM), RouteEvents(unit(rng, 200), np.arange(200) % 2, np.full(200, 0.5, np.float32)),
               config=CONFIG)  # fmt: skip
    shifts = CostShifts()
    for _ in range(3):
        shifts.tell("dear", 5.0, 0.5)
    state = shifts.applied(Router(bare, NAMES, {"cheap": 0, "dear": 1})).state
    phi = state.basis(unit(rng, 1), None)[0]
    assert expected_costs(state, state.rows_of(np.array([0, 1])), phi, np.array([0.1, 5.0])) == pytest.approx(
        [0.1, 0.5], rel=0.4
    )


def test_a_price_cut_is_used_before_a_cycle_learns_it(router: Router) -> None:
    chooser, rng = RouteChooser(1, lambda key, names: True), np.random.default_rng(4)
    shares = []
    for factor in (1.0, 0.01):
        chosen = []
        for x in unit(rng, 400):
            decision = chooser.choose(
                router, 1, x, NAMES, features=None, costs=LIST, budget=0.5, cost_weight=0.0, latency_weight=0.0
            )
            assert decision.account is not None
            price = LIST[decision.route] * (factor if decision.route == "dear" else 1.0)
            decision.account.ended(0.9 if decision.route == "dear" else 0.7, price * rng.lognormal(-0.125, 0.5))
            chosen.append(decision.route == "dear")
        shares.append(np.mean(chosen[-200:]))
    assert shares[0] < 0.15
    assert shares[1] > 0.9


@pytest.mark.parametrize("factor", [0.02, 3.0])
def test_a_cycle_forgets_costs_that_no_longer_hold(router: Router, factor: float) -> None:
    later = fit(router.state, events(100, 5, factor), config=CONFIG)
    assert dear(later) == pytest.approx(factor * LIST["dear"], rel=0.3)
    phi = later.basis(unit(np.random.default_rng(9), 50), None)
    cheap = [expected_costs(later, later.rows_of(np.array([0, 1])), row, None)[0] for row in phi]
    assert np.mean(cheap) == pytest.approx(LIST["cheap"], rel=0.2)


def test_a_cycle_keeps_costs_that_hold(router: Router) -> None:
    later = fit(router.state, events(400, 6), config=CONFIG)
    rows = events(400, 6).route == 1
    assert later.paid[1, 0, 1, 0] == pytest.approx(router.state.paid[1, 0, 1, 0] + rows.sum())


def test_money_is_not_spent_on_exploring_what_can_hardly_be_the_best() -> None:
    explored = Exploration()
    plausible = explored.plausible(np.array([0.9, 0.6, 0.6, 0.88]), np.array([0.05, 0.05, 0.5, 0.05]))
    assert plausible == pytest.approx([1.0, IMPLAUSIBLE, math.exp(-0.18), math.exp(-0.08)])
    count = np.array([1000.0, 60.0, 60.0, 60.0])
    free, paced = explored.forced(count, np.ones(4)), explored.forced(count, plausible, np.full(4, np.inf), paced=True)
    assert (paced > 0).all()
    assert paced[1] < 0.1 * free[1]
