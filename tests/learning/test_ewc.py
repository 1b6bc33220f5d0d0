"""EWC++: one quadratic for all tasks, an unbiased Fisher average, a stable constraint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sona_pg.config import EwcConfig
from sona_pg.domain.state import FisherSnapshot
from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.ewc import EwcPlusPlus

RNG = np.random.default_rng(2)
SIZE = 20


def snapshot(task: int, size: int = SIZE) -> FisherSnapshot:
    return FisherSnapshot(task, 0, RNG.random(size).astype(np.float32), RNG.standard_normal(size).astype(np.float32))


def with_tasks(count: int, config: EwcConfig | None = None) -> tuple[EwcPlusPlus, list[FisherSnapshot]]:
    ewc = EwcPlusPlus(SIZE, config)
    tasks = [snapshot(task) for task in range(count)]
    for task in tasks:
        ewc.protect(task)
    return ewc, tasks


def summed(tasks, parameters):
    return sum(float((task.fisher.astype(float) * (parameters - task.optimum) ** 2).sum()) for task in tasks)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_folded_quadratic_equals_the_sum_of_the_tasks_up_to_a_constant(count):
    ewc, tasks = with_tasks(count)
    points = RNG.standard_normal((10, SIZE))
    folded = [float((ewc.precision * (p - ewc.optimum) ** 2).sum()) for p in points]
    offset = np.array([summed(tasks, p) for p in points]) - folded
    np.testing.assert_allclose(offset, offset[0], rtol=1e-5, atol=1e-5)


def test_more_tasks_than_are_kept_and_consolidation_hold_the_same_quadratic():
    few, tasks = with_tasks(7, EwcConfig(max_tasks=3))
    assert few.task_count == 3
    before = few.precision, few.optimum
    few.consolidate_all_tasks()
    assert few.task_count == 1
    np.testing.assert_array_equal(few.precision, before[0])
    np.testing.assert_allclose(few.tasks[0].optimum, before[1], rtol=1e-5)
    np.testing.assert_allclose(few.precision, sum(task.fisher for task in tasks), rtol=1e-5)


def test_the_constraint_is_the_minimum_of_the_proximal_problem():
    ewc, tasks = with_tasks(3)
    theta, rate = RNG.standard_normal(SIZE).astype(np.float32), 0.01
    held = ewc.apply_constraints(theta, rate).astype(np.float64)

    def objective(at):
        return ((at - theta) ** 2).sum() / (2 * rate) + 0.5 * ewc.lambda_ * summed(tasks, at)

    for _ in range(20):
        assert objective(held) <= objective(held + 1e-3 * RNG.standard_normal(SIZE)) + 1e-6


@given(st.floats(0, 1e6), st.floats(100, 15_000))
def test_the_constraint_is_stable_at_any_strength(rate, lambda_):
    ewc, _ = with_tasks(1)
    ewc.set_lambda(lambda_)
    theta = np.ones(SIZE, np.float32)
    held = ewc.apply_constraints(theta, rate)
    low, high = np.minimum(theta, ewc.optimum), np.maximum(theta, ewc.optimum)
    assert (held >= low - 1e-4).all()
    assert (held <= high + 1e-4).all()


@pytest.mark.parametrize("count", [1, 2, 10, 3000])
def test_the_fisher_average_has_no_bias_at_its_start(count):
    ewc = EwcPlusPlus(2)
    ewc.update_fisher(np.tile(np.array([[2.0, -3.0]], np.float32), (count, 1)))
    np.testing.assert_allclose(ewc.fisher, [4.0, 9.0], rtol=1e-4)


def test_many_gradients_at_once_are_the_same_as_one_after_the_other():
    rows = RNG.standard_normal((30, SIZE)).astype(np.float32)
    at_once, one_by_one = EwcPlusPlus(SIZE), EwcPlusPlus(SIZE)
    at_once.update_fisher(rows)
    for row in rows:
        one_by_one.update_fisher(row)
    np.testing.assert_allclose(at_once.fisher, one_by_one.fisher, rtol=1e-4)


def test_a_task_without_gradients_leaves_nothing_behind():
    ewc = EwcPlusPlus(SIZE)
    assert ewc.start_new_task(np.zeros(SIZE, np.float32)) is None
    assert ewc.task_count == 0
    np.testing.assert_array_equal(ewc.apply_constraints(np.ones(SIZE, np.float32), 1.0), np.ones(SIZE))


def test_bad_gradients_are_refused_and_fold_nothing():
    ewc = EwcPlusPlus(SIZE)
    with pytest.raises(DimensionMismatch):
        ewc.update_fisher(np.ones(3, np.float32))
    with pytest.raises(InvalidValue):
        ewc.update_fisher(np.full(SIZE, np.inf, np.float32))
    with pytest.raises(DimensionMismatch):
        ewc.start_new_task(np.ones(3, np.float32))
    assert not ewc.fisher.any()


def test_lambda_stays_within_its_bounds():
    ewc = EwcPlusPlus(SIZE)
    for value in (99.0, 15_001.0, float("nan")):
        with pytest.raises(ConfigError):
            ewc.set_lambda(value)
    for _ in range(20):
        ewc.adapt_lambda(0.5)
    assert ewc.lambda_ == 15_000
    for _ in range(200):
        ewc.adapt_lambda(0.0)
    assert ewc.lambda_ == pytest.approx(ewc.config.lambda_, rel=1e-3)


def test_it_survives_being_stored():
    ewc, tasks = with_tasks(3)
    ewc.update_fisher(RNG.standard_normal((5, SIZE)).astype(np.float32))
    ewc.adapt_lambda(1.0)
    again = EwcPlusPlus(SIZE)
    again.restore(ewc.to_arrays(), [*tasks, snapshot(9, 3)])  # a snapshot of another shape is ignored
    assert again.lambda_ == ewc.lambda_
    np.testing.assert_array_equal(again.fisher, ewc.fisher)
    np.testing.assert_array_equal(again.precision, ewc.precision)


def test_a_boundary_is_found_between_two_tasks_and_not_within_one():
    ewc, rng = EwcPlusPlus(SIZE), np.random.default_rng(0)
    first, second = rng.standard_normal((2, SIZE))

    def drawn(center: np.ndarray, n: int) -> np.ndarray:
        return (center + rng.standard_normal((n, SIZE))).astype(np.float32)

    assert not any(ewc.detect_task_boundary(drawn(first, 64)) for _ in range(20))
    assert not any(ewc.detect_task_boundary(row) for row in drawn(first, 64))  # one at a time
    assert ewc.detect_task_boundary(drawn(second, 64))
    assert not any(ewc.detect_task_boundary(drawn(second, 64)) for _ in range(20))
    with pytest.raises(DimensionMismatch):
        ewc.detect_task_boundary(np.ones(SIZE + 1, np.float32))
    with pytest.raises(InvalidValue):
        ewc.detect_task_boundary(np.full(SIZE, np.nan, np.float32))
