"""Learning the adapters of a space: choices, directions, and protection of earlier tasks."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.config import BaseConfig, SonaConfig
from sona_pg.learning.adapters.adapter_step import learn_adapters
from sona_pg.learning.adapters.choices import LARGEST_SET, TEMPERATURE, Choices
from sona_pg.learning.adapters.samples import Directions, Samples
from sona_pg.learning.adapters.training import forward
from sona_pg.learning.knowledge import initial_state
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.vectors import unit

DIM = 16


def rows(n: int, rng=None) -> np.ndarray:
    return unit((rng or np.random.default_rng(n)).standard_normal((n, DIM)).astype(np.float32))


def choices(n=6, m=10, table=None, proven=None, verdict=None, seed=0) -> Choices:
    rng = np.random.default_rng(seed)
    quality = rng.random(n).astype(np.float32) if verdict is None else np.full(n, verdict, np.float32)
    shown = rng.integers(0, m, n).astype(np.int32)
    if table is not None:
        shown = table[:, 0].astype(np.int32)
    events = RankEvents(rows(n), shown, quality, np.full(n, NONE, np.int32), np.ones(n, np.float32), table)
    return Choices.of(events, rows(m), np.ones(m, np.bool_) if proven is None else proven, n, 0)


def likelihood(made: Choices, row: int, y: np.ndarray) -> float:
    """The log-likelihood of one sample by brute force."""
    slots = [slot for slot in made.table[row] if slot != NONE] or list(made.pool)
    mine = int(made.chosen[row])
    against = [slot for slot in slots if slot != mine and made.proven[slot]]
    cosines = made.candidates[[mine, *against]].astype(np.float64) @ (y / np.linalg.norm(y))
    policy = np.exp(TEMPERATURE * (cosines - cosines.max()))
    policy /= policy.sum()
    verdict = float(made.verdict[row])
    return verdict * np.log(policy[0]) + (1 - verdict) * np.log(policy[1:].sum())


SETS = np.array([[0, 1, 2, 3], [4, 5, NONE, NONE], [6, 7, 8, NONE], [9, 0, 1, 2], [3, 4, 5, 6], [7, 8, NONE, NONE]])


@pytest.mark.parametrize("table", [None, SETS.astype(np.int32)], ids=["all candidates", "own sets"])
def test_the_choice_gradient_equals_finite_differences_of_the_likelihood(table):
    made = choices(table=table)
    outputs = (rows(6, np.random.default_rng(9)) * 1.7).astype(np.float32)
    gradient = made.delta(outputs, np.arange(6))
    for row in range(6):
        y = outputs[row].astype(np.float64)
        slow = [(likelihood(made, row, y + 1e-5 * e) - likelihood(made, row, y - 1e-5 * e)) / 2e-5 for e in np.eye(DIM)]
        np.testing.assert_allclose(gradient[row], np.array(slow) / TEMPERATURE, atol=2e-5)


def test_sets_of_their_own_and_all_candidates_may_stand_in_one_batch():
    outputs, every = rows(6, np.random.default_rng(9)), np.arange(6)
    own = choices(table=SETS.astype(np.int32))
    wide = np.where((every % 2 == 1)[:, None], NONE, SETS).astype(np.int32)
    mixed = Choices(own.inputs, own.chosen, own.verdict, wide, own.pool, own.proven, own.candidates)
    all_of_them = Choices(own.inputs, own.chosen, own.verdict, wide[:, :0], own.pool, own.proven, own.candidates)
    expected = np.where((every % 2 == 1)[:, None], all_of_them.delta(outputs, every), own.delta(outputs, every))
    np.testing.assert_allclose(mixed.delta(outputs, every), expected, atol=1e-6)


def test_the_sampled_gradient_has_mean_zero_and_the_policys_covariance():
    made, rng = choices(n=1), np.random.default_rng(0)
    output = np.repeat(rows(1, np.random.default_rng(9)), 40_000, axis=0)
    drawn = made.sampled_delta(output, np.zeros(len(output), np.int64), rng).astype(np.float64)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=5e-3)
    y = output[0].astype(np.float64)
    cosines = made.candidates.astype(np.float64) @ y
    policy = np.exp(TEMPERATURE * (cosines - cosines.max()))
    policy /= policy.sum()
    tangent = (made.candidates - policy @ made.candidates) @ (np.eye(DIM) - np.outer(y, y))
    np.testing.assert_allclose(np.square(drawn).mean(axis=0), policy @ np.square(tangent), atol=5e-3)


def test_candidates_without_positive_feedback_are_not_negatives():
    proven = np.zeros(10, np.bool_)
    proven[:3] = True
    made = choices(proven=proven, verdict=1.0)
    moved = made.delta(made.inputs, np.arange(6))
    only = Choices(
        made.inputs, made.chosen, made.verdict, made.table, made.pool, np.ones(10, np.bool_), made.candidates
    )
    np.testing.assert_array_equal(set(made.pool), {0, 1, 2})
    np.testing.assert_array_equal(moved, only.delta(made.inputs, np.arange(6)))


def test_a_choice_with_nothing_to_stand_against_it_teaches_nothing():
    made = choices(proven=np.zeros(10, np.bool_))
    assert not made.delta(made.inputs, np.arange(6)).any()
    assert not made.sampled_delta(made.inputs, np.arange(6), np.random.default_rng(0)).any()
    assert made.best(made.inputs).all()


def test_unusable_events_are_left_out_and_wide_sets_narrowed():
    query = rows(5)
    query[0] = np.nan
    query[1] = 0
    events = RankEvents(
        query,
        np.array([0, 1, NONE, 3, 4], np.int32),
        np.array([1, 1, 1, np.nan, 1], np.float32),
        np.full(5, NONE, np.int32),
        np.array([1, 1, 1, 1, -1], np.float32),
        np.tile(np.arange(100, dtype=np.int32), (5, 1)),
    )
    assert len(Choices.of(events, rows(100), np.ones(100, np.bool_), 10, 0)) == 0
    wide = choices(n=2, m=200, table=np.tile(np.arange(150, dtype=np.int32), (2, 1)))
    assert wide.table.shape == (2, LARGEST_SET)


def learn(samples: Samples, config: SonaConfig, arrays=None, snapshots=(), stream=None, base=None):
    state = initial_state(DIM, config)
    return learn_adapters(
        samples,
        Choices.empty(DIM),
        rows(0) if stream is None else stream,
        state.micro,
        base or state.base,
        arrays or {},
        list(snapshots),
        config,
        7,
    )


CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=2))


def test_no_samples_leave_the_adapters_as_they_are():
    learned = learn(Samples(Directions.empty(DIM), Choices.empty(DIM)), CONFIG)
    state = initial_state(DIM, CONFIG)
    np.testing.assert_array_equal(learned.base[0].b, state.base[0].b)
    np.testing.assert_array_equal(learned.micro.b, state.micro.b)
    assert learned.samples == 0


def test_feedback_on_choices_improves_retrieval_of_unseen_queries():
    rng = np.random.default_rng(0)
    meant, titles = rows(8, rng), rows(8, rng)  # the titles are unrelated to the meaning

    def asked(n):
        which = rng.integers(0, 8, n)
        return unit(meant[which] + 0.1 * rng.standard_normal((n, DIM)).astype(np.float32)), which.astype(np.int32)

    queries, which = asked(800)
    nan, none = np.full(800, np.nan, np.float32), np.full(800, NONE, np.int32)
    events = RankEvents(queries, none, nan, which, np.ones(800, np.float32), None)
    made = Choices.of(events, titles, np.ones(8, np.bool_), 800, 0)
    learned = learn(Samples(Directions.empty(DIM), made), CONFIG)
    test, right = asked(400)

    def accuracy(outputs):
        return np.mean(np.argmax(unit(outputs) @ titles.T, axis=1) == right)

    assert accuracy(forward(learned.base[0], test)) > accuracy(test) + 0.4


def test_a_task_boundary_leaves_a_snapshot_that_the_next_cycle_takes_up():
    rng = np.random.default_rng(1)
    directions = Directions(rows(100, rng), rows(100, rng), np.ones(100, np.float32), np.ones(100, np.float32))
    samples = Samples(directions, Choices.empty(DIM))
    one, other = (unit(center + 0.1 * rng.standard_normal((100, DIM)).astype(np.float32)) for center in rows(2, rng))
    first = learn(samples, CONFIG, stream=one)
    second = learn(samples, CONFIG, first.arrays, stream=other, base=first.base)
    assert first.fisher == []
    assert [snapshot.task for snapshot in second.fisher] == [0]
    third = learn(samples, CONFIG, second.arrays, second.fisher, other, second.base)
    assert third.fisher == []
