"""One query that is judged again and again is one query that is well known, and leaves the others alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_events import RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_repeats import distinct, weighed_once

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
