"""Training an adapter: both gradients, normalised steps, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.domain.state import LoraWeights
from sona_pg.errors import DimensionMismatch, LearningError
from sona_pg.learning.adapters.ewc import EwcPlusPlus
from sona_pg.learning.adapters.signal import direction_gradient
from sona_pg.learning.adapters.training import (
    Quadratics,
    Schedule,
    batch_size,
    displacements,
    flatten,
    forward,
    gradients,
    per_sample_gradients,
    train,
    unflatten,
)
from sona_pg.learning.vectors import unit

RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order():
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def rows(n: int, dim: int = 12) -> np.ndarray:
    return unit(RNG.standard_normal((n, dim)).astype(np.float32))


def weights(rank: int = 3, dim: int = 12, scale: float = 0.7) -> LoraWeights:
    a, b = RNG.standard_normal((2, rank, dim)).astype(np.float32)
    return LoraWeights(a, b, scale)


def test_both_factors_gradients_equal_finite_differences():
    lora, inputs, delta = weights(), rows(5), RNG.standard_normal((5, 12))

    def objective(parameters):
        a, b = np.split(parameters, 2)
        down = inputs.astype(np.float64) @ a.reshape(3, 12).T
        return float(((inputs + lora.scale * down @ b.reshape(3, 12)) * delta).sum())

    at = flatten(lora).astype(np.float64)
    slow = [(objective(at + 1e-5 * e) - objective(at - 1e-5 * e)) / 2e-5 for e in np.eye(len(at))]
    of_a, of_b = gradients(lora, inputs, delta.astype(np.float32))
    np.testing.assert_allclose(np.concatenate([of_a.ravel(), of_b.ravel()]), slow, rtol=1e-4, atol=1e-5)


def test_per_sample_gradients_add_up_to_the_gradient():
    lora, inputs, delta = weights(), rows(5), rows(5)
    of_a, of_b = gradients(lora, inputs, delta)
    total = per_sample_gradients(lora, inputs, delta).sum(axis=0)
    np.testing.assert_allclose(total, np.concatenate([of_a.ravel(), of_b.ravel()]), rtol=1e-5, atol=1e-6)


def test_flattening_is_undone():
    lora = weights()
    again = unflatten(flatten(lora), lora)
    np.testing.assert_array_equal(again.a, lora.a)
    np.testing.assert_array_equal(again.b, lora.b)


@pytest.mark.parametrize(("rank", "dim"), [(1, 8), (2, 256), (8, 64), (16, 1536)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_one_sample_moves_its_own_output_by_the_rate_whatever_rank_dimension_and_scale(rank, dim, scale):
    start = LoraWeights.initial(rank, dim, 0, scale)
    x, wanted = unit(rows(1, dim) + 2.0 * unit(start.a[:1])), rows(1, dim)  # A sees it: else the bound on steps binds
    after = train(start, x, displacements(wanted), Schedule(0.01, 1, 10.0, 0))
    np.testing.assert_allclose(forward(after, x) - x, 0.01 / 1.01 * wanted, atol=1e-6)


def test_a_partial_batch_moves_by_its_share_of_a_full_one():
    start = LoraWeights.initial(2, 12, 0)
    x, wanted = rows(1), rows(1)

    def moved(n):
        inputs = np.repeat(x, n, axis=0)
        after = train(start, inputs, displacements(np.repeat(wanted, n, axis=0)), Schedule(1e-5, 1, 10.0, 0))
        return np.linalg.norm(forward(after, x) - x)

    assert moved(16) == pytest.approx(16 * moved(1), rel=1e-2)


def test_ten_thousand_identical_samples_stay_within_the_bound():
    start = LoraWeights.initial(2, 12, 0)
    inputs = np.repeat(rows(1), 10_000, axis=0)
    after = train(start, inputs, displacements(np.ones_like(inputs)), Schedule(0.5, 1, 1.0, 0))
    assert after.norm <= 1.0 + 1e-4
    assert np.isfinite(after.a).all()


def test_a_huge_gradient_moves_no_further_than_a_step():
    start = LoraWeights.initial(2, 12, 0)
    after = train(start, rows(1), displacements(np.full((1, 12), 1e15, np.float32)), Schedule(0.5, 1, 1e9, 0))
    assert np.linalg.norm(flatten(after) - flatten(start)) <= 0.5 * np.sqrt(2) * 1.001


def test_a_gradient_that_is_not_finite_is_refused():
    with pytest.raises(LearningError, match="not finite"):
        train(weights(), rows(2), displacements(np.full((2, 12), np.nan, np.float32)), Schedule(0.1, 1, 1.0, 0))


def test_inputs_of_another_dimension_are_refused():
    with pytest.raises(DimensionMismatch):
        train(weights(), rows(2, 9), displacements(rows(2, 9)), Schedule(0.1, 1, 1.0, 0))


def test_no_samples_and_zero_inputs_change_nothing():
    start = LoraWeights.initial(2, 12, 0)
    for inputs in (np.zeros((0, 12), np.float32), np.zeros((3, 12), np.float32)):
        after = train(start, inputs, displacements(np.ones_like(inputs)), Schedule(0.1, 2, 1.0, 0))
        np.testing.assert_array_equal(flatten(after), flatten(start))


def test_the_same_seed_gives_the_same_weights_to_the_bit():
    inputs, targets = rows(100), rows(100)

    def learn():
        gain = np.ones(100, np.float32)

        def pull(outputs, at):
            return Quadratics(direction_gradient(outputs, targets[at], gain[at]), gain[at], gain[at])

        start = LoraWeights.initial(4, 12, 0)
        schedule = Schedule(0.05, 3, 10.0, 5)
        return train(start, inputs, pull, schedule)

    np.testing.assert_array_equal(flatten(learn()), flatten(learn()))


def test_a_protected_optimum_holds_the_weights():
    start = weights()
    ewc = EwcPlusPlus(len(flatten(start)))
    ewc.update_fisher(np.ones((50, len(flatten(start))), np.float32))
    ewc.start_new_task(flatten(start))
    schedule = Schedule(0.05, 5, 100.0, 0)
    inputs, wanted = rows(64), rows(64)
    free = train(start, inputs, displacements(wanted), schedule)
    held = train(start, inputs, displacements(wanted), schedule, ewc)
    distance = [np.linalg.norm(flatten(after) - flatten(start)) for after in (held, free)]
    assert distance[0] < 0.1 * distance[1]


def test_few_samples_make_several_steps_and_many_make_large_ones():
    assert [batch_size(count) for count in (0, 1, 60, 127, 128, 400, 512, 5200)] == [16, 16, 16, 16, 16, 50, 64, 64]
