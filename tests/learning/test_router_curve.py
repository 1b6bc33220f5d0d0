"""Where outcomes are yes or no, differences between routes count by how hard the question is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.routing.exploration import Exploration
from sona_pg.learning.routing.router import RouterState, decide
from sona_pg.learning.routing.router_curve import curved
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit, revise, withdraw

DIM = 16
BOTH = np.array([0, 1])
SMALL = RouterConfig(landmarks=100, width=60)
GREEDY = Exploration(temperature=0.0, floor=0.0, newcomer=0.0, warm_up=1e-9)


def queries(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def chances(x: np.ndarray) -> np.ndarray:
    """Return (n, 2) chances of a yes: a question is easy or hard, and route 1 the better one by a constant logit."""
    ease = 10 * x[:, :1] + 1.5
    return np.asarray(1 / (1 + np.exp(-(ease + np.array([0.0, 1.5])))))


def answers(n: int, seed: int = 0) -> RouteEvents:
    rng = np.random.default_rng(seed)
    x, route = queries(rng, n), rng.integers(0, 2, n).astype(np.int32)
    return RouteEvents(x, route, (rng.random(n) < chances(x)[np.arange(n), route]).astype(np.float32))


def graded(events: RouteEvents) -> RouteEvents:
    return RouteEvents(events.query, events.route, 0.25 + 0.5 * events.quality)


@pytest.fixture(scope="module")
def state() -> RouterState:
    return fit(RouterState.initial(DIM), answers(1200), config=SMALL)


def linear(state: RouterState, x: np.ndarray) -> np.ndarray:
    return np.asarray(state.basis(x, None) @ state.weights[:2].T, np.float64)


def test_the_gain_of_the_better_route_is_ranked_by_what_the_question_allows(state: RouterState) -> None:
    x = queries(np.random.default_rng(1), 2000)
    truth = np.subtract(*chances(x).T[::-1])
    now, before = (np.corrcoef(np.subtract(*scores.T[::-1]), truth)[0, 1] for scores in (
        state.predict(x, None, BOTH), linear(state, x),
    ))  # fmt: skip
    assert now > before + 0.1
    assert now > 0.6


def test_the_order_of_candidates_and_their_mean_stay(state: RouterState) -> None:
    x = queries(np.random.default_rng(2), 500)
    now, before = state.predict(x, None, BOTH), linear(state, x)
    assert np.abs(now - before).max() > 0.02
    assert (np.sign(now[:, 1] - now[:, 0]) == np.sign(before[:, 1] - before[:, 0])).all()
    assert now.mean(axis=1) == pytest.approx(before.mean(axis=1), abs=1e-6)
    assert state.predict(x, None, BOTH[:1])[:, 0] == pytest.approx(before[:, 0], abs=1e-6)


def test_one_decision_expects_what_a_prediction_says(state: RouterState) -> None:
    x = queries(np.random.default_rng(3), 1)
    choice = decide(state, x[0], BOTH, np.random.default_rng(0), exploration=GREEDY)
    assert choice.scores == pytest.approx(state.predict(x, None, BOTH)[0], abs=1e-6)


def test_marks_between_no_and_yes_leave_differences_as_the_linear_model_has_them() -> None:
    events = answers(600)
    marked = fit(RouterState.initial(DIM), graded(events), config=SMALL)
    assert not marked.curve.any()
    x = queries(np.random.default_rng(4), 50)
    assert marked.predict(x, None, BOTH) == pytest.approx(linear(marked, x))
    few = events.quality.copy()
    few[::20] = 0.5  # one mark in twenty is none
    assert fit(RouterState.initial(DIM), RouteEvents(events.query, events.route, few), config=SMALL).curve.any()


def test_what_data_have_said_stays() -> None:
    scores, curve = np.array([[0.9, 0.98]]), np.array([-2.0, 4.0, 5.0])
    unknown, half, known = (curved(curve, 0.02, scores, np.full((1, 2), share * 0.02)) for share in (1.0, 0.5, 0.0))
    assert known == pytest.approx(scores)
    gains = [float(part[0, 1] - part[0, 0]) for part in (unknown, half, known)]
    assert gains[0] < gains[1] < gains[2]
    assert gains[1] == pytest.approx((gains[0] + gains[2]) / 2)
    assert curved(curve, 0.02, scores, np.full((1, 2), 9.0)) == pytest.approx(unknown)


def test_a_state_without_a_curve_is_read_and_gets_one_with_its_next_events(state: RouterState) -> None:
    stored = {name: array for name, array in state.to_arrays().items() if name != "curve"}
    old = RouterState.from_arrays(stored)
    x = queries(np.random.default_rng(5), 50)
    assert old.predict(x, None, BOTH) == pytest.approx(linear(state, x))
    more = answers(50, seed=6)
    assert fit(old, more, config=SMALL).curve.tolist() == fit(state, more, config=SMALL).curve.tolist()
    assert RouterState.from_arrays(state.to_arrays()).curve.tolist() == state.curve.tolist()


def test_revised_and_withdrawn_outcomes_change_the_curve_as_if_they_had_been_so(state: RouterState) -> None:
    events = answers(1200)
    more = replace(graded(answers(1200, seed=7)), learned=np.full(1200, 2, np.int32))
    assert not revise(state, graded(events), events.quality).curve.any()
    mixed = fit(state, more, answers(1200), SMALL, version=2)
    assert not mixed.curve.any()
    assert withdraw(mixed, more).curve[2] == pytest.approx(state.curve[2], rel=0.1)
    assert not withdraw(state, events).curve.any()


def test_routes_that_always_or_never_succeed_keep_finite_scores() -> None:
    events = answers(300)
    for quality in (0.0, 1.0):
        same = RouteEvents(events.query, events.route, np.full(300, quality, np.float32))
        one = fit(RouterState.initial(DIM), same, config=SMALL)
        assert np.isfinite(one.curve).all()
        assert one.predict(events.query, None, BOTH) == pytest.approx(quality, abs=0.1)


@pytest.mark.parametrize("good", [1.0, 0.99, 0.97, 0.9, 0.1, 0.01, 0.0])
def test_an_untried_route_beside_one_that_nearly_always_does_the_same_is_expected_within_bounds(good: float) -> None:
    rng = np.random.default_rng(9)
    x = queries(rng, 300)
    events = RouteEvents(x, np.zeros(300, np.int32), (rng.random(300) < good).astype(np.float32))
    state = fit(RouterState.initial(DIM), events, config=SMALL)
    new = queries(rng, 200)
    scores, straight = state.predict(new, None, BOTH), linear(state, new)
    assert scores.max() <= max(1.0, straight.max()) + 1e-6
    assert scores.min() >= min(0.0, straight.min()) - 1e-6
    choice = decide(state, new[0], BOTH, np.random.default_rng(0), exploration=GREEDY)
    assert choice.scores == pytest.approx(scores[0], abs=1e-6)
