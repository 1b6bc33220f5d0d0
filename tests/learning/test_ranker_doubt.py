"""Wrong feedback: where there is much of it, the events that a fit explains worst do not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.ranking.lbfgs import minimise
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_curvature import InverseCurvature
from sona_pg.learning.ranking.ranker_doubt import NOISY, doubtful
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_objective import FitPoint, PartialLabels

from .test_ranker import DIM, rows, world


def thumbs(said: list[float], told: list[int] | None = None) -> RankEvents:
    count = len(said)
    query = np.zeros((count, DIM), np.float32)
    query[:, 0] = 1.0
    correct = np.full(count, NONE, np.int32) if told is None else np.array(told, np.int32)
    return RankEvents(query, np.zeros(count, np.int32), np.array(said, np.float32), correct, np.ones(count, np.float32))


def test_as_many_thumbs_are_doubted_as_are_expected_to_be_wrong() -> None:
    events = thumbs(
        [1.0] * 700 + [0.0] * 300
    )  # at 10 % wrong: 250 wrong answers, 25 of them praised, 75 right ones not
    right = np.linspace(0.0, 1.0, 1000, dtype=np.float32)
    left_out = doubtful(events, right, 0.1, np.zeros(1000, bool))
    assert left_out[:25].all()
    assert not left_out[25:700].any()
    assert left_out[700:].sum() == 60
    assert left_out[940:].all()


def test_of_praise_at_most_a_half_is_doubted() -> None:
    events = thumbs([1.0] * 200 + [0.0] * 800)  # at 30 % wrong all 200 thumbs up would be
    left_out = doubtful(events, np.linspace(0.0, 1.0, 1000, dtype=np.float32), 0.3, np.zeros(1000, bool))
    assert left_out[:200].sum() == 100


def test_what_is_sure_is_not_doubted_and_counts_are_by_weight() -> None:
    events = replace(thumbs([1.0] * 700 + [0.0] * 300), weight=np.full(1000, 0.5, np.float32))
    right = np.linspace(0.0, 1.0, 1000, dtype=np.float32)
    sure = np.zeros(1000, bool)
    sure[:10] = True
    left_out = doubtful(events, right, 0.1, sure)
    assert not left_out[:10].any()
    assert left_out[10:25].all()
    assert not left_out[25:700].any()


def test_of_corrections_the_share_that_is_wrong_is_doubted() -> None:
    events = thumbs([0.0] * 100, told=[3] * 100)
    left_out = doubtful(events, np.linspace(1.0, 0.0, 100, dtype=np.float32), 0.2, np.zeros(100, bool))
    assert left_out.sum() == 20
    assert left_out[80:].all()


def test_a_candidate_of_which_little_is_known_keeps_all_its_feedback() -> None:
    events = thumbs([1.0] * 9 + [0.0] * 20)
    assert not doubtful(events, np.linspace(0.0, 1.0, 29, dtype=np.float32), 0.3, np.zeros(29, bool)).any()


def accuracy(wrong: float) -> tuple[float, float]:
    """Share of right answers after 1,200 thumbs, on answers of which a quarter is another one; the noise found."""
    dim, items, count = 96, 20, 200
    candidates, centres = world(0, dim, items)

    def queries(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        meant = rng.integers(0, items, count).astype(np.int32)
        return unit_rows((centres[meant] + 0.2 * rng.standard_normal((count, dim))).astype(np.float32)), meant

    state, past = RankerState.initial(dim), RankEvents.empty(dim)
    for part in range(6):
        asked, meant = queries(count, part)
        rng = np.random.default_rng(part)
        shown = np.where(rng.random(count) < 0.25, rng.integers(items, size=count), meant).astype(np.int32)
        said = (shown == meant) != (rng.random(count) < wrong)
        blank, weight = np.full(count, NONE, np.int32), np.ones(count, np.float32)
        fresh = RankEvents(asked, shown, said.astype(np.float32), blank, weight)
        state = fit(state, candidates, fresh, past, seed=part)
        past = past.joined(fresh)
    asked, meant = queries(2000, 9999)
    right = score(state, asked, candidates, rows(items)).argmax(axis=1) == meant
    return float(right.mean()), float(state.scales[4])


def test_where_much_feedback_is_wrong_more_answers_are_right_for_leaving_some_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, noise = accuracy(wrong=0.2)
    assert noise > NOISY
    monkeypatch.setattr("sona_pg.learning.ranking.ranker_fit.NOISY", 1.0)
    assert found > accuracy(wrong=0.2)[0] + 0.005


def test_where_little_feedback_is_wrong_all_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = accuracy(wrong=0.0)
    assert found[1] < NOISY
    monkeypatch.setattr("sona_pg.learning.ranking.ranker_fit.NOISY", 1.0)
    assert accuracy(wrong=0.0) == found


def test_leaving_out_takes_no_more_steps_than_a_fit_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def counted(start: FitPoint, *, iterations: int, inverse: InverseCurvature) -> FitPoint:
        taken.append(iterations)
        return minimise(start, iterations=iterations, inverse=inverse)

    monkeypatch.setattr("sona_pg.learning.ranking.ranker_fit.minimise", counted)
    candidates, centres = world(0, 24, 6)
    rng = np.random.default_rng(0)
    meant = rng.integers(0, 6, 300).astype(np.int32)
    asked = unit_rows((centres[meant] + 0.2 * rng.standard_normal((300, 24))).astype(np.float32))
    blank, weight = np.full(300, NONE, np.int32), np.ones(300, np.float32)
    events = RankEvents(asked, meant, np.ones(300, np.float32), blank, weight)
    state = fit(RankerState.initial(24), candidates, events, RankEvents.empty(24))
    for noise in (0.01, 0.2):
        known = np.append(state.scales[:4], np.float32(noise)), np.full(1, 1e9, np.float32)
        fit(replace(state, scales=known[0], noise_strength=known[1]), candidates, events, events)
    clean, *noisy = taken[1:]  # after the first fit
    assert len(noisy) == 2
    assert sum(noisy) == clean


def test_a_point_without_some_queries_is_one_of_the_objective_without_them() -> None:
    rng = np.random.default_rng(1)
    objective = PartialLabels(
        query=rng.standard_normal((30, 5)).astype(np.float32),
        base=rng.standard_normal((30, 4)).astype(np.float32),
        features=rng.standard_normal((4, 4)).astype(np.float32),
        target=rng.integers(0, 4, 30),
        quality=rng.integers(0, 2, 30).astype(np.float32),
        weight=np.ones(30, np.float32),
        up_noise=0.02,
        down_noise=0.05,
        ridge=0.5,
    )
    at = rng.standard_normal((8, 5)).astype(np.float32)
    left_out = np.array([3, 7, 20])
    expected = objective.without(left_out).at(at)
    found = objective.at(at).without(left_out)
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    np.testing.assert_allclose(found.gradient(), expected.gradient(), rtol=1e-5, atol=1e-6)
