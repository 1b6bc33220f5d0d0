"""Fairness to candidates with little feedback: allowances, pseudo-queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.ranking import ranker_fit
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_explore import explore
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_objective import PartialLabels
from sona_pg.learning.ranking.ranker_prior import allowance, proven_answers, pseudo_queries

from .test_ranker import DIM, ask, rows, told, trained, world

NOTHING = RankEvents.empty(DIM)


def test_the_allowance_is_the_margin_that_strangers_may_take() -> None:
    logits = np.zeros((100, 3), np.float32)
    logits[:, 0] = np.arange(100) / 10.0
    strangers = np.zeros_like(logits)
    strangers[:, 0] = -20.0
    evidence = np.array([1e9, 0.0, 1e9], np.float32)
    target = np.zeros(100, np.int32)
    assert allowance(logits, strangers, target, evidence, 0.1) == pytest.approx(0.9, abs=0.11)
    assert allowance(logits[:3], strangers[:3], target[:3], evidence, 0.1) is None


def test_the_allowance_is_no_larger_than_strangers_need() -> None:
    logits = np.zeros((100, 3), np.float32)
    logits[:, 0] = 9.0
    evidence, target = np.array([1e9, 0.0, 1e9], np.float32), np.zeros(100, np.int32)
    for lack, need in ((0.5, 0.5), (-2.0, 0.0), (20.0, 9.0)):
        strangers = np.zeros_like(logits)
        strangers[:, 0] = -lack
        assert allowance(logits, strangers, target, evidence, 0.1) == pytest.approx(need)


def test_where_cosines_are_right_no_allowance_takes_an_answer() -> None:
    items, _ = world(0, dim=48, items=400)
    state, history = RankerState.initial(48), RankEvents.empty(48)

    def asked(seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        meant = random.integers(0, 80, 200).astype(np.int32)
        return unit_rows(items[meant] + 0.05 * random.standard_normal((200, 48)).astype(np.float32)), meant

    for cycle in range(4):
        fresh = told(*asked(cycle))
        state, history = fit(state, items, fresh, history), history.joined(fresh)
    query, meant = asked(9)
    assert (score(state, query, items, rows(400)).argmax(axis=1) == meant).all()


def test_an_answer_that_a_stranger_took_counts_as_proven_by_the_thumb_down() -> None:
    logits = np.tile(np.array([3.0, 2.0, 1.0], np.float32), (4, 1))
    evidence = np.array([9.0, 9.0, 0.0], np.float32)
    judged = np.array([0, 2, 0, 2], np.int32)
    verdict = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    proven = proven_answers(logits, judged, verdict, np.zeros(4, np.bool_), evidence)
    np.testing.assert_array_equal(proven, [0, 0, NONE, 2])
    many = np.zeros((4, 9), np.float32)
    unsure = proven_answers(many, judged, verdict, np.zeros(4, np.bool_), np.array([9.0, 9.0] + 7 * [0.0]))
    np.testing.assert_array_equal(unsure, [0, NONE, NONE, 2])
    alone = proven_answers(logits[:1, :1], judged[:1], verdict[1:2], np.zeros(1, np.bool_), evidence[2:])
    np.testing.assert_array_equal(alone, [NONE])


def test_where_feedback_is_wrong_little_known_candidates_are_shown_more() -> None:
    state, items, _ = trained()
    noisy = replace(state, scales=np.array([*state.scales[:4], 0.1], np.float32))
    clean = replace(state, scales=np.array([*state.scales[:4], 0.0], np.float32))
    scores, known = np.zeros((1, len(items)), np.float32), rows(len(items))
    ratio = explore(noisy, scores, known) / explore(clean, scores, known)
    np.testing.assert_allclose(ratio, 1 / 0.8**2, rtol=1e-5)


def test_the_ridge_grows_with_contradictions_at_half_the_pace_where_it_is_large(monkeypatch) -> None:
    state, items, centres = trained()
    ridges = []
    usual = ranker_fit.PartialLabels

    def noted(**given: object) -> PartialLabels:
        ridges.append(given["ridge"])
        return usual(**given)

    monkeypatch.setattr(ranker_fit, "PartialLabels", noted)
    for against in (0.02, 0.05, 0.1, 0.2):
        contradicted = replace(state, contradicted=np.full(1, against, np.float32))
        fit(contradicted, items, told(*ask(centres, 5, 3)), NOTHING)
    np.testing.assert_allclose(ridges, [0.02, 0.05, 0.05, 0.1], rtol=1e-5)


def test_pseudo_queries_lean_towards_their_candidate() -> None:
    random = np.random.default_rng(0)
    item = unit_rows(random.standard_normal((4, 50)).astype(np.float32))
    real = unit_rows(random.standard_normal((30, 50)).astype(np.float32))
    pseudo = pseudo_queries(item, real, 8, random)
    assert pseudo.shape == (32, 50)
    np.testing.assert_array_equal((pseudo @ item.T).argmax(axis=1), np.tile(np.arange(4), 8))
