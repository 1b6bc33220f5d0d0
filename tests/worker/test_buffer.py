"""Trajectories in memory: building one step by step, and a bounded queue of them."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import ConfigError, InvalidValue, TrajectoryBuffer, TrajectoryBuilder

pytestmark = pytest.mark.no_vectors


def test_a_builder_collects_steps_as_they_happen():
    builder = TrajectoryBuilder([1.0, 0.0], query="why")
    builder.add_step([0.0, 1.0], reward=0.5)
    builder.add_step(attention_weights=[0.3])
    made = builder.build(0.9, route="small")
    assert builder.step_count == 2
    assert 0 <= made.steps[0].offset_us <= made.steps[1].offset_us <= builder.elapsed * 1e6
    assert (made.quality, made.route, made.query) == (0.9, "small", "why")
    assert made.embedding.dtype == np.float32


def test_a_builder_refuses_values_that_no_store_accepts():
    with pytest.raises(InvalidValue):
        TrajectoryBuilder([np.nan])
    builder = TrajectoryBuilder([1.0])
    for bad in ({"activations": [np.inf]}, {"reward": np.nan}):
        with pytest.raises(InvalidValue):
            builder.add_step(**bad)
    with pytest.raises(InvalidValue):
        builder.build(1.5)
    assert builder.step_count == 0


def test_a_full_buffer_refuses_and_counts():
    buffer = TrajectoryBuffer(2)
    made = [TrajectoryBuilder([float(row)]).build() for row in range(3)]
    assert buffer.is_empty
    assert [buffer.record(item) for item in made] == [True, True, False]
    assert (len(buffer), buffer.dropped_count, buffer.capacity) == (2, 1, 2)
    assert buffer.drain() == made[:2]
    assert buffer.is_empty
    with pytest.raises(ConfigError):
        TrajectoryBuffer(0)


def test_its_length_is_the_number_of_waiting_trajectories():
    buffer = TrajectoryBuffer(2)
    buffer.record(TrajectoryBuilder([1.0]).build())
    assert buffer.len() == len(buffer) == 1
