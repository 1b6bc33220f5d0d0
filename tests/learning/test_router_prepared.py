"""One compiled call decides as the readable version does, and draws the route by its reported propensity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.domain.answer import Decision
from sona_pg.errors import InvalidValue
from sona_pg.learning.routing.exploration import Exploration, thompson_probabilities
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router import USUAL, RouterState, Utility, decide
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit
from sona_pg.learning.routing.router_prepared import prepared_router
from sona_pg.serving.route_chooser import RouteChooser
from tests.learning.routing_kernels import preferring

DIM, ROUTES = 24, 6


def rows_of(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


KINDS = {
    "no features": (0, True, 0.0), "3 features": (3, True, 0.0), "marks": (3, False, 0.0),
    "linear part": (0, True, 0.5), "linear part, 3 features": (3, True, 0.5),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def state(request: pytest.FixtureRequest) -> RouterState:
    width, is_yes_or_no, linear = request.param
    rng = np.random.default_rng(0)
    n = 600
    x, route = rows_of(rng, n), rng.integers(0, ROUTES, n).astype(np.int32)
    features = rng.standard_normal((n, width)).astype(np.float32) if width else None
    quality = (rng.random(n) < 0.5 + 0.4 * x[:, 0] * (route - 2.5)).astype(np.float32)
    quality = quality if is_yes_or_no else 0.2 + 0.6 * quality
    cost, latency = (0.1 + route).astype(np.float32), (1000 * (1 + route)).astype(np.float32)
    paid = (cost * (1 + 0.5 * x[:, 0]) * rng.choice([1, 1, np.nan], n)).astype(np.float32)
    paid[route == 4] = np.nan  # nobody has told what this one really costs
    events = RouteEvents(x, route, quality, features=features, cost=cost, latency=latency, paid=paid)
    with preferring(linear):
        made = fit(RouterState.initial(DIM), events, config=RouterConfig(landmarks=150, width=70))
    assert made.basis.linear == linear
    assert bool(made.curve.any()) == is_yes_or_no
    return made


@pytest.fixture(params=kernels.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.use_isa(request.param)
    yield request.param
    kernels.use_isa(before)


class Drawn:
    """A random stream of one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


@pytest.mark.parametrize("exploration", [USUAL, Exploration(temperature=1.0, floor=0.1, newcomer=0.2)])
def test_one_call_decides_as_the_readable_version(isa: str, state: RouterState, exploration: Exploration) -> None:
    rng = np.random.default_rng(1)
    shifted = [1, 4]
    block = prepared_router(state, exploration, shifted)
    width, other = len(state.basis.feature_mean), 0
    for turn in range(120):
        k = int(rng.integers(1, 14))
        routes = rng.permutation(14)[:k]
        features = rng.standard_normal(width).astype(np.float32) * 3 if width and turn % 3 else None
        costs = tuple(rng.random(k).tolist()) if turn % 2 else None
        price, budget = (float(rng.random()), float(rng.random())) if costs else (0.0, None)
        utility = Utility(float(rng.choice([0.3, 3.0])), 1e-5) if turn % 5 == 0 else Utility()
        query, draw = rows_of(rng, 1)[0], float(rng.random())
        made = block.decide(
            2 * query, features, state.rows_of(routes).astype(np.int64), costs, price, budget, utility.cost,
            utility.latency, draw,
        )  # fmt: skip
        assert made is not None
        place, propensity, reason, scores, values, expected_costs = made
        expected = decide(
            state, query, routes, Drawn(draw), features, costs, price, budget, utility, exploration, shifted  # type: ignore[arg-type]
        )  # fmt: skip
        assert scores == pytest.approx(expected.scores, abs=1e-5)
        assert values == pytest.approx(expected.values, abs=2e-5)
        worth = expected.values - price * expected.costs
        equals = expected.probabilities[np.abs(worth - worth[place]) < 1e-5]  # among them rounding decides
        assert equals.min() - 3e-3 <= propensity <= equals.max() + 3e-3
        assert expected_costs == pytest.approx(expected.costs, abs=1e-5)
        net = np.sort(worth)
        if routes[place] == expected.route and (k == 1 or net[-1] - net[-2] > 1e-5):
            assert reason == expected.reason
        other += routes[place] != expected.route
    assert other <= 1  # a draw that falls between two roundings


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-7])
def test_chances_of_routes_that_are_known_unequally_well_are_those_of_the_readable_version(
    state: RouterState, spread: float
) -> None:
    rng, exploration = np.random.default_rng(2), Exploration(temperature=1.0, floor=0.0, newcomer=0.0)
    for _ in range(40):
        known = spread ** rng.random((ROUTES + 1, 1))
        unequal = dataclasses.replace(state, variance=(state.variance * known).astype(np.float32), prior_route=1e-12)
        query, routes, draw = rows_of(rng, 1)[0], rng.permutation(ROUTES + 3), float(rng.random())
        block, rows = prepared_router(unequal, exploration), unequal.rows_of(routes).astype(np.int64)
        made = block.decide(query, None, rows, None, 0.0, None, 0.0, 0.0, draw)
        assert made is not None
        expected = decide(unequal, query, routes, Drawn(draw), exploration=exploration)  # type: ignore[arg-type]
        assert made[1] == pytest.approx(expected.probabilities[made[0]], abs=1e-3)


def test_a_fresh_router_is_prepared_as_well(isa: str) -> None:
    block = prepared_router(RouterState.initial(DIM))
    made = block.decide(np.ones(DIM, np.float32), None, np.zeros(4, np.int64), None, 0.0, None, 0.0, 0.0, 0.6)
    assert made is not None
    assert made[:3] == (2, pytest.approx(0.25), "warm-up")


def test_propensities_are_the_shares_of_the_draws(state: RouterState) -> None:
    block = prepared_router(state, Exploration(temperature=1.0, floor=0.2))
    query, rows, n = rows_of(np.random.default_rng(5), 1)[0], np.arange(5), 20_000
    drawn = np.zeros(5)
    told = np.zeros(5)
    for draw in (np.arange(n) + 0.5) / n:
        made = block.decide(query, None, rows, None, 0.0, None, 0.0, 0.0, float(draw))
        assert made is not None
        drawn[made[0]] += 1 / n
        told[made[0]] = made[1]
    assert told.sum() == pytest.approx(1, abs=1e-9)
    assert drawn == pytest.approx(told, abs=2 / n)


def test_a_clear_decision_has_the_propensity_of_the_integral(state: RouterState) -> None:
    """Far contenders and near ones, many and few: the compiled integral is the readable one's."""
    rng = np.random.default_rng(6)
    greedy = Exploration(temperature=1.0, floor=0.0, newcomer=0.0, warm_up=1e-9)
    block = prepared_router(state, greedy)
    for k in (2, 3, 8, 12):
        query, rows = rows_of(rng, 1)[0], rng.integers(0, ROUTES, k)
        chosen = decide(state, query, rows, Drawn(0.0), exploration=greedy)  # type: ignore[arg-type]
        phi = state.basis(query[None, :], None)[0]
        beyond = state.prior_route * max(0.0, 1.0 - float(phi[1:] @ phi[1:]))
        spread = np.sqrt(state.variance[rows] @ (phi * phi) + beyond).astype(np.float64)
        assert chosen.probabilities == pytest.approx(thompson_probabilities(chosen.values, spread), abs=1e-6)
        seen = {}
        for draw in np.linspace(0, 0.999, 200):
            made = block.decide(query, None, rows, None, 0.0, None, 0.0, 0.0, float(draw))
            assert made is not None
            seen[made[0]] = made[1]
        for place, propensity in seen.items():
            assert propensity == pytest.approx(chosen.probabilities[place], abs=2e-5)


@pytest.mark.parametrize("dim", [DIM, 1100])
def test_a_chooser_draws_by_its_reported_propensities(dim: int) -> None:
    """Also of embeddings that the router reduces; the same seed gives the same decisions."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((200, dim)).astype(np.float32)
    routes = rng.integers(0, 3, 200).astype(np.int32)
    quality = (rng.random(200) < 0.3 + 0.2 * routes).astype(np.float32)
    events = RouteEvents((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), routes, quality)
    state = fit(RouterState.initial(dim), events)
    router = Router(state, ("a", "b", "c"), {"a": 0, "b": 1, "c": 2})

    def decisions() -> list[Decision]:
        chooser = RouteChooser(7, lambda key, names: True)
        usual: dict[str, Any] = {"features": None, "costs": None, "budget": None, "cost_weight": 0, "latency_weight": 0}
        return [chooser.choose(router, 1, x[0], ["c", "a", "new"], **usual) for _ in range(3000)]

    drawn = decisions()
    assert [(d.route, d.propensity) for d in decisions()] == [(d.route, d.propensity) for d in drawn]
    told = {d.route: d.propensity for d in drawn}
    assert sum(told.values()) == pytest.approx(1)
    for name, propensity in told.items():
        share = np.mean([d.route == name for d in drawn])
        assert share == pytest.approx(propensity, abs=4 * (propensity * (1 - propensity) / 3000) ** 0.5)
    expected = decide(state, x[0], [2, 0, 3], np.random.default_rng(0))
    assert list(drawn[0].scores.values()) == pytest.approx(expected.scores, abs=1e-5)


def test_invalid_arguments_are_refused(state: RouterState) -> None:
    block, query = prepared_router(state), np.ones(DIM, np.float32)
    for rows in (np.zeros(0, np.int64), np.array([-1]), np.array([state.route_count + 1])):
        with pytest.raises(InvalidValue):
            block.decide(query, None, rows, None, 0.0, None, 0.0, 0.0, 0.5)
    assert block.decide(np.zeros(DIM, np.float32), None, np.array([0]), None, 0.0, None, 0.0, 0.0, 0.5) is None
    assert block.dim == DIM
