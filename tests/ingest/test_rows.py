"""Records equal their rows in Postgres: encoded by us, read back with psycopg."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space
from pgvector import HalfVector

from sona_pg import kernels
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath, keep_directions

pytestmark = pytest.mark.every_server

EMBEDDING = np.linspace(-3, 3, DIM).astype(np.float32)
OpenWriter = Callable[..., Writer]


def vector(text: str | None) -> list[float] | None:
    return None if text is None else HalfVector.from_text(text).to_list()


def halves(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[float]:
    return [float(value) for value in values.astype(np.float16)]


def test_every_column_of_a_trajectory_and_its_steps(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    writer = open_writer(hot)
    decision = SimpleNamespace(route="the last one counts, ß", propensity=0.25, version=12, candidate_set=-5)
    trajectory = hot.begin_trajectory(EMBEDDING, query="wie geht's? ü 🙂", decision=decision)
    hot.add_step(trajectory, EMBEDDING, EMBEDDING[:3], 0.5)
    hot.add_trajectory_step(trajectory, None, EMBEDDING[:1], -2)
    hot.add_step(trajectory, EMBEDDING[:5])
    hot.set_trajectory_route(trajectory, "the last one counts, ß")
    for context in ("user:42", "", 'a "quoted", {odd} one'):
        hot.add_trajectory_context(trajectory, context)
    hot.set_trajectory_parameters(trajectory, {"temperature": 1})
    hot.set_trajectory_parameters(trajectory, {"temperature": 0.25, "größe": 1e15})
    hot.end_trajectory(trajectory, 0.75)
    writer.flush(5)
    [row] = space.rows(
        "SELECT id, quality, policy_version, candidate_set, latency_us, propensity, step_count, route, context, query,"
        " embedding::text, batch, lowest_reward, parameters FROM sona.trajectories WHERE space_id = %s",
        SPACE,
    )
    assert row[:4] == (trajectory.id, 0.75, 12, -5)
    assert 0 <= row[4] < 10_000_000
    assert row[5:10] == (
        0.25,
        3,
        "the last one counts, ß",
        ["user:42", "", 'a "quoted", {odd} one'],
        "wie geht's? ü 🙂",
    )
    assert vector(row[10]) == halves(EMBEDDING)
    assert row[12:] == (-2.0, {"temperature": 0.25, "größe": 1e15})
    steps = space.rows(
        "SELECT trajectory_id, ordinal, offset_us, reward, activations::text, attention::text FROM sona.steps"
        " WHERE space_id = %s ORDER BY ordinal",
        SPACE,
    )
    assert [(*step[:2], step[3]) for step in steps] == [
        (trajectory.id, 0, 0.5),
        (trajectory.id, 1, -2.0),
        (trajectory.id, 2, 0.0),
    ]
    assert 0 <= steps[0][2] <= steps[1][2] <= steps[2][2] <= row[4]
    assert [vector(step[4]) for step in steps] == [halves(EMBEDDING), None, halves(EMBEDDING[:5])]
    assert [vector(step[5]) for step in steps] == [halves(EMBEDDING[:3]), halves(EMBEDDING[:1]), None]


def test_values_not_given_are_null(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    writer = open_writer(hot)
    hot.end_trajectory(hot.begin_trajectory(EMBEDDING))
    hot.end_trajectory(
        hot.begin_trajectory(
            EMBEDDING,
            ranking=SimpleNamespace(version=3, candidate_set=None),
        )
    )
    writer.flush(5)
    rows = space.rows(
        "SELECT quality, policy_version, candidate_set, propensity, step_count, route, context, query, lowest_reward,"
        " parameters"
        " FROM sona.trajectories WHERE space_id = %s ORDER BY id",
        SPACE,
    )
    assert rows == [
        (None, None, None, None, 0, None, None, None, None, None),
        (None, 3, None, None, 0, None, None, None, None, None),
    ]
    assert space.count("steps") == 0


def test_rows_that_hold_all_there_is_fit_their_buffer(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    writer = open_writer(hot)
    decision = SimpleNamespace(
        route="r", propensity=0.5, version=1, candidate_set=2, cost=0.5, features=np.ones(3, np.float32)
    )
    for _ in range(200):
        trajectory = hot.begin_trajectory(EMBEDDING, query="q", decision=decision)
        hot.add_step(trajectory, None, None, -1.0)
        hot.add_trajectory_context(trajectory, "c")
        hot.set_trajectory_parameters(trajectory, {"p": 1})
        hot.end_trajectory(trajectory, 1.0)
    writer.flush(5)
    assert space.rows("SELECT count(*), sum(cost), sum(lowest_reward), sum(cardinality(features))"
                      " FROM sona.trajectories") == [(200, 100.0, -200.0, 600)]  # fmt: skip


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_values_survive_half_precision_on_each_instruction_set(isa: str, space: Space, open_writer: OpenWriter) -> None:
    hot = HotPath(DIM, 100, 1 << 20)
    writer = open_writer(hot)
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((40, DIM)) * 10.0 ** rng.integers(-9, 5, (40, 1))).astype(np.float32)
    values[0, :4] = 65504, -65504, 6e-8, -0.0
    before = kernels.isa()  # which SONA_PG_ISA may have forced
    kernels.use_isa(isa)
    try:
        for row in values.clip(-65504, 65504):
            hot.end_trajectory(hot.begin_trajectory(row))
        writer.flush(5)
    finally:
        kernels.use_isa(before)
    stored = space.rows("SELECT embedding::text FROM sona.trajectories WHERE space_id = %s ORDER BY id", SPACE)
    kept = values.clip(-65504, 65504)
    keep_directions(kept)
    assert [vector(row[0]) for row in stored] == [halves(row) for row in kept]


def test_every_column_of_feedback(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    writer = open_writer(hot)
    name = uuid.uuid4()
    before = datetime.now(UTC) - timedelta(seconds=1)
    first = hot.record_feedback(name, quality=0.25, source="user")
    second = hot.record_feedback(name, correction="ç", source="judge")
    third = hot.record_feedback(name, retract=True, source="user")
    hot.record_feedback(name, quality=1.0, correction="b", source="import", sequence=-7)
    writer.flush(5)
    rows = space.rows(
        "SELECT trajectory_id, quality, correction, source, sequence, recorded_at FROM sona.feedback"
        " WHERE space_id = %s ORDER BY sequence",
        SPACE,
    )
    assert [row[:5] for row in rows] == [
        (name, 1.0, "b", "import", -7),
        (name, 0.25, None, "user", first),
        (name, None, "ç", "judge", second),
        (name, None, None, "user", third),
    ]
    assert first < second < third
    assert all(before < row[5] < before + timedelta(seconds=60) for row in rows)


def test_a_batch_is_marked_counted_and_named_in_its_rows(hot: HotPath, space: Space, open_writer: OpenWriter) -> None:
    writer = open_writer(hot, flush_interval=60)
    first, second = hot.begin_trajectory(EMBEDDING), hot.begin_trajectory(EMBEDDING)
    for trajectory in (second, first):
        hot.add_step(trajectory, EMBEDDING)
        hot.end_trajectory(trajectory, 0.5)
    hot.record_feedback(first, quality=1.0)
    writer.flush(5)
    [marker] = space.rows(
        "SELECT batch, server_id, first_id, last_id, trajectories, steps, feedback, cycle_id FROM sona.batches"
        " WHERE space_id = %s",
        SPACE,
    )
    assert marker[1:] == (space.server_id, first.id, second.id, 2, 2, 1, None)
    assert space.rows("SELECT DISTINCT batch FROM sona.trajectories") == [(marker[0],)]
    assert space.rows("SELECT DISTINCT batch FROM sona.feedback") == [(marker[0],)]
    assert space.rows("SELECT trajectories, feedback, dropped FROM sona.servers") == [(2, 1, 0)]


def test_the_learners_arrays_say_the_same_as_the_rows(hot: HotPath) -> None:
    trajectories = []
    for index in range(3):
        trajectory = hot.begin_trajectory(EMBEDDING * (index + 1))
        for step in range(index):
            hot.add_step(trajectory, EMBEDDING + step, None, step)
            hot.add_step(trajectory, EMBEDDING[:2], None, -1)
        hot.end_trajectory(trajectory, None if index == 1 else index / 2)
        trajectories.append(trajectory)
    hot.record_feedback(trajectories[1], quality=0.5)
    batch = hot.drain(5, SPACE)
    assert batch is not None
    assert (batch.trajectory_count, batch.step_count, batch.feedback_count, len(batch)) == (3, 6, 1, 4)
    assert batch.trajectory_ids.tobytes() == b"".join(each.id.bytes for each in trajectories)
    assert batch.feedback_ids.tobytes() == trajectories[1].id.bytes
    np.testing.assert_array_equal(batch.embeddings, np.stack([EMBEDDING * (index + 1) for index in range(3)]))
    np.testing.assert_array_equal(batch.qualities, [0.0, np.nan, 1.0])
    assert batch.policy_versions.tolist() == [-1, -1, -1]
    assert batch.step_trajectory.tolist() == [1, 1, 2, 2, 2, 2]
    assert batch.step_rewards.tolist() == [0, -1, 0, -1, 1, -1]
    assert batch.activation_step.tolist() == [0, 2, 4]
    np.testing.assert_array_equal(batch.step_activations, np.stack([EMBEDDING, EMBEDDING, EMBEDDING + 1]))
    assert (batch.first_id, batch.last_id) == (trajectories[0].id, trajectories[2].id)
