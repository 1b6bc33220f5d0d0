"""Invariants of the router: of one decision, and of the state behind it."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.errors import ConfigError, DimensionMismatch, LearningError
from sona_pg.learning.routing.exploration import AGAIN, Exploration, slack_of, thompson_probabilities
from sona_pg.learning.routing.router import RouterState, Utility, decide
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import fit

DIM = 12
GREEDY = Exploration(temperature=0.0, floor=0.0, newcomer=0.0, warm_up=1e-9)


def unit(rng: np.random.Generator, n: int, dim: int = DIM) -> np.ndarray:
    x = rng.standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def taught(seed: int = 0, n: int = 1500) -> RouterState:
    """Two routes: 0 is right where the first coordinate is positive, 1 where it is negative."""
    rng = np.random.default_rng(seed)
    x, route = unit(rng, n), rng.integers(0, 2, n).astype(np.int32)
    right = np.where(route == 0, x[:, 0] > 0, x[:, 0] <= 0)
    quality = (rng.random(n) < np.where(right, 0.9, 0.2)).astype(np.float32)
    cost = np.where(route == 0, 0.0, 1.0).astype(np.float32)
    return fit(RouterState.initial(DIM), RouteEvents(x, route, quality, cost=cost, latency=cost + 1))


@pytest.fixture(scope="module")
def state() -> RouterState:
    return taught()


def test_a_fresh_state_explores_all_candidates_evenly() -> None:
    rng = np.random.default_rng(1)
    choice = decide(RouterState.initial(DIM), unit(rng, 1)[0], [3, 0, 7], rng)
    assert choice.probabilities == pytest.approx([1 / 3] * 3)
    assert choice.reason == "warm-up"
    assert choice.route in (3, 0, 7)


def test_the_better_route_is_chosen_after_learning(state: RouterState) -> None:
    rng = np.random.default_rng(2)
    x = unit(rng, 400)
    x = x[np.abs(x[:, 0]) > 0.2]
    chosen = np.array([decide(state, q, [0, 1], rng, exploration=GREEDY).route for q in x])
    assert np.mean(chosen == np.where(x[:, 0] > 0, 0, 1)) > 0.9


def test_propensities_are_the_frequencies_of_the_draws(state: RouterState) -> None:
    rng = np.random.default_rng(3)
    x = unit(rng, 1)[0] * 1.0
    eager = Exploration(temperature=1.0, floor=0.3)
    draws = [decide(state, x, [0, 1, 5], rng, exploration=eager) for _ in range(4000)]
    assert all(d.probabilities == pytest.approx(draws[0].probabilities) for d in draws)
    for at, route in enumerate((0, 1, 5)):
        drawn = [d for d in draws if d.route == route]
        assert len(drawn) / 4000 == pytest.approx(draws[0].probabilities[at], abs=0.03)
        assert all(d.propensity == pytest.approx(d.probabilities[at]) for d in drawn)


def test_every_propensity_is_positive_even_on_a_tiny_budget(state: RouterState) -> None:
    rng = np.random.default_rng(4)
    for q in unit(rng, 50):
        choice = decide(state, q, [0, 1, 2], rng, costs=[0.0, 1.0, 9.0], price=100.0, budget=0.01)
        assert choice.probabilities.min() > 0
        assert choice.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("dearest", [1.0, 1e5])
def test_forced_exploration_stakes_a_small_share_of_what_the_budget_leaves(dearest: float) -> None:
    costs, exploration = np.array([0.1, dearest]), Exploration()
    for count in (np.zeros(2), np.array([1000.0, 0.0]), np.full(2, 1e6)):
        slack = slack_of(costs, 0.0, 0.2)
        stakes = exploration.stakes(count, costs, np.zeros(2), price=0.0, slack=slack, paced=True)
        shares = exploration.forced(count, np.ones(2), stakes, paced=True)
        assert 0 < shares[1] * (dearest - 0.1) <= 0.11 * (0.2 - 0.1)


@pytest.mark.parametrize("weight", [1.0, 20.0])
def test_forced_exploration_with_a_weight_of_cost_stakes_a_small_share_of_the_best_quality(
    state: RouterState, weight: float
) -> None:
    rng = np.random.default_rng(5)
    costs = np.array([0.1, 1.1, 5.1])
    for known in (state, RouterState.initial(DIM)):
        for q in unit(rng, 20):
            choice = decide(known, q, [0, 1, 7], rng, costs=costs, utility=Utility(cost=weight))
            staked = weight * choice.probabilities * (costs - 0.1)
            likely = choice.probabilities > 0.5
            assert (staked[~likely] <= 0.106).all()
            assert weight == 1.0 or staked[2] < 0.0022  # it could not pay with the best quality
            assert (choice.probabilities > 0).all()


def test_a_weight_of_cost_that_hardly_counts_leaves_exploration_as_it_is(state: RouterState) -> None:
    rng = np.random.default_rng(9)
    for q in unit(rng, 20):
        without = decide(state, q, [0, 1, 9], rng, costs=[0.1, 1.1, 0.2]).probabilities
        hardly = decide(state, q, [0, 1, 9], rng, costs=[0.1, 1.1, 0.2], utility=Utility(cost=1e-6)).probabilities
        assert hardly == pytest.approx(without, abs=1e-3)


def test_a_route_that_can_hardly_be_the_best_for_a_query_is_left_while_the_other_kinds_are_explored() -> None:
    early, rng = taught(n=200), np.random.default_rng(11)
    clear = np.zeros((2, DIM), np.float32)
    clear[:, 0] = 1.0, -1.0
    wrong = [decide(early, q, [0, 1], rng).probabilities[1 - at] for at, q in enumerate(clear)]
    assert max(wrong) < 0.02  # .1 where the number of observations alone counts
    unclear = unit(rng, 1)
    unclear[0, 0] = 0.0
    assert decide(early, unclear[0], [0, 1], rng).probabilities.min() > 0.07


def test_what_can_hardly_be_the_best_keeps_its_share_of_the_floor_without_a_budget() -> None:
    exploration, count = Exploration(), np.full(4, 2000.0)
    plausible = np.array([1.0, 0.05, 0.05, 0.05])
    free = exploration.forced(count, plausible)
    paced = exploration.forced(count, plausible, paced=True)
    assert (free[1:] >= 0.02 / 4 - 1e-12).all()
    assert (paced[1:] < free[1:]).all()


def test_exploration_under_a_budget_falls_with_an_ignorance_of_its_own() -> None:
    count = np.array([25.0, 50.0])
    assert Exploration().ignorance(count) == pytest.approx([1 / 2, 1 / 3])
    assert Exploration().ignorance(count, paced=True) == pytest.approx([2 / 3, 1 / 2])
    changed = Exploration(warm_up=5.0)
    paced = changed.forced(count, np.ones(2), paced=True)
    assert np.array_equal(paced, Exploration().forced(count, np.ones(2), paced=True))


def test_routes_whose_quality_has_shifted_share_a_bounded_part_of_the_calls_while_plausible() -> None:
    exploration, count = Exploration(), np.full(4, 5000.0)
    plausible, shifted = np.array([1.0, 0.8, 0.05, 0.8]), np.array([False, True, True, False])
    usual, again = exploration.forced(count, plausible), exploration.forced(count, plausible, shifted=shifted)
    assert again[1:3] == pytest.approx([AGAIN / 2 * 0.8, max(AGAIN / 2 * 0.05, usual[2])])
    assert again[[0, 3]] == pytest.approx(usual[[0, 3]])
    paced = exploration.forced(count, plausible, shifted=shifted, paced=True)
    assert np.array_equal(paced, exploration.forced(count, plausible, paced=True))


def test_a_newcomer_gets_a_bounded_share_from_proven_routes(state: RouterState) -> None:
    rng = np.random.default_rng(5)
    shares = [decide(state, q, [0, 1, 9], rng).probabilities[2] for q in unit(rng, 100)]
    assert 0.05 < np.mean(shares) < 0.25


def test_cost_and_latency_are_weighed_against_quality(state: RouterState) -> None:
    rng = np.random.default_rng(6)
    q = -np.eye(DIM, dtype=np.float32)[0]  # route 1 is better here, dearer and slower
    assert decide(state, q, [0, 1], rng, exploration=GREEDY).route == 1
    assert decide(state, q, [0, 1], rng, costs=[0, 1], utility=Utility(cost=2), exploration=GREEDY).route == 0
    assert decide(state, q, [0, 1], rng, utility=Utility(cost=2), exploration=GREEDY).route == 0
    assert decide(state, q, [0, 1], rng, utility=Utility(latency=2), exploration=GREEDY).route == 0
    assert decide(state, q, [0, 1], rng, costs=[0, 1], price=2.0, exploration=GREEDY).route == 0


def test_the_only_candidate_is_taken_for_certain(state: RouterState) -> None:
    choice = decide(state, np.ones(DIM), [4], np.random.default_rng(0))
    assert (choice.route, choice.propensity, choice.reason) == (4, 1.0, "only candidate")


def test_fifty_candidates_and_a_zero_query_work(state: RouterState) -> None:
    choice = decide(state, np.zeros(DIM), np.arange(50), np.random.default_rng(0))
    assert choice.probabilities.sum() == pytest.approx(1)
    assert choice.probabilities.min() > 0


@pytest.mark.parametrize(
    ("query", "candidates", "costs", "error"),
    [
        (np.ones(DIM), [], None, LearningError),
        (np.ones(DIM), [[0, 1]], None, LearningError),
        (np.full(DIM, np.nan), [0, 1], None, LearningError),
        (np.full(DIM, np.inf), [0, 1], None, LearningError),
        (np.ones(DIM + 1), [0, 1], None, DimensionMismatch),
        (np.ones(DIM), [0, 1], [0.0], LearningError),
        (np.ones(DIM), [0, 1], [0.0, np.nan], LearningError),
    ],
)
def test_a_question_without_meaning_is_refused(
    state: RouterState,
    query: np.ndarray,
    candidates: list[int],
    costs: list[float] | None,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        decide(state, query, candidates, np.random.default_rng(0), costs=costs)


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"temperature": -1.0},
        {"floor": 2.0},
        {"warm_up": 0.0},
        {"paced_warm_up": 0.0},
        {"newcomer": float("nan")},
    ):
        with pytest.raises(ConfigError):
            Exploration(**wrong)
    with pytest.raises(ConfigError):
        Utility(cost=float("inf"))
    for dim in (0, 16_001):
        with pytest.raises(ConfigError):
            RouterState.initial(dim)


def test_stored_arrays_give_back_an_equal_state(state: RouterState) -> None:
    again = RouterState.from_arrays({name: a.copy() for name, a in state.to_arrays().items()})
    for name, array in state.to_arrays().items():
        assert np.array_equal(array, again.to_arrays()[name]), name
    q = unit(np.random.default_rng(0), 5)
    assert np.array_equal(state.predict(q, None, np.arange(3)), again.predict(q, None, np.arange(3)))


def test_a_stored_state_that_lacks_an_array_names_it(state: RouterState) -> None:
    arrays = state.to_arrays()
    del arrays["gram"]
    with pytest.raises(LearningError, match="gram"):
        RouterState.from_arrays(arrays)


def test_a_person_can_read_the_routes(state: RouterState) -> None:
    weak, strong = state.statistics()
    assert weak.observations + strong.observations == 1500
    assert 0.4 < weak.quality < 0.7
    assert weak.uncertainty < 0.03
    assert (weak.cost, strong.cost) == (0.0, 1.0)
    assert (weak.latency, strong.latency) == (1.0, 2.0)


def test_thompson_probabilities_agree_with_draws() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = np.array([0.5, 0.6, 0.2, 0.55]), np.array([0.1, 0.05, 0.3, 0.01])
    wins = np.argmax(mean + deviation * rng.standard_normal((200_000, 4)), axis=1)
    expected = np.bincount(wins, minlength=4) / 200_000
    assert thompson_probabilities(mean, deviation) == pytest.approx(expected, abs=0.02)


def test_thompson_without_doubt_takes_the_best_and_splits_ties() -> None:
    assert thompson_probabilities(np.array([0.1, 0.3]), np.zeros(2)) == pytest.approx([0, 1])
    assert thompson_probabilities(np.zeros(4), np.zeros(4)) == pytest.approx([0.25] * 4)
