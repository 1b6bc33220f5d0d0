"""From a trajectory to a gradient: advantages, baselines, directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.baseline import PRIOR_WEIGHT, SHRINKAGE, Baseline
from sona_pg.learning.adapters.signal import (
    PRIOR_RETURN,
    LearningSignal,
    direction_gradient,
    returns,
    reward_to_go,
    unit,
)

RNG = np.random.default_rng(0)


def vector(dim: int = 8) -> np.ndarray:
    return RNG.standard_normal(dim).astype(np.float32)


def trajectory(quality: float | None, rewards: tuple[float, ...] = (0.0,)) -> QueryTrajectory:
    steps = tuple(TrajectoryStep(np.eye(8, dtype=np.float32)[1], None, reward) for reward in rewards)
    return QueryTrajectory(np.eye(8, dtype=np.float32)[0], steps, quality)


def test_the_gradient_is_that_of_the_cosine_by_finite_differences():
    y, a = vector().astype(np.float64), unit(vector())
    gradient = direction_gradient(y[None].astype(np.float32), a[None], np.ones(1, np.float32))[0]

    def cosine(at):
        return at @ a / np.linalg.norm(at)

    slow = [(cosine(y + 1e-6 * e) - cosine(y - 1e-6 * e)) / 2e-6 for e in np.eye(8)]
    np.testing.assert_allclose(gradient, slow, atol=1e-6)


def test_one_step_is_enough_and_good_and_bad_push_in_opposite_directions():
    good = LearningSignal.from_trajectory(trajectory(0.9))
    bad = LearningSignal.from_trajectory(trajectory(0.1))
    assert np.linalg.norm(good.gradient) > 0.1
    np.testing.assert_allclose(good.gradient, -bad.gradient, rtol=1e-5)


def test_a_trajectory_without_steps_or_without_any_outcome_has_no_gradient():
    assert not LearningSignal.from_trajectory(QueryTrajectory(vector(), (), 0.9)).gradient.any()
    assert not LearningSignal.from_trajectory(trajectory(None)).gradient.any()


def test_steps_of_another_dimension_are_passed_over():
    step = TrajectoryStep(np.ones(3, np.float32))
    assert not LearningSignal.from_trajectory(QueryTrajectory(vector(), (step,), 0.9)).gradient.any()


def test_a_huge_reward_counts_no_more_than_the_whole_scale():
    signal = LearningSignal.from_trajectory(trajectory(0.5, (1e30,)))
    assert signal.advantage == 1.0
    assert np.isfinite(signal.gradient).all()


def test_a_zero_output_has_no_direction_and_no_gradient():
    assert not direction_gradient(np.zeros((1, 8), np.float32), unit(vector())[None], np.ones(1, np.float32)).any()


def test_unit_survives_huge_and_tiny_and_zero_vectors():
    rows = np.stack([np.full(8, 3e38), np.full(8, 1e-38), np.zeros(8)]).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit(rows), axis=1), [1, 1, 0], atol=1e-5)
    assert unit(np.zeros((0, 8), np.float32)).shape == (0, 8)


def test_another_gradient_must_fit_and_be_finite():
    signal = LearningSignal.from_trajectory(trajectory(0.9))
    assert signal.with_gradient(np.ones(8, np.float32)).gradient.sum() == 8
    with pytest.raises(DimensionMismatch):
        signal.with_gradient(np.ones(7, np.float32))
    with pytest.raises(InvalidValue):
        signal.with_gradient(np.full(8, np.nan, np.float32))


def test_rewards_and_quality_are_blended_and_either_alone_counts_whole():
    values = returns(np.array([1.0, 1.0, np.nan, np.nan]), np.array([0.0, 0.0, 0.4, 0.0]), np.array([True, False] * 2))
    np.testing.assert_equal(values, [0.5, 1.0, 0.4, np.nan])


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=6), max_size=6))
def test_reward_to_go_is_the_mean_of_what_is_left(trajectories):
    owner = np.array([row for row, rewards in enumerate(trajectories) for _ in rewards], np.int64)
    flat = np.array([reward for rewards in trajectories for reward in rewards], np.float64)
    slow = [np.mean(rewards[at:]) for rewards in trajectories for at in range(len(rewards))]
    np.testing.assert_allclose(reward_to_go(owner, flat), slow, atol=1e-9)


def test_a_return_never_enters_its_own_baseline():
    gained = Baseline().advantages(np.array([0.9]), ["a"])
    assert gained == pytest.approx([0.9 - PRIOR_RETURN])


def test_the_baseline_is_the_mean_of_all_other_returns_of_the_route_shrunk_to_the_space():
    values, routes = np.array([0.2, 0.9, 0.7, 0.4]), ["a", "b", "a", None]
    before = Baseline().fold(np.array([0.1, 0.3]), ["a", None])
    slow = []
    for row, value in enumerate(values):
        others = np.delete(values, row)
        space = (0.4 + others.sum() + PRIOR_WEIGHT * PRIOR_RETURN) / (2 + 3 + PRIOR_WEIGHT)
        same = [v for at, v in enumerate(values) if at != row and routes[at] == routes[row]]
        if routes[row] is None:
            slow.append(value - space)
            continue
        known = [0.1] if routes[row] == "a" else []
        slow.append(value - (sum(known + same) + SHRINKAGE * space) / (len(known + same) + SHRINKAGE))
    np.testing.assert_allclose(before.advantages(values, routes), slow)


def test_a_baseline_survives_being_stored():
    baseline = Baseline().fold(np.array([0.1, 0.3]), ["ä", None])
    assert Baseline.from_arrays(baseline.to_arrays()) == baseline
    assert Baseline.from_arrays(Baseline().to_arrays()) == Baseline()


def test_no_returns_change_nothing():
    assert len(Baseline().advantages(np.zeros(0), [])) == 0
    assert Baseline().fold(np.zeros(0), []) == Baseline()


def test_constant_outcomes_teach_nothing_more():
    baseline = Baseline().fold(np.full(10_000, 0.85), ["a"] * 10_000)
    assert abs(baseline.advantages(np.array([0.85]), ["a"])[0]) < 1e-3
