"""Steps as samples: their gradient against finite differences, and the bounded effect of bad steps."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.domain.state import LoraWeights
from sona_pg.learning.adapters.samples import STIFFNESS, Directions
from sona_pg.learning.adapters.training import Schedule, forward, train
from sona_pg.learning.vectors import unit

DIM = 12


def rows(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_of_the_stated_objective(seed: int) -> None:
    owner = np.array([0, 1, 1, 2])
    gained = np.array([0.7, -0.4, 0.2, -1.0])
    samples = Directions.of(rows(3, seed), owner, rows(4, seed + 10), gained)
    outputs = rows(4, seed + 20) * 1.7
    inputs, targets = samples.inputs.astype(float), samples.targets.astype(float)
    weight = np.array([1.0, 0.5, 0.5, 1.0])

    def objective(flat: np.ndarray) -> float:
        y = flat.reshape(4, DIM)
        cosine = np.sum(y * targets, axis=1) / np.linalg.norm(y, axis=1)
        turned = cosine - np.sum(inputs * targets, axis=1)
        left = np.maximum(np.abs(gained) - STIFFNESS * np.sign(gained) * turned, 0)  # no step penalises overshooting
        return float(np.sum(weight * -(left**2) / (2 * STIFFNESS)))

    at, step = outputs.astype(float).ravel(), 1e-6
    slopes = [(objective(at + step * e) - objective(at - step * e)) / (2 * step) for e in np.eye(at.size)]
    assert np.allclose(samples.delta(outputs, np.arange(4)).ravel(), slopes, atol=1e-5)


def test_bad_steps_turn_an_answer_a_little_and_then_no_further() -> None:
    query, step = rows(1, 0), unit(rows(1, 0) + 0.5 * rows(1, 1))
    before = float(query[0] @ step[0])
    turned = []
    for advantage in (-1.0, 1.0):
        samples = Directions.of(np.tile(query, (32, 1)), np.arange(32), np.tile(step, (32, 1)), np.full(32, advantage))
        weights = LoraWeights.initial(4, DIM, 0)
        for cycle in range(40):
            weights = train(weights, samples.inputs, samples.pull, Schedule(0.05, 5, 64.0, cycle))
        turned.append(float(unit(forward(weights, query))[0] @ step[0]) - before)
    bad, good = turned
    assert bad == pytest.approx(-1 / STIFFNESS, abs=0.02)
    assert 0.5 * (1 - before) < good <= min(1 - before, 1 / STIFFNESS) + 0.02


def test_of_many_samples_the_latest_stay() -> None:
    first = Directions.of(rows(3, 0), np.arange(3), rows(3, 1), np.full(3, 0.5))
    second = Directions.of(rows(2, 2), np.array([0, 0, 1]), rows(3, 3), np.full(3, -0.5))
    both = first.followed_by(second, 4)
    assert len(both) == 4
    assert both.weight.tolist() == [1.0, 0.5, 0.5, 1.0]
    assert both.advantage.tolist() == [0.5, -0.5, -0.5, -0.5]
