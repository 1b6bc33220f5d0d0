"""One query that is judged again and again is one query that is well known, and leaves the others alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.domain.catalog import Catalog
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_repeats import distinct, gathered, weighed_once
from sona_pg.learning.ranking.ranking_step import learn_ranking

from .test_ranker_change import EMPTY, ROWS, TITLES, accuracy, thumbs, told


def test_repeated_judgements_weigh_their_logarithm_and_others_what_they_did() -> None:
    events = told(30, 1)
    many = events.take(np.repeat(np.arange(30), np.where(np.arange(30) == 4, 50, 1)))
    weighed, certain = weighed_once(many)
    same = (many.query == events.query[4]).all(axis=1)
    assert weighed.weight[same].sum() == pytest.approx(1 + np.log(50))
    np.testing.assert_array_equal(weighed.weight[~same], 1.0)
    np.testing.assert_array_equal(certain, same)
    assert weighed_once(EMPTY)[0] is EMPTY


def test_the_same_query_judged_otherwise_is_another_judgement() -> None:
    one = told(1, 1)
    other = replace(one, correct=(one.correct + 1).astype(np.int32))
    np.testing.assert_array_equal(weighed_once(one.joined(other))[0].weight, 1.0)
    many = one.joined(other).take(np.array([0, 1, 0, 1, 1]))
    np.testing.assert_array_equal(distinct(many).correct, many.correct[:2])


def test_events_that_weigh_less_than_one_together_keep_their_weight() -> None:
    half = replace(told(1, 1), weight=np.full(1, 0.25, np.float32)).take(np.zeros(3, np.intp))
    np.testing.assert_array_equal(weighed_once(half)[0].weight, 0.25)


@pytest.mark.parametrize("liked", [0, 5])
def test_two_hundred_likes_of_one_query_leave_the_others_as_they_were(liked: int) -> None:
    history = thumbs(RankerState.initial(TITLES.shape[1]), 150, 1, ROWS)
    state = fit(RankerState.initial(TITLES.shape[1]), TITLES, history, EMPTY)
    query = history.query[:1]
    others = np.delete(ROWS, [(query @ TITLES.T).argmax(), liked])
    before = accuracy(state, ROWS, others)
    rows = np.zeros(200, np.intp)
    likes = RankEvents(
        query, np.full(1, liked, np.int32), np.ones(1, np.float32), history.correct[:1], np.ones(1, np.float32)
    )
    likes = likes.take(rows)
    for _ in range(2):
        state, history = fit(state, TITLES, likes, history), history.joined(likes)
    assert accuracy(state, ROWS, others) > before - 0.02
    assert score(state, query, TITLES, ROWS).argmax() == liked


QUESTION = told(1, 1).query
CONDEMNED, LIKED = 3, 4


def judged(candidate: int, verdict: np.ndarray) -> RankEvents:
    count = len(verdict)
    blank, shown = np.full(count, NONE, np.int32), np.full(count, candidate, np.int32)
    return RankEvents(
        np.tile(QUESTION, (count, 1)), shown, verdict.astype(np.float32), blank, np.ones(count, np.float32)
    )


def learned(*cycles: RankEvents) -> list[tuple[np.ndarray, float]]:
    """Return the chances of all candidates for the question, and confidence in the first, after each cycle."""
    state, history, found = RankerState.initial(TITLES.shape[1]), EMPTY, []
    catalog = Catalog.of([str(row) for row in ROWS], TITLES)
    for fresh in cycles:
        state, history = learn_ranking(state, catalog, fresh, history, 0), history.joined(fresh)
        scores = score(state, QUESTION, TITLES, ROWS)
        chance = np.exp(scores - scores.max())[0]
        found.append(
            (chance / chance.sum(), float(Confidence(state, TITLES).of(scores, scores.max(axis=1)).confidence[0]))
        )
    return found


def test_thumbs_up_of_another_answer_do_not_bring_a_condemned_one_back() -> None:
    found = learned(
        judged(CONDEMNED, np.ones(100)), judged(CONDEMNED, np.zeros(400)), *[judged(LIKED, np.ones(20))] * 6
    )
    chances = np.array([chance[CONDEMNED] for chance, _ in found])
    assert chances[0] > 0.9
    assert chances[1] < 0.05
    assert (np.diff(chances) < 1e-3).all()
    assert all(chance.argmax() == LIKED and chance[CONDEMNED] < 0.01 for chance, _ in found[2:])
    confident = np.array([confidence for _, confidence in found[3:]])
    assert confident[0] > 0.9
    assert (np.diff(confident) > -1e-3).all()


def test_more_thumbs_down_never_bring_back_what_earlier_ones_condemned() -> None:
    found = learned(judged(CONDEMNED, np.ones(100)), *[judged(CONDEMNED, np.zeros(400))] * 4)
    chances = np.array([chance[CONDEMNED] for chance, _ in found])
    assert (np.diff(chances) < 1e-3).all()
    assert chances[-1] < 0.02


def test_the_more_thumbs_down_follow_the_less_likely_is_the_answer() -> None:
    ends = [
        learned(judged(CONDEMNED, np.ones(100)), judged(CONDEMNED, np.zeros(count)))[-1][0][CONDEMNED]
        for count in (10, 50, 100, 200, 400, 800)
    ]
    assert (np.diff(ends) < 1e-3).all()


@pytest.mark.parametrize("count", [50, 500])
def test_a_query_judged_both_ways_again_and_again_is_right_as_often_as_it_was_judged_so(count: int) -> None:
    said = np.arange(count) % 5 == 0
    chance = learned(*[judged(CONDEMNED, said)] * 3)[-1][0][CONDEMNED]
    assert chance == pytest.approx(0.2, abs=0.03)


def test_thumbs_of_both_kinds_share_one_logarithm_by_their_number() -> None:
    weight = weighed_once(judged(CONDEMNED, np.arange(500) < 100))[0].weight
    assert weight.sum() == pytest.approx(1 + np.log(500), rel=1e-5)
    assert weight[:100].sum() == pytest.approx(weight.sum() / 5, rel=1e-5)


def test_only_repetitions_share_a_row_of_a_comparison() -> None:
    rows = np.arange(10, 60)
    few, late = gathered(rows, np.zeros(100, np.intp), 50), gathered(rows, np.arange(100), 20)
    np.testing.assert_array_equal(few.rows, rows)
    np.testing.assert_array_equal(late.rows, rows[-20:])
    np.testing.assert_array_equal(few.members, rows)
    signs = np.ones((50, 50), np.float32)
    assert few.counted(signs) is signs


def test_all_repetitions_are_compared_in_few_rows_and_of_others_the_latest() -> None:
    same = np.where(np.arange(600) < 300, 0, np.where(np.arange(600) % 3 == 0, 1, np.arange(600)))
    part = gathered(np.arange(600), same, 300)
    np.testing.assert_array_equal(part.members, np.arange(600))  # 75, 25 and 200 rows
    assert len(part.rows) == 300
    assert part.count.sum() == 600
    np.testing.assert_array_equal(same[part.rows][part.of], same)
    assert (part.rows[part.of] >= part.members).all()
    assert part.rows[-1] == 599
    less = gathered(np.arange(600), same, 100)
    assert len(less.rows) == 100
    assert (np.diff(less.rows) > 0).all()
    np.testing.assert_array_equal(np.unique(less.of), np.arange(100))
    agreeing = less.counted(np.eye(100, dtype=np.float32) - 1)
    np.testing.assert_array_equal(agreeing.sum(axis=1), 1 - less.count.sum())
