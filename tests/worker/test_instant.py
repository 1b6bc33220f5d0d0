"""Loop A: good and bad feedback move this server's micro adapter, within bounds, from its own memory."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.config import MicroConfig
from sona_pg.domain.state import LoraWeights
from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.learning.adapters.training import forward
from sona_pg.serving.instant import MAX_SAMPLES, InstantLoop

RNG = np.random.default_rng(0)


def vector(dim: int = 256) -> np.ndarray:
    values = RNG.standard_normal(dim).astype(np.float32)
    return values / np.linalg.norm(values)


def loop(dim: int = 256) -> InstantLoop:
    return InstantLoop(LoraWeights.initial(2, dim, 0), MicroConfig())


def cosine(micro: LoraWeights, x: np.ndarray, a: np.ndarray) -> float:
    y = forward(micro, x[None])[0]
    return float(y @ a / np.linalg.norm(y))


@pytest.mark.parametrize(("quality", "sign"), [(0.85, 1), (0.2, -1)])
def test_a_handful_of_repeats_move_the_output_measurably_the_right_way(quality, sign):
    x, a, learner = vector(), vector(), loop()
    for _ in range(5):
        learner.on_inference(QueryTrajectory(x, (TrajectoryStep(a),), quality))
        learner.flush_updates()
    assert sign * (cosine(learner.micro, x, a) - float(x @ a)) > 1e-3


def test_ten_thousand_identical_trajectories_stay_within_the_bound():
    x, a, learner = vector(16), vector(16), loop(16)
    for _ in range(10_000):
        learner.on_inference(QueryTrajectory(x, (TrajectoryStep(a),), 0.1))
        learner.flush_updates()
    assert learner.micro.norm <= MicroConfig().max_norm + 1e-4
    assert np.isfinite(learner.micro.b).all()


def test_the_queue_is_bounded_and_the_latest_is_kept():
    learner = loop(8)
    n = 3 * MAX_SAMPLES
    learner.on_batch(
        RNG.standard_normal((n, 8)).astype(np.float32), RNG.random(n), np.zeros(n), np.arange(n),
        RNG.standard_normal((n, 8)).astype(np.float32),
    )  # fmt: skip
    assert learner.metrics().pending <= MAX_SAMPLES
    assert learner.metrics().trajectories == n
    learner.flush_updates()
    assert learner.metrics().pending == 0
    assert learner.metrics().updates > 0


@pytest.mark.parametrize(
    "trajectory",
    [
        QueryTrajectory(np.zeros(8, np.float32), (TrajectoryStep(np.ones(8, np.float32)),), 0.9),
        QueryTrajectory(np.ones(8, np.float32), (TrajectoryStep(np.zeros(8, np.float32)),), 0.9),
        QueryTrajectory(np.ones(8, np.float32), (TrajectoryStep(np.ones(3, np.float32)),), 0.9),
        QueryTrajectory(np.ones(8, np.float32), (TrajectoryStep(np.arange(8, dtype=np.float32)),), None),
        QueryTrajectory(np.ones(8, np.float32), (), 0.9),
    ],
    ids=["zero query", "zero step", "other dimension", "nobody said", "no steps"],
)
def test_a_trajectory_without_a_direction_changes_nothing(trajectory):
    learner = loop(8)
    learner.on_inference(trajectory)
    before = learner.micro
    assert learner.flush_updates() is before


def test_a_published_adapter_replaces_the_adapter_of_loop_a():
    learner, published = loop(8), LoraWeights.initial(2, 8, 9)
    learner.on_inference(QueryTrajectory(vector(8), (TrajectoryStep(vector(8)),), 0.9))
    learner.adopt(published)
    assert learner.flush_updates() is published


def test_records_missing_from_a_published_adapter_are_learned_again_once():
    queries, steps = np.stack([vector(), vector()]), np.stack([vector(), vector()])
    ids = np.arange(32, dtype=np.uint8).reshape(2, 16)
    learner, published = loop(), LoraWeights.initial(2, 256, 0)
    for row in range(2):
        rows = slice(row, row + 1)
        learner.on_batch(queries[rows], np.ones(1), np.zeros(1), np.zeros(1, int), steps[rows], ids[rows])
        learner.flush_updates()
    assert {row.tobytes() for row in learner.recent_ids} == {row.tobytes() for row in ids}
    before = cosine(learner.micro, queries[1], steps[1]) - float(queries[1] @ steps[1])
    micro = learner.adopt(published, {ids[0].tobytes()})
    assert micro is learner.micro
    assert cosine(micro, queries[1], steps[1]) - float(queries[1] @ steps[1]) > 0.5 * before
    assert abs(cosine(micro, queries[0], steps[0]) - float(queries[0] @ steps[0])) < 5e-3  # the version has it
    assert learner.recent_ids.tolist() == [ids[1].tolist()]
    assert learner.adopt(published, {ids[1].tobytes()}) is published
    assert len(learner.recent_ids) == 0


def test_it_remembers_no_more_than_its_bound():
    learner = loop(8)
    for _ in range(5):
        n = MAX_SAMPLES // 2
        ids = RNG.integers(0, 256, (n, 16)).astype(np.uint8)
        rows = RNG.standard_normal((2, n, 8)).astype(np.float32)
        learner.on_batch(rows[0], RNG.random(n), np.zeros(n), np.arange(n), rows[1], ids)
        learner.flush_updates()
    assert MAX_SAMPLES <= len(learner.recent_ids) <= 2 * MAX_SAMPLES


def test_its_records_can_be_drained_and_its_adapter_is_a_copy():
    learner, x = loop(8), vector(8)
    seen = [QueryTrajectory(x, (TrajectoryStep(vector(8)),), quality) for quality in (0.1, 0.9)]
    for trajectory in seen:
        learner.on_inference(trajectory)
    learner.flush_updates()
    assert learner.drain_trajectories() == seen
    assert learner.drain_trajectories() == []
    held = learner.micro_lora
    np.testing.assert_allclose(held.forward_simd(x), forward(learner.micro, x[None])[0], rtol=1e-6)
    held.reset()
    assert learner.micro_lora.weights is learner.micro
