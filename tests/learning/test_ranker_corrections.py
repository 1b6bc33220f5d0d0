"""A correction of a question prevails over earlier thumbs up for other answers to it, after the cycle as at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_corrections import corrected, disputed, replaced
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit

from .test_ranker_change import CENTRES, DIM, EMPTY, ROWS, TITLES, told

ASIDE = np.random.default_rng(3).standard_normal((4, DIM)).astype(np.float32)
QUESTIONS = unit_rows(CENTRES[:4] + np.float32(0.15) * ASIDE)  # less alike than those that `told` asks
PRAISED, RIGHT = ROWS[:4], ROWS[4:8]


def said(query: FloatArray, shown: np.ndarray, correct: np.ndarray | None = None, verdict: float = 1.0) -> RankEvents:
    count = len(query)
    quality = np.full(count, np.nan if correct is not None else verdict, np.float32)
    right = np.full(count, NONE, np.int32) if correct is None else correct
    return RankEvents(query, shown, quality, right, np.ones(count, np.float32))


def up(times: int = 1) -> RankEvents:
    return said(np.repeat(QUESTIONS, times, 0), np.repeat(PRAISED, times))


CORRECTION = said(QUESTIONS, PRAISED, RIGHT)


def after(*cycles: RankEvents) -> list[float]:
    """Return the share of the questions of which the corrected answer is first, after each cycle."""
    state, history, found = RankerState.initial(DIM), EMPTY, []
    for number, fresh in enumerate(cycles):
        state, history = fit(state, TITLES, fresh, history, seed=number), history.joined(fresh)
        found.append(float((score(state, QUESTIONS, TITLES, ROWS).argmax(axis=1) == RIGHT).mean()))
    return found


@pytest.mark.parametrize("facts", [0, 100, 400])
@pytest.mark.parametrize("praise", [1, 3, 7])
def test_one_correction_prevails_over_a_few_thumbs_up_whatever_else_was_learned(facts: int, praise: int) -> None:
    found = after(told(facts, 1).joined(up(praise)), CORRECTION, CORRECTION, CORRECTION)
    assert found == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("praise", [10, 30, 60])
def test_many_thumbs_up_outweigh_one_correction_and_no_number_of_them_two(praise: int) -> None:
    assert after(told(200, 1).joined(up(praise)), CORRECTION, CORRECTION, CORRECTION) == [0.0, 0.0, 1.0, 1.0]


def test_a_correction_prevails_over_an_earlier_one_and_over_a_later_thumb_up() -> None:
    mistaken = said(QUESTIONS, PRAISED, np.roll(RIGHT, 1))
    assert after(told(200, 1), mistaken, CORRECTION, up()) == [0.0, 0.0, 1.0, 1.0]


def test_thumbs_down_on_what_was_told_bring_the_praised_answer_back() -> None:
    refused = said(np.repeat(QUESTIONS, 6, 0), np.repeat(RIGHT, 6), verdict=0.0)
    assert after(told(200, 1).joined(up(2)), CORRECTION, refused)[1:] == [1.0, 0.0]


def test_a_correction_on_the_trajectory_that_had_the_thumb_up_is_followed_as_well() -> None:
    asked, facts = unit_rows(CENTRES[:4] + np.float32(0.1) * ASIDE), told(800, 1)
    praise, correction = said(asked, PRAISED), said(asked, PRAISED, RIGHT)
    taken = replace(praise, weight=np.full(4, -1.0, np.float32))
    state = fit(fit(RankerState.initial(DIM), TITLES, facts, EMPTY), TITLES, praise, facts)
    state = fit(state, TITLES, taken.joined(correction), facts)
    np.testing.assert_array_equal(score(state, asked, TITLES, ROWS).argmax(axis=1), RIGHT)
    np.testing.assert_array_equal(replaced(correction.joined(facts), taken), np.arange(804) < 4)
    assert not replaced(said(asked, PRAISED, PRAISED), taken).any()
    assert not replaced(correction, praise).any()


def test_two_praised_answers_and_feedback_on_other_questions_keep_their_weight() -> None:
    both = up().joined(said(QUESTIONS, RIGHT)).joined(told(30, 2))
    assert not disputed(both).any()
    np.testing.assert_array_equal(corrected(both, 0)[0].weight, both.weight)
    events, anew = corrected(up().joined(told(30, 2)).joined(CORRECTION), 0)
    np.testing.assert_allclose(events.weight[:4], 0.1)
    np.testing.assert_array_equal(events.weight[4:], 1.0)
    np.testing.assert_array_equal(np.flatnonzero(anew), np.arange(34, 38))


def test_new_events_come_first_and_are_later() -> None:
    events, anew = corrected(CORRECTION.joined(said(QUESTIONS, PRAISED, PRAISED)), 4)
    np.testing.assert_array_equal(anew, np.arange(8) < 4)
    np.testing.assert_allclose(events.weight, np.where(anew, 1.0, 0.1))


def test_praise_where_the_right_answer_was_no_candidate_keeps_its_weight() -> None:
    among = np.tile(np.array([0, 1, 2, 3], np.int32), (4, 1))
    among[1] = NONE  # all
    among[2, 0] = RIGHT[2]
    events = replace(up(), candidates=among).joined(CORRECTION)
    np.testing.assert_allclose(corrected(events, 0)[0].weight[:4], [1.0, 0.1, 0.1, 1.0])


def test_without_events_nothing_is_corrected() -> None:
    events, anew = corrected(EMPTY, 0)
    assert len(events) == len(anew) == 0


def test_corrections_of_one_cycle_after_another_keep_what_was_learned_where_nothing_is_replayed() -> None:
    """What they move is taken whole only beside replayed facts: alone it was added up from cycle to cycle."""
    asked, state = told(600, 99), RankerState.initial(DIM)
    for cycle in range(10):
        facts = told(400, cycle)
        state = fit(state, TITLES, facts.take(np.flatnonzero(facts.correct % 10 == cycle)), EMPTY)
    right = score(state, asked.query, TITLES, ROWS).argmax(axis=1) == asked.correct
    assert right.mean() > 0.97  # .68 then
