"""Concentrated traffic: repeated samples move an adapter to their target, never past it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from sona_pg.config import BaseConfig, MicroConfig, SonaConfig
from sona_pg.domain.state import LoraWeights
from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.learning.adapters.adapter_step import learn_adapters
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.samples import STIFFNESS, Directions, Samples
from sona_pg.learning.adapters.training import Quadratics, Schedule, forward, train
from sona_pg.learning.knowledge import initial_state
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.vectors import unit
from sona_pg.serving.instant import InstantLoop

DIM = 64
TIMES = (1, 16, 24, 48, 64, 300)
ROUNDING = 2e-3  # of a cosine: a step is exact to first order
quick = settings(max_examples=8, deadline=None)
seeds = some.integers(0, 10_000)


def rows(count: int, seed: int, dim: int = DIM) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32))


def turned(weights: LoraWeights, query: np.ndarray, target: np.ndarray) -> float:
    return float((unit(forward(weights, query[None]))[0] - query) @ target)


def after_one_update(rank: int, seed: int, told: list[tuple[np.ndarray, np.ndarray, float]]) -> LoraWeights:
    learner = InstantLoop(LoraWeights.initial(rank, DIM, seed), MicroConfig(rank=rank), seed)
    if told:
        queries, targets, qualities = (np.stack(column) for column in zip(*told, strict=True))
        learner.on_batch(queries, qualities, np.zeros(len(told)), np.arange(len(told)), targets)
    return learner.flush_updates()


@quick
@given(seeds, some.sampled_from([1, 2]), some.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_repetition_moves_the_micro_adapter_farther_but_never_past_its_target(seed, rank, quality):
    query, target = rows(2, seed)
    asked = (quality - 0.5) / STIFFNESS
    moves = [turned(after_one_update(rank, seed, [(query, target, quality)] * n), query, target) for n in TIMES]
    shares = np.array(moves) / asked
    assert 0.05 < shares[0] < 0.5
    assert (np.diff(shares) > -0.02).all()
    assert 0.95 < shares[-1] <= 1 + 0.02


@quick
@given(seeds, some.sampled_from([1, 2]), some.integers(1, 40), some.sampled_from([0.0, 1.0]))
def test_other_traffic_does_not_move_it_past_its_target(seed, rank, others, quality):
    query, target = rows(2, seed)
    rng = np.random.default_rng(seed)
    rest = [
        (x, a, float(q))
        for x, a, q in zip(rows(others, seed + 1), rows(others, seed + 2), rng.random(others), strict=True)
    ]
    alone = turned(after_one_update(rank, seed, rest), query, target)
    largest = 1.0 / STIFFNESS
    previous = 0.0
    for n in (4, 48, 200):
        told = [*rest, *[(query, target, quality)] * n]
        order = rng.permutation(len(told))
        moved = turned(after_one_update(rank, seed, [told[place] for place in order]), query, target)
        assert abs(moved) <= largest + abs(alone)
        toward = moved * np.sign(quality - 0.5)
        assert toward > previous - 0.1  # the rest comes in another order each time
        previous = toward
    assert previous > 0.02


@quick
@given(seeds, some.sampled_from([1, 2]), some.integers(1, 150), some.booleans())
def test_alternating_outcomes_settle_between_both_targets(seed, rank, pairs, shuffled):
    query, target = rows(2, seed)
    told = [(query, target, quality) for quality in (1.0, 0.0) * pairs]
    if shuffled:
        told = [told[place] for place in np.random.default_rng(seed).permutation(len(told))]
    assert abs(turned(after_one_update(rank, seed, told), query, target)) < 0.8 * 0.5 / STIFFNESS


@quick
@given(seeds, some.sampled_from([1, 2]), some.lists(some.integers(1, 80), min_size=2, max_size=6))
def test_in_batches_of_any_size_it_never_moves_back_or_past(seed, rank, sizes):
    query, target = rows(2, seed)
    learner = InstantLoop(LoraWeights.initial(rank, DIM, seed), MicroConfig(rank=rank), seed)
    before = 0.0
    for size in sizes:
        for _ in range(size):
            learner.on_inference(QueryTrajectory(query, (TrajectoryStep(target),), 1.0))
        moved = turned(learner.flush_updates(), query, target)
        assert before - ROUNDING <= moved <= 0.5 / STIFFNESS + ROUNDING
        before = moved


@quick
@given(seeds, some.sampled_from([1, 4, 8]), some.sampled_from([-1.0, -0.5, 0.5, 1.0]))
def test_the_base_adapter_goes_no_further_for_many_either(seed, rank, advantage):
    config = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=rank, layers=1))
    query, target = rows(2, seed)
    asked = advantage / STIFFNESS
    shares = []
    for n in (1, 48, 200):
        owner = np.arange(n)
        told = Directions.of(np.tile(query, (n, 1)), owner, np.tile(target, (n, 1)), np.full(n, advantage))
        state = initial_state(DIM, config)
        made = learn_adapters(
            Samples(told, Choices.empty(DIM)),
            Choices.empty(DIM),
            rows(0, 0),
            state.micro,
            state.base,
            {},
            [],
            config,
            7,
        )
        shares.append(turned(made.base[0], query, target) / asked)
    assert (np.diff(shares) > -0.02).all()
    assert 0.9 < shares[-1] <= 1 + 0.03


@quick
@given(seeds, some.sampled_from([2, 8]), some.sampled_from([0.0, 0.5, 1.0]))
def test_choices_that_repeat_never_make_the_verdict_less_likely(seed, rank, verdict):
    titles, query = rows(6, seed), rows(1, seed + 1)
    likely = []
    for n in (1, 8, 40, 200):
        nothing = np.full(n, NONE, np.int32)
        events = RankEvents(
            np.repeat(query, n, axis=0), np.zeros(n, np.int32), np.full(n, verdict, np.float32), nothing,
            np.ones(n, np.float32),
        )  # fmt: skip
        made = Choices.of(events, titles, np.ones(6, np.bool_), n, 0)
        weights = train(LoraWeights.initial(rank, DIM, seed), made.inputs, made.pull, Schedule(0.05, 5, 64.0, 0))
        cosines = 20.0 * (unit(forward(weights, query)) @ titles.T)[0].astype(np.float64)
        chance = float(np.exp(cosines[0]) / np.exp(cosines).sum())
        likely.append(verdict * np.log(chance) + (1 - verdict) * np.log1p(-chance))
    assert (np.diff(likely) > -0.02).all()


@settings(max_examples=25, deadline=None)
@given(seeds, some.integers(1, 40), some.sampled_from([1, 2, 8]), some.sampled_from([0.01, 0.5, 100.0]))
def test_no_batch_moves_farther_than_its_samples_ask_in_the_metric_of_their_curvatures(seed, n, rank, rate):
    """``|√H Δz| ≤ |g / √H|`` for any samples, from ``B = 0``: the bound proved in the module."""
    rng = np.random.default_rng(seed)
    inputs = rows(n, seed)[rng.integers(n, size=n)]  # some of them repeat
    direction = rows(n, seed + 1)[rng.integers(n, size=n)]
    slope = (1e-4 * rng.standard_normal(n)).astype(np.float32)
    curvature = rng.uniform(0.1, 6.0, n).astype(np.float32)
    start = LoraWeights.initial(rank, DIM, seed)
    models = Quadratics(direction, slope, curvature)
    order: list[np.ndarray] = []

    def pull(outputs: np.ndarray, at: np.ndarray) -> Quadratics:
        order.append(at)
        return Quadratics(*(column[at] for column in models))

    few = slice(0, 16)  # one batch
    after = train(start, inputs[few], pull, Schedule(rate, 1, 64.0, 0))
    moved = np.einsum("nd,nd->n", forward(after, inputs[few]) - forward(start, inputs[few]), direction[few])
    length = np.linalg.norm(np.sqrt(curvature[few]) * moved)
    assert length <= np.linalg.norm(slope[few] / np.sqrt(curvature[few])) * 1.01
    assert len(order) == 1


@pytest.mark.parametrize("rank", [1, 2])
def test_an_input_that_the_adapter_hardly_sees_does_not_drag_all_others_along(rank):
    start = LoraWeights.initial(rank, DIM, 0)
    blind = rows(1, 1)[0]
    blind = unit((blind - np.linalg.pinv(start.a) @ (start.a @ blind) * 0.999)[None])[0]
    target, other = rows(2, 2)
    told = Directions.of(np.tile(blind, (64, 1)), np.arange(64), np.tile(target, (64, 1)), np.ones(64))
    after = train(start, told.inputs, told.pull, Schedule(0.05, 1, 1.0, 0))
    assert abs(turned(after, other, target)) < 3 / STIFFNESS
