"""Every value that cannot be stored is refused by name, and a refused call changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sona_pg.errors import DimensionMismatch, InvalidValue, SonaError, TrajectoryError
from sona_pg.recorder import Adapter, HotPath, Trajectory

DIM = 16
ONE = np.ones(DIM, np.float32)
NAN, INF = float("nan"), float("inf")


def with_value(value: float, at: int = 5) -> np.ndarray[Any, Any]:
    array = ONE.copy()
    array[at] = value
    return array


@pytest.mark.parametrize("value", [NAN, INF, -INF, 65505.0, -1e30])
@pytest.mark.parametrize("at", [0, 7, DIM - 1])
def test_values_that_half_precision_cannot_hold(hot: HotPath, value: float, at: int) -> None:
    bad = with_value(value, at)
    with pytest.raises(InvalidValue, match=rf"embedding\[{at}\]"):
        hot.begin_trajectory(bad)
    trajectory = hot.begin_trajectory(ONE)
    with pytest.raises(InvalidValue, match=rf"activations\[{at}\]"):
        hot.add_step(trajectory, bad)
    with pytest.raises(InvalidValue, match=rf"attention_weights\[{at}\]"):
        hot.add_step(trajectory, ONE, bad)


def test_the_largest_half_is_taken(hot: HotPath) -> None:
    hot.begin_trajectory(with_value(65504.0))
    hot.begin_trajectory(with_value(-65504.0))


@pytest.mark.parametrize("length", [0, 1, DIM - 1, DIM + 1])
def test_an_embedding_of_another_dimension(hot: HotPath, length: int) -> None:
    with pytest.raises(DimensionMismatch) as caught:
        hot.begin_trajectory(np.ones(length, np.float32))
    assert (caught.value.expected, caught.value.actual) == (DIM, length)


@pytest.mark.parametrize(
    "embedding", [None, "text", 1.0, [["nested"]], np.ones((2, DIM)), np.ones(DIM, complex), [1, "a"], object(), {}]
)
def test_an_embedding_that_is_no_array_of_numbers(hot: HotPath, embedding: Any) -> None:
    with pytest.raises(InvalidValue, match="embedding"):
        hot.begin_trajectory(embedding)


@pytest.mark.parametrize(
    "embedding",
    [
        ONE.astype(np.float64),
        ONE.astype(np.float16),
        ONE.astype(np.int64),
        ONE.astype(">f4"),
        np.ones(2 * DIM, np.float32)[::2],
        [1.0] * DIM,
        (1,) * DIM,
        np.frombuffer(b"\0" + ONE.tobytes(), np.uint8)[1:].view(np.float32),
    ],
)
def test_other_floats_and_layouts_are_converted(hot: HotPath, embedding: Any) -> None:
    trajectory = hot.begin_trajectory(embedding)
    hot.add_step(trajectory, embedding, embedding)
    hot.end_trajectory(trajectory)
    batch = hot.drain(1, 1)
    assert batch is not None
    assert batch.embeddings.tolist() == batch.step_activations.tolist() == [[1.0] * DIM]


@pytest.mark.parametrize("quality", [-0.01, 1.01, NAN, INF, "good", [0.5], 10**400])
def test_a_quality_outside_its_range(hot: HotPath, quality: Any) -> None:
    trajectory = hot.begin_trajectory(ONE)
    with pytest.raises(InvalidValue, match="quality"):
        hot.end_trajectory(trajectory, quality)
    assert not trajectory.ended
    hot.end_trajectory(trajectory, 1)
    assert hot.recorded_count == 1


@pytest.mark.parametrize("value", ["0.9", b"1", True, False, np.True_], ids=repr)
def test_text_and_truth_values_are_no_numbers(hot: HotPath, value: Any) -> None:
    trajectory = hot.begin_trajectory(ONE)
    for name, give in (
        ("quality", lambda: hot.end_trajectory(trajectory, value)),
        ("latency", lambda: hot.end_trajectory(trajectory, 0.5, latency=value)),
        ("cost", lambda: hot.end_trajectory(trajectory, 0.5, cost=value)),
        ("reward", lambda: hot.add_step(trajectory, ONE, None, value)),
        ("quality", lambda: hot.record_feedback(trajectory, quality=value)),
    ):
        with pytest.raises(TypeError, match=f"{name} is .*, expected a number") as caught:
            give()
        assert isinstance(caught.value, InvalidValue)  # whoever handles that, handles this


@pytest.mark.parametrize("value", [1, np.float32(0.5), np.float64(0.5), np.int64(1), np.float16(0), np.array(0.5)])
def test_numbers_of_numpy_are_numbers(hot: HotPath, value: Any) -> None:
    trajectory = hot.begin_trajectory(ONE)
    hot.add_step(trajectory, ONE, None, value)
    hot.end_trajectory(trajectory, value, latency=value, cost=value)
    assert hot.recorded_count == 1


@pytest.mark.parametrize("reward", [NAN, INF, 1_000_001, -1e7, "good", None])
def test_a_reward_outside_its_range(hot: HotPath, reward: Any) -> None:
    with pytest.raises(InvalidValue, match="reward"):
        hot.add_step(hot.begin_trajectory(ONE), ONE, None, reward)


def test_a_vector_longer_than_postgres_can_hold(hot: HotPath) -> None:
    with pytest.raises(InvalidValue, match="16001 activations"):
        hot.add_step(hot.begin_trajectory(ONE), np.ones(16_001, np.float32))


@pytest.mark.parametrize("text", ["a\0b", "\ud800", b"bytes", 7, None])
def test_text_that_postgres_cannot_hold(hot: HotPath, text: Any) -> None:
    trajectory = hot.begin_trajectory(ONE)
    with pytest.raises(InvalidValue, match="route"):
        hot.set_trajectory_route(trajectory, text)
    with pytest.raises(InvalidValue, match="context"):
        hot.add_trajectory_context(trajectory, text)
    if text is not None:
        with pytest.raises(InvalidValue, match="query"):
            hot.begin_trajectory(ONE, query=text)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.1, NAN, 1e-60, "likely"])
def test_a_propensity_that_is_no_probability(hot: HotPath, propensity: Any) -> None:
    decision = SimpleNamespace(route="a", propensity=propensity, version=1, candidate_set=None)
    with pytest.raises(InvalidValue, match="propensity"):
        hot.begin_trajectory(ONE, decision=decision)


@pytest.mark.parametrize("version", ["1", 1.5, 2**63])
def test_a_version_that_is_no_number_of_64_bits(hot: HotPath, version: Any) -> None:
    with pytest.raises(InvalidValue, match="version"):
        hot.begin_trajectory(ONE, ranking=SimpleNamespace(version=version, candidate_set=None))


def test_a_trajectory_that_ended_takes_nothing_more(hot: HotPath) -> None:
    trajectory = hot.begin_trajectory(ONE)
    hot.end_trajectory(trajectory)
    calls: list[Callable[[], object]] = [
        lambda: hot.end_trajectory(trajectory),
        lambda: hot.add_step(trajectory, ONE),
        lambda: hot.add_trajectory_step(trajectory, ONE),
        lambda: hot.set_trajectory_route(trajectory, "a"),
        lambda: hot.add_trajectory_context(trajectory, "a"),
    ]
    for call in calls:
        with pytest.raises(TrajectoryError, match=f"{trajectory.id} has ended"):
            call()
    assert hot.recorded_count == 1


def test_a_handle_of_another_engine(hot: HotPath) -> None:
    other = HotPath(DIM, 4, 1 << 16).begin_trajectory(ONE)
    with pytest.raises(TrajectoryError, match="another engine"):
        hot.end_trajectory(other)
    assert not other.ended


def test_something_that_is_no_handle(hot: HotPath) -> None:
    for wrong in (None, 1, uuid.uuid4(), Trajectory.__new__(Trajectory)):
        with pytest.raises((TypeError, TrajectoryError)):
            hot.end_trajectory(wrong)  # type: ignore[arg-type]


def test_more_steps_than_a_smallint_counts(hot: HotPath) -> None:
    trajectory = hot.begin_trajectory(ONE)
    for _ in range(32_767):
        hot.add_step(trajectory)
    with pytest.raises(TrajectoryError, match="32767 steps"):
        hot.add_step(trajectory)


def test_a_refused_call_leaves_the_handle_as_it_was(hot: HotPath) -> None:
    trajectory = hot.begin_trajectory(ONE)
    hot.add_step(trajectory, ONE, ONE[:3], 0.5)
    for call in (
        lambda: hot.add_step(trajectory, with_value(NAN)),
        lambda: hot.add_step(trajectory, ONE, with_value(INF)),
        lambda: hot.add_step(trajectory, ONE, ONE, NAN),
        lambda: hot.set_trajectory_route(trajectory, "\0"),
        lambda: hot.add_trajectory_context(trajectory, "\0"),
        lambda: hot.end_trajectory(trajectory, 2.0),
    ):
        with pytest.raises(InvalidValue):
            call()
    hot.end_trajectory(trajectory)
    batch = hot.drain(1, 1)
    assert batch is not None
    assert (batch.step_count, batch.step_rewards.tolist(), batch.routes) == (1, [0.5], [None])
    assert np.isnan(batch.qualities[0])


@pytest.mark.parametrize(
    ("fact", "match"),
    [
        ({}, "says nothing"),
        ({"quality": 1.5}, "quality"),
        ({"quality": NAN}, "quality"),
        ({"correction": ""}, "correction"),
        ({"correction": "a\0"}, "correction"),
        ({"quality": 0.5, "source": ""}, "source"),
        ({"quality": 0.5, "source": "x" * 1001}, "source"),
        ({"quality": 0.5, "source": None}, "source"),
        ({"quality": 0.5, "sequence": "1"}, "sequence"),
        ({"quality": 0.5, "sequence": 2**63}, "sequence"),
        ({"quality": 0.5, "retract": True}, "retract"),
    ],
)
def test_feedback_that_cannot_be_stored(hot: HotPath, fact: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidValue, match=match):
        hot.record_feedback(uuid.uuid4(), **fact)
    with pytest.raises(InvalidValue, match="trajectory_id"):
        hot.record_feedback("no uuid", quality=0.5)  # type: ignore[arg-type]
    assert hot.recorded_count == 0


def test_a_hot_path_that_was_never_initialised() -> None:
    bare = HotPath.__new__(HotPath)
    for call in (
        lambda: bare.begin_trajectory([]),
        lambda: bare.recorded_count,
        lambda: bare.drain(1, 1),
        lambda: bare.record_feedback(uuid.uuid4(), quality=0.1),
    ):
        with pytest.raises(SonaError):
            call()


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.ones(DIM + 1, np.float32), DimensionMismatch),
        (np.ones((2, DIM + 1), np.float32), DimensionMismatch),
        (np.ones((1, 1, DIM), np.float32), InvalidValue),
        ("text", InvalidValue),
        (None, InvalidValue),
    ],
)
def test_apply_refuses_other_shapes(hot: HotPath, x: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        hot.apply_micro_lora(x)


@pytest.mark.parametrize(
    "out",
    [
        np.empty(DIM),
        np.empty(DIM + 1, np.float32),
        np.empty((1, DIM), np.float32),
        np.empty(2 * DIM, np.float32)[::2],
        [],
    ],
)
def test_apply_refuses_an_out_that_does_not_fit(hot: HotPath, out: Any) -> None:
    with pytest.raises(InvalidValue, match="out"):
        hot.apply_micro_lora(ONE, out=out)
    frozen = np.empty(DIM, np.float32)
    frozen.setflags(write=False)
    with pytest.raises(InvalidValue, match="out"):
        hot.apply_micro_lora(ONE, out=frozen)


def test_adapters_of_another_dimension_or_shape(hot: HotPath) -> None:
    with pytest.raises(DimensionMismatch):
        hot.set_adapters(Adapter(np.ones((2, 4)), np.ones((2, 4))))
    with pytest.raises(InvalidValue, match="same"):
        Adapter(np.ones((2, 4)), np.ones((1, 4)))
    with pytest.raises(InvalidValue, match="not finite"):
        Adapter(np.full((2, 4), NAN), np.ones((2, 4)))
    with pytest.raises(InvalidValue, match="scale"):
        Adapter(np.ones((2, 4)), np.ones((2, 4)), INF)
    with pytest.raises(InvalidValue, match="layer"):
        hot.apply_base_lora(0, ONE)
