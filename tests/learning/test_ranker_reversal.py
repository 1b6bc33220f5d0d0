"""Thumbs down in a row after thumbs up for one answer to one question: a cycle ranks as was served before it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_corrections import prevalence
from sona_pg.learning.ranking.ranker_events import RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.ranking.ranker_search import find_changes
from sona_pg.learning.ranking.recent_ranking import RecentRanking

from .test_ranker_change import DIM, EMPTY, ROWS, TITLES, told
from .test_ranker_corrections import PRAISED, QUESTIONS, said

FEW, FEW_ROWS = TITLES[:6], ROWS[:6]
ANSWER, OTHER = 4, 5


def thumbs(count: int, verdict: float, answer: int = ANSWER) -> RankEvents:
    """Judge an answer to one question so many times."""
    return said(np.repeat(QUESTIONS[:1], count, 0), np.full(count, answer, np.int32), verdict=verdict)


def place(state: RankerState, recent: RankEvents = EMPTY) -> int:
    """Return the place at which the answer is served, with what no version has learned."""
    ranking, prepared = RecentRanking(state, FEW, FEW_ROWS), prepare(state, FEW, FEW_ROWS)
    ranking.learn(recent)
    weights, offset = ranking.moves
    scores = (QUESTIONS[:1] @ (prepared.weights + weights).T + prepared.offset + offset)[0]
    return int((scores > scores[ANSWER]).sum()) + 1


@pytest.mark.parametrize("ups", [12, 30, 60])
def test_an_answer_that_thumbs_down_removed_does_not_come_back_with_the_cycle(ups: int) -> None:
    history, downs = thumbs(ups, 1.0), thumbs(8, 0.0)
    state = fit(RankerState.initial(DIM), FEW, history, EMPTY)
    assert place(state) == 1
    assert place(state, downs) == 6
    state, history = fit(state, FEW, downs, history), history.joined(downs)
    assert place(state) == 6
    state = fit(state, FEW, thumbs(1, 1.0, OTHER), history)
    assert place(state) == 6


@pytest.mark.parametrize("facts", [100, 800])
def test_thumbs_down_in_a_row_remove_the_first_answer_and_a_slip_does_not(facts: int) -> None:
    usual = told(facts, 1)
    praise = said(np.repeat(QUESTIONS, 60, 0), np.repeat(PRAISED, 60)).joined(told(40, 50))
    state = fit(fit(RankerState.initial(DIM), TITLES, usual, EMPTY), TITLES, praise, usual)

    def first(downs: int) -> float:
        fresh = said(np.repeat(QUESTIONS, downs, 0), np.repeat(PRAISED, downs), verdict=0.0).joined(told(20, 60))
        after = fit(state, TITLES, fresh, usual.joined(praise))
        return float((score(after, QUESTIONS, TITLES, ROWS).argmax(axis=1) == PRAISED).mean())

    assert first(1) == 1.0
    assert [first(downs) for downs in (8, 20)] == [0.0, 0.0]


def test_thumbs_up_in_a_row_bring_the_answer_back() -> None:
    history = thumbs(30, 1.0)
    state = fit(RankerState.initial(DIM), FEW, history, EMPTY)
    for fresh, expected in ((thumbs(8, 0.0), 6), (thumbs(12, 1.0), 1)):
        state, history = fit(state, FEW, fresh, history), history.joined(fresh)
        assert place(state) == expected


def overruled(*said_in_order: RankEvents) -> NDArray[np.bool_]:
    events = said_in_order[0]
    for more in said_in_order[1:]:
        events = events.joined(more)
    changes = find_changes(events, 0, len(TITLES))
    np.testing.assert_array_equal(changes.outlived, ~changes.holds)
    return ~changes.holds


@pytest.mark.parametrize(("ups", "fewest"), [(6, 4), (12, 6), (30, 7), (200, 7)])
def test_the_more_praise_there_was_the_more_thumbs_down_overrule_it_up_to_seven(ups: int, fewest: int) -> None:
    assert not overruled(thumbs(ups, 1.0), thumbs(fewest - 1, 0.0)).any()
    np.testing.assert_array_equal(overruled(thumbs(ups, 1.0), thumbs(fewest, 0.0)), np.arange(ups + fewest) < ups)


def test_of_thumbs_both_ways_the_later_side_prevails() -> None:
    both = thumbs(30, 1.0).joined(thumbs(8, 0.0))
    assert (prevalence(both)[:30] < 0.0).all()
    assert (prevalence(both)[30:] > 0.0).all()
    np.testing.assert_array_equal(prevalence(both.joined(thumbs(9, 1.0, OTHER)))[38:], 0.0)
    np.testing.assert_array_equal(prevalence(thumbs(5, 1.0)), 0.0)
    assert (prevalence(both.joined(thumbs(1, 1.0)))[30:38] > 0.0).all()
    assert (prevalence(both.joined(thumbs(2, 1.0)))[30:38] < 0.0).all()
