"""Taking feedback back: outputs return, statistics are restored, samples stay uniform."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from sona_pg.domain.state import LoraWeights, RouteStatistics
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.reversal import Reversal, take_back
from sona_pg.learning.adapters.samples import Directions
from sona_pg.learning.adapters.training import Schedule, forward, train
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.replay import Reservoir
from sona_pg.learning.routing import router_fit
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.vectors import unit

DIM = 32
NOBODY = np.zeros((0, DIM), np.float32)
quick = settings(max_examples=8, deadline=None)
seeds = some.integers(0, 10_000)


def rows(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32))


def told(queries: np.ndarray, targets: np.ndarray, advantage: float) -> Directions:
    return Directions.of(queries, np.arange(len(queries)), targets, np.full(len(queries), advantage))


def turned(weights: LoraWeights, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", unit(forward(weights, queries)) - queries, targets)


@quick
@given(seeds, some.sampled_from([1, 2, 8]), some.integers(1, 40), some.sampled_from([-1.0, 0.5]))
def test_all_feedback_on_a_query_is_reversed(seed, rank, times, advantage):
    query, target = rows(2, seed)
    steps = told(np.tile(query, (times, 1)), np.tile(target, (times, 1)), advantage)
    learned = train(LoraWeights.initial(rank, DIM, seed), steps.inputs, steps.pull, Schedule(0.05, 5, 64.0, 0))
    back = take_back(learned, Reversal(steps, Choices.empty(DIM), NOBODY, 1.0), 64.0, 0)
    before, after = (turned(weights, steps.inputs, steps.targets) for weights in (learned, back))
    assert np.abs(before).min() > 1e-3
    assert (np.abs(after) <= 0.02 * np.abs(before) + 1e-6).all()


@quick
@given(seeds, some.integers(2, 40))
def test_one_of_many_equal_facts_takes_back_its_share(seed, others):
    query, target = rows(2, seed)
    steps = told(np.tile(query, (others + 1, 1)), np.tile(target, (others + 1, 1)), 0.5)
    learned = train(LoraWeights.initial(2, DIM, seed), steps.inputs, steps.pull, Schedule(0.05, 5, 64.0, 0))
    one = steps.take(np.array([0]))
    back = take_back(learned, Reversal(one, Choices.empty(DIM), steps.inputs[1:], 1.0), 64.0, 0)
    kept = turned(back, one.inputs, one.targets) / turned(learned, one.inputs, one.targets)
    assert kept == pytest.approx(others / (others + 1), abs=0.02)


@quick
@given(seeds, some.sampled_from([2, 8]), some.sampled_from([0.0, 1.0]))
def test_choices_return_to_the_odds_that_they_had(seed, rank, verdict):
    nothing, ones = np.full(6, NONE, np.int32), np.ones(6, np.float32)
    events = RankEvents(
        np.repeat(rows(1, seed), 6, axis=0), np.zeros(6, np.int32), np.full(6, verdict, np.float32), nothing, ones
    )
    made = Choices.of(events, rows(5, seed + 1), np.ones(5, np.bool_), 6, 0)
    learned = train(LoraWeights.initial(rank, DIM, seed), made.inputs, made.pull, Schedule(0.05, 5, 64.0, 0))
    back = take_back(learned, Reversal(Directions.empty(DIM), made, NOBODY, 1.0), 64.0, 0)
    start, before, after = (
        made.log_odds(x) for x in (made.inputs, *(forward(w, made.inputs) for w in (learned, back)))
    )
    assert verdict == 0.0 or np.abs(before - start).min() > 1e-3
    assert np.abs(after - start).max() <= 0.1 * np.abs(before - start).max() + 1e-3


@quick
@given(some.lists(some.floats(0, 1), min_size=1, max_size=30), some.integers(0, 29))
def test_route_statistics_equal_those_without_the_retracted_fact(outcomes, which):
    which %= len(outcomes)
    rest = outcomes[:which] + outcomes[which + 1 :]
    left = RouteStatistics().fold(outcomes).unfold(outcomes[which])
    if not rest:
        assert left is None
        return
    never = RouteStatistics().fold(rest)
    assert left is not None
    assert left.size == never.size
    for name in ("quality", "quality_variance"):
        assert getattr(left, name) == pytest.approx(getattr(never, name), rel=1e-6, abs=1e-9)


def test_a_baseline_equals_the_one_without_the_retracted_fact():
    values, routes = np.array([0.1, 0.9, 0.5]), ["a", None, "b"]
    left = Baseline().fold(values, routes).unfold(values[1:], routes[1:])
    assert (left.count, dict(left.routes)) == (1.0, {"a": (1.0, pytest.approx(0.1))})
    assert left.unfold(values[:1], routes[:1]) == Baseline()


def test_the_sample_stays_uniform_when_ratings_are_taken_back():
    def ids(first: int, last: int) -> np.ndarray:
        return np.arange(first, last, dtype=">u8").view(np.uint8).reshape(-1, 8).repeat(2, axis=1)

    counts = np.zeros(40)
    for seed in range(2000):
        held = Reservoir.empty(8).offer(ids(0, 20), seed).withdraw(ids(4, 12)).offer(ids(20, 40), seed + 1)
        assert held.seen == 32
        counts[held.ids[:, -1].astype(int)] += 1
    assert not counts[4:12].any()
    assert abs(np.delete(counts, np.arange(4, 12)) / 2000 - 0.25).max() < 0.05
    again = Reservoir.from_arrays(held.to_arrays(), 8)
    assert (again.gone_held, again.gone_others, again.seen) == (held.gone_held, held.gone_others, 32)
    assert Reservoir.empty(8).offer(ids(0, 20), 1).withdraw(ids(0, 20)).to_arrays()["gone"].tolist() == [0, 0]


def routed(n: int, seed: int) -> RouteEvents:
    rng = np.random.default_rng(seed)
    return RouteEvents(
        rows(n, seed), rng.integers(0, 3, n).astype(np.int32), rng.random(n).astype(np.float32),
        cost=rng.random(n).astype(np.float32), latency=rng.random(n).astype(np.float32),
    )  # fmt: skip


def test_the_router_equals_the_one_without_the_retracted_fact():
    kept, gone = routed(200, 1), routed(40, 2)
    config = router_fit.RouterConfig(landmarks=32, width=16)
    known = router_fit.fit(RouterState.initial(DIM), kept, None, config)
    left = router_fit.withdraw(dataclasses.replace(router_fit.fit(known, gone, kept, config)), gone)
    for name in ("gram", "moment", "square", "totals"):
        np.testing.assert_allclose(getattr(left, name), getattr(known, name), atol=2e-5)
    assert left.folded == known.folded
    nothing = router_fit.withdraw(known, kept)
    for name, value in RouterState.initial(DIM).to_arrays().items():
        np.testing.assert_array_equal(nothing.to_arrays()[name], value)


def test_the_ranker_forgets_an_item_whose_evidence_is_gone_and_everything_when_all_is():
    titles, queries = rows(6, 1), rows(60, 2)
    shown = (np.arange(60) % 6).astype(np.int32)
    events = RankEvents(queries, shown, np.ones(60, np.float32), np.full(60, NONE, np.int32), np.ones(60, np.float32))
    known = fit(RankerState.initial(DIM), titles, events, RankEvents.empty(DIM))

    def without(gone: np.ndarray) -> RankerState:
        unsaid = dataclasses.replace(events, quality=np.full(60, np.nan, np.float32)).take(gone)
        back = dataclasses.replace(events, weight=-events.weight).take(gone)
        return fit(known, titles, back.joined(unsaid), events.take(~gone))

    some_left, none_left = without(shown == 0), without(shown >= 0)
    assert some_left.positive.tolist() == [0, 10, 10, 10, 10, 10]
    unsaid = dataclasses.replace(events, quality=np.full(60, np.nan, np.float32))
    never = fit(RankerState.initial(DIM), titles, unsaid, RankEvents.empty(DIM))
    for name, value in never.to_arrays().items():
        np.testing.assert_allclose(none_left.to_arrays()[name], value, atol=1e-12)
