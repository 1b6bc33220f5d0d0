"""Boundaries between tasks: no alarm while nothing changes, an alarm when it does."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.config import EwcConfig
from sona_pg.learning.adapters.boundary import StreamMoments

THRESHOLD = EwcConfig().boundary_threshold


def gaussian(rng, spectrum):
    return lambda n: (rng.standard_normal((n, len(spectrum))) * spectrum).astype(np.float32)


def rare(rng):
    def draw(n):
        which = np.where(rng.random(n) < 0.02, rng.integers(1, 16, n), 0)
        return (np.eye(16)[which] + 0.01 * rng.standard_normal((n, 16))).astype(np.float32)

    return draw


STREAMS = {
    "isotropic": lambda rng: gaussian(rng, np.ones(64)),
    "low effective dimension": lambda rng: gaussian(rng, 0.5 ** np.arange(64)),
    "one dimension": lambda rng: gaussian(rng, 0.01 ** np.arange(8)),
    "huge scale": lambda rng: gaussian(rng, np.full(16, 1e6)),
    "two points": lambda rng: lambda n: np.eye(4, dtype=np.float32)[rng.integers(0, 2, n)],
    "rare queries": rare,
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("n", [32, 100, 1000])
def test_a_stationary_stream_raises_at_most_one_false_alarm_in_a_hundred(name, n):
    draw = STREAMS[name](np.random.default_rng(3))
    alarms = []
    for _ in range(200 if n < 1000 else 40):
        moments = StreamMoments.empty(draw(1).shape[1]).fold(draw(n))
        for _ in range(3):
            batch = draw(n)
            alarms.append(moments.shift(batch) > THRESHOLD)
            moments = moments.fold(batch)
    assert np.mean(alarms) <= 0.01


@pytest.mark.parametrize("n", [32, 1000])
def test_another_task_is_found_in_its_first_batch(n):
    rng = np.random.default_rng(4)
    draw = gaussian(rng, np.ones(64) / 8)
    step = np.zeros(64, np.float32)
    step[0] = 0.5
    moments = StreamMoments.empty(64).fold(draw(500))
    assert moments.shift(draw(n) + step) > THRESHOLD


def test_a_negligible_shift_is_no_boundary():
    rng = np.random.default_rng(5)
    draw = gaussian(rng, np.ones(4))
    moments = StreamMoments.empty(4).fold(draw(100_000))
    assert moments.shift(draw(100_000) + np.float32(0.05)) == 0.0


def test_folding_in_parts_is_the_same_as_at_once():
    rows = np.random.default_rng(6).standard_normal((50, 5)).astype(np.float32) + 3
    parts = StreamMoments.empty(5).fold(rows[:7]).fold(rows[7:8]).fold(rows[:0]).fold(rows[8:])
    assert parts.count == 50
    np.testing.assert_allclose(parts.mean, rows.mean(axis=0), rtol=1e-5)
    assert parts.variance == pytest.approx(float(np.var(rows, axis=0).sum()), rel=1e-5)


def test_too_few_observations_on_either_side_give_no_boundary():
    rows = np.ones((40, 3), np.float32)
    assert StreamMoments.empty(3).shift(rows) == 0.0
    assert StreamMoments.empty(3).fold(rows).shift(rows[:31]) == 0.0
    assert StreamMoments.empty(3).fold(rows).shift(rows[:0]) == 0.0


def test_equal_vectors_are_no_shift_and_other_equal_vectors_are_one():
    moments = StreamMoments.empty(3).fold(np.ones((40, 3), np.float32))
    assert moments.shift(np.ones((40, 3), np.float32)) == 0.0
    assert moments.shift(np.zeros((40, 3), np.float32)) == np.inf


def test_the_moments_survive_being_stored():
    moments = StreamMoments.empty(3).fold(np.random.default_rng(7).standard_normal((40, 3)).astype(np.float32))
    again = StreamMoments.from_arrays(moments.to_arrays())
    assert (again.count, again.variance) == (moments.count, moments.variance)
    np.testing.assert_array_equal(again.mean, moments.mean)
