"""EWC in the merged weights: exact proximal steps, one quadratic for all tasks, a sketch that loses little."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.config import EwcConfig
from sona_pg.domain.state import FisherSnapshot, LoraWeights
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.ewc_kronecker import LASTING, OUTPUT_FISHER, KroneckerEwc, lasting
from sona_pg.learning.adapters.training import Schedule, displacements, flatten, train

DIM, RANK = 12, 3
EXACT = EwcConfig(sketch=DIM)


def rows(n: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Rows of a covariance with a quickly falling spectrum, as embeddings have it."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return (rng.standard_normal((n, dim)) * 0.7 ** np.arange(dim) @ basis).astype(np.float32)


def weights(seed: int = 1, rank: int = RANK, dim: int = DIM, scale: float = 0.7) -> LoraWeights:
    a, b = np.random.default_rng(seed).standard_normal((2, rank, dim)).astype(np.float32)
    return LoraWeights(a, b, scale)


def protecting(tasks: int = 2, config: EwcConfig = EXACT) -> tuple[KroneckerEwc, LoraWeights]:
    ewc = KroneckerEwc(DIM, config)
    for task in range(tasks):
        ewc.update_fisher(rows(200, task))
        ewc.start_new_task(flatten(weights(task)))
    return ewc, weights(tasks - 1)


def merged(lora: LoraWeights) -> np.ndarray:
    return lora.scale * lora.b.T.astype(np.float64) @ lora.a


def decayed(inputs: np.ndarray, decay: float = 0.999) -> np.ndarray:
    """The bias-corrected moving average of x xᵀ, one after the other."""
    average, total = np.zeros((inputs.shape[1],) * 2), 0.0
    for x in inputs.astype(np.float64):
        average, total = decay * average + (1 - decay) * np.outer(x, x), decay * total + (1 - decay)
    return average / total


def test_the_precision_is_the_sum_over_tasks_of_the_averaged_input_covariance():
    ewc, _ = protecting(3)
    slow = sum(decayed(rows(200, task)) for task in range(3))
    np.testing.assert_allclose(ewc.precision, slow, rtol=1e-3, atol=1e-4)


def test_the_penalty_is_how_far_the_outputs_of_earlier_inputs_move():
    ewc, optimum = protecting(1)
    moved = weights(9)
    inputs = rows(200).astype(np.float64)
    total = 1 - 0.999**200
    share = 0.001 * 0.999 ** np.arange(199, -1, -1) / total
    change = np.square(inputs @ (merged(moved) - merged(optimum)).T).sum(axis=1)
    assert ewc.penalty(moved) == pytest.approx(0.5 * ewc.lambda_ * OUTPUT_FISHER * float(share @ change), rel=1e-3)
    assert ewc.penalty(optimum) == pytest.approx(0.0, abs=1e-9)


def test_a_change_of_the_factors_that_changes_no_output_costs_nothing():
    ewc, optimum = protecting(1)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((RANK, RANK)))[0].astype(np.float32)
    same = LoraWeights(2 * turn @ optimum.a, 0.5 * turn @ optimum.b, optimum.scale)
    assert ewc.penalty(same) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rate", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("sketch", [6, DIM])
def test_each_factor_takes_the_exact_proximal_step(rate, sketch):
    ewc, _ = protecting(2, EwcConfig(sketch=sketch))
    moved = weights(9)
    held = ewc.constrain(moved, rate)

    def objective(a, b, of_a, of_b):
        distance = np.square(a - of_a).sum() + np.square(b - of_b).sum()
        return distance / (2 * rate) + ewc.penalty(LoraWeights(a, b, moved.scale))

    rng = np.random.default_rng(3)
    with_b = objective(moved.a, held.b, moved.a, moved.b)  # B first, A as it was; then A, given B
    with_a = objective(held.a, held.b, moved.a, held.b)
    for _ in range(20):
        nudge = 1e-2 * rng.standard_normal((RANK, DIM))
        assert with_b <= objective(moved.a, held.b + nudge, moved.a, moved.b) * (1 + 1e-4)
        assert with_a <= objective(held.a + nudge, held.b, moved.a, held.b) * (1 + 1e-4)


def test_the_step_is_stable_at_any_strength_and_zero_strength_is_none():
    ewc, optimum = protecting(2)
    for rate in (0.0, 1e-6, 1.0, 1e9):
        held = ewc.constrain(weights(9), rate)
        assert np.isfinite(held.a).all()
        assert np.isfinite(held.b).all()
    np.testing.assert_array_equal(ewc.constrain(weights(9), 0.0).a, weights(9).a)
    unmoved = ewc.constrain(optimum, 1e3)
    np.testing.assert_allclose(merged(unmoved), merged(optimum), atol=1e-3)


def test_a_sketch_of_part_of_the_columns_comes_close_and_keeps_the_whole_trace():
    part, whole = KroneckerEwc(64, EwcConfig(sketch=32)), KroneckerEwc(64, EwcConfig(sketch=64))
    for ewc in (part, whole):
        ewc.update_fisher(rows(500, dim=64))
        ewc.start_new_task(flatten(weights(dim=64)))
    error = np.linalg.norm(part.precision - whole.precision) / np.linalg.norm(whole.precision)
    assert error < 0.01
    assert np.trace(part.precision) == pytest.approx(np.trace(whole.precision), rel=1e-3)


def test_earlier_inputs_keep_their_outputs_and_other_inputs_can_still_be_learned():
    rng = np.random.default_rng(0)
    first, other = np.zeros((64, DIM), np.float32), np.zeros((64, DIM), np.float32)
    first[:, :4], other[:, 4:] = rng.standard_normal((64, 4)), rng.standard_normal((64, 8))
    wanted = rng.standard_normal((64, DIM)).astype(np.float32)
    start, schedule = weights(), Schedule(0.05, 5, 100.0, 0)
    ewc = KroneckerEwc(DIM, EwcConfig(sketch=DIM, lambda_=15_000))
    ewc.update_fisher(first)
    ewc.start_new_task(flatten(start))
    held = train(start, other, displacements(wanted), schedule, ewc)
    free = train(start, other, displacements(wanted), schedule)

    def moved(after, inputs):
        return np.linalg.norm(inputs @ (merged(after) - merged(start)).T)

    assert moved(held, first) < 0.1 * moved(free, first)
    assert moved(held, other) > 0.3 * moved(free, other)


def test_inputs_at_once_are_the_same_as_one_after_the_other_and_their_start_has_no_bias():
    at_once, one_by_one = KroneckerEwc(DIM, EXACT), KroneckerEwc(DIM, EXACT)
    at_once.update_fisher(rows(30))
    for row in rows(30):
        one_by_one.update_fisher(row)
    for ewc in (at_once, one_by_one):
        ewc.start_new_task(flatten(weights()))
    np.testing.assert_allclose(at_once.precision, one_by_one.precision, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(at_once.precision, decayed(rows(30)), rtol=1e-3, atol=1e-4)


def test_beyond_the_most_tasks_the_earlier_ones_fade():
    ewc = KroneckerEwc(DIM, EwcConfig(sketch=DIM, max_tasks=4))
    for _ in range(50):
        ewc.update_fisher(rows(100))
        ewc.start_new_task(flatten(weights()))
    assert ewc.task_count == 50
    np.testing.assert_allclose(ewc.precision, 4 * decayed(rows(100)), rtol=1e-2, atol=1e-3)


def test_nothing_is_held_before_a_task_has_left_anything():
    ewc = KroneckerEwc(DIM)
    assert ewc.start_new_task(flatten(weights())) is None
    assert ewc.task_count == 0
    assert not ewc.precision.any()
    assert ewc.penalty(weights()) == 0.0
    assert ewc.constrain(weights(), 1.0).a is not None
    ewc.update_fisher(np.zeros((10, DIM), np.float32))  # zero inputs protect nothing
    ewc.start_new_task(flatten(weights()))
    np.testing.assert_allclose(ewc.constrain(weights(9), 1.0).b, weights(9).b, rtol=1e-6)


def test_bad_input_is_refused_and_folds_nothing():
    ewc = KroneckerEwc(DIM)
    with pytest.raises(DimensionMismatch):
        ewc.update_fisher(np.ones(3, np.float32))
    with pytest.raises(InvalidValue):
        ewc.update_fisher(np.full(DIM, np.inf, np.float32))
    with pytest.raises(DimensionMismatch):
        ewc.start_new_task(np.ones(5, np.float32))
    ewc, _ = protecting(1)
    with pytest.raises(DimensionMismatch):
        ewc.constrain(weights(rank=RANK + 1), 1.0)


def test_it_survives_storage_and_ignores_snapshots_of_another_shape():
    ewc = KroneckerEwc(DIM, EXACT)
    stored = []
    for task in range(3):
        ewc.update_fisher(rows(50, task))
        stored.append(ewc.start_new_task(flatten(weights(task))))
    ewc.update_fisher(rows(20, 7))
    ewc.adapt_lambda(1.0)
    foreign = FisherSnapshot(8, 0, np.ones(72, np.float32), np.ones(72, np.float32))  # of the diagonal kind
    again = KroneckerEwc(DIM, EXACT)
    again.restore(ewc.to_arrays(), [*stored, foreign], 2 * RANK * DIM)
    assert (again.lambda_, again.task_count) == (ewc.lambda_, 3)
    np.testing.assert_array_equal(again.constrain(weights(9), 1.0).a, ewc.constrain(weights(9), 1.0).a)
    made = [one.start_new_task(flatten(weights())) for one in (ewc, again)]
    np.testing.assert_array_equal(made[0].fisher, made[1].fisher)
    assert made[1].task == 9  # after every task that is stored, whatever its kind
    fresh = KroneckerEwc(DIM, EXACT)
    fresh.restore({}, stored, 2 * (RANK + 1) * DIM)  # the rank was changed in between
    assert fresh.task_count == 0


def test_sketches_that_have_faded_are_dropped_and_diagonals_never():
    def made(task, kind):
        return FisherSnapshot(task, 0, np.ones(1, np.float32), np.ones(1, np.float32), kind)

    mixed = [made(task, "kronecker" if task % 2 else "diagonal") for task in range(6 * LASTING)]
    kept = lasting(mixed, 2)
    assert [one.task for one in kept if one.kind == "diagonal"] == list(range(0, 6 * LASTING, 2))
    assert [one.task for one in kept if one.kind == "kronecker"] == [one.task for one in mixed[1::2]][-2 * LASTING :]
    assert lasting([], 2) == []


def test_consolidated_tasks_hold_as_they_did_and_fade_as_they_would_have():
    config = EwcConfig(sketch=DIM, max_tasks=3)
    apart, optimum = protecting(3, config)
    together, _ = protecting(3, config)
    folded = together.consolidate_all_tasks()
    assert folded is not None
    stored = KroneckerEwc(DIM, config)
    stored.restore(together.to_arrays(), [folded], len(flatten(optimum)))
    assert stored.task_count == apart.task_count == 3
    assert stored.penalty(weights(9)) == pytest.approx(apart.penalty(weights(9)), rel=1e-6)
    for ewc in (apart, stored):
        ewc.update_fisher(rows(200, 7))
        ewc.start_new_task(flatten(weights(7)))
    assert stored.precision == pytest.approx(apart.precision, rel=1e-5, abs=1e-6)
    assert KroneckerEwc(DIM).consolidate_all_tasks() is None
