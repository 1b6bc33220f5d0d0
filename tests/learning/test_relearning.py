"""When adapters are learned anew from the replay, not turned back: once enough of a space's feedback changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.config import LoopConfig, SonaConfig
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.domain.state import LearnedState
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.knowledge import initial_state, reservoir_of
from sona_pg.learning.relearning import count_changed, rows_relearned

DIM, COUNT = 4, 100
CONFIG = SonaConfig(hidden_dim=DIM, loops=LoopConfig(replay=COUNT))
LIKED, NOBODY = Outcome(1.0), Outcome(None)


def trajectories(count: int) -> Trajectories:
    unknown = np.full(count, np.nan)
    return Trajectories(
        ids=np.stack([np.frombuffer(row.to_bytes(16, "big"), np.uint8) for row in range(count)]),
        embeddings=np.ones((count, DIM), np.float32),
        quality=unknown,
        latency_us=unknown,
        propensity=unknown,
        candidate_sets=np.zeros(count, np.int64),
        cost=unknown,
        paid=unknown,
        features=np.zeros((count, 0), np.float32),
        routes=[None] * count,
        queries=[None] * count,
        lowest_reward=unknown,
        parameters=[None] * count,
        sessions=[None] * count,
    )


ALL = trajectories(COUNT)


def slice_of(count: int, before: Outcome = LIKED, after: Outcome = NOBODY) -> LedgerSlice:
    """Return a slice that changes the outcome of the first ``count`` trajectories."""
    none = Steps(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, DIM), np.float32), np.zeros(0, np.bool_))
    nobody, changed = ALL.take(np.zeros(0, np.intp)), ALL.take(np.arange(count))
    return LedgerSlice([1], nobody, none, [], changed, [before] * count, [after] * count, count, 0, [], none)


def state(seen: int = COUNT, turned: int = 0, returns: int | None = None) -> LearnedState:
    reservoir = reservoir_of(initial_state(DIM, CONFIG), CONFIG).offer(ALL.ids, 0, 1)
    sample = dataclasses.replace(reservoir, seen=seen, turned=turned)
    told = np.ones(seen if returns is None else returns)
    baseline = Baseline().fold(told, [None] * len(told))
    arrays = {"replay": sample.to_arrays(), "baseline": baseline.to_arrays()}
    return dataclasses.replace(initial_state(DIM, CONFIG), arrays=arrays)


@pytest.mark.parametrize(
    ("known", "changed", "due"),
    [
        (state(), 5, False),
        (state(), 6, True),
        (state(turned=5), 1, True),  # small changes add up
        (state(turned=50), 0, False),
        (state(seen=1000), 100, False),  # what the sample lacks would be lost
        (state(seen=1000, turned=150), 51, True),
        (state(returns=200), 50, False),  # half of the returns are rewards of steps, which the sample lacks
    ],
)
def test_adapters_are_learned_anew_once_a_share_of_the_feedback_has_changed(known, changed, due):
    rows = rows_relearned(known, slice_of(changed), ALL, CONFIG, 2)
    assert (rows is not None) == due
    assert rows is None or rows.tolist() == list(range(changed, COUNT))  # what changed is learned with the slice


def test_feedback_that_is_new_or_says_the_same_changes_nothing():
    assert count_changed(slice_of(50, before=NOBODY, after=LIKED)) == 0
    assert count_changed(slice_of(50, before=LIKED, after=Outcome(1.0, worst=0.0))) == 0
    assert count_changed(slice_of(50, before=LIKED, after=Outcome(0.9))) == 50


def test_the_count_of_changes_starts_anew_once_the_adapters_are_learned_anew():
    reservoir = reservoir_of(state(turned=7), CONFIG)
    assert reservoir.turned == 7
    assert reservoir.after_turning(0).turned == 0
    assert reservoir.withdraw(ALL.ids).after_turning(9).turned == 0
