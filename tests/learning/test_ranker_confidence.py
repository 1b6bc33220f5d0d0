"""Confidence in rankings: calibrated, low where nothing fits, and the same in one call as in many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_confidence import DOUBT, UNUSUAL, Confidence, Tried, first_sharpness, measured
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit

DIM, ITEMS = 24, 12
RNG = np.random.default_rng(0)
ROWS = unit_rows(RNG.standard_normal((ITEMS, DIM)).astype(np.float32))
SLOTS = np.arange(ITEMS, dtype=np.int32)


def asked(meant: NDArray[np.int64], seed: int, noise: float = 0.4) -> NDArray[np.float32]:
    strange = np.random.default_rng(seed).standard_normal((len(meant), DIM))
    return unit_rows((ROWS[meant] + noise * strange).astype(np.float32))


def learned(cycles: int = 3, noise: float = 0.4) -> RankerState:
    return taught(cycles, noise)[0]


def taught(cycles: int, noise: float = 0.4) -> tuple[RankerState, RankEvents]:
    """A state, and what it has learned from."""
    state, replay = RankerState.initial(DIM), RankEvents.empty(DIM)
    for cycle in range(cycles):
        meant = np.random.default_rng(cycle).integers(0, ITEMS, 200)
        queries, none = asked(meant, 10 + cycle, noise), np.full(200, NONE, np.int32)
        fresh = RankEvents(
            queries, none, np.full(200, np.nan, np.float32), meant.astype(np.int32), np.ones(200, np.float32)
        )
        state = measured(state, fit(state, ROWS, fresh, replay), ROWS, fresh, replay)
        replay = replay.joined(fresh)
    return state, replay


def test_the_first_answer_is_right_about_as_often_as_its_confidence_says() -> None:
    state, meant = learned(), np.random.default_rng(2).integers(0, ITEMS, 2000)
    scores = score(state, asked(meant, 2), ROWS, SLOTS)
    sure, fits = Confidence(state, ROWS).of(scores, scores.max(axis=1))
    assert float(sure.mean()) == pytest.approx(float((scores.argmax(axis=1) == meant).mean()), abs=0.06)
    assert fits is not None
    assert float(fits.mean()) > 0.85


def test_what_resembles_nothing_fits_nothing() -> None:
    state = learned()
    span = np.linalg.qr(ROWS.T)[0]
    strange = RNG.standard_normal((200, DIM)).astype(np.float32)
    strange = unit_rows(strange - strange @ span @ span.T)
    usual = asked(RNG.integers(0, ITEMS, 200), 3)
    sure = [
        Confidence(state, ROWS).of(scores, scores.max(axis=1)).confidence
        for scores in (score(state, queries, ROWS, SLOTS) for queries in (usual, strange))
    ]
    assert float(np.median(sure[1])) < float(np.quantile(sure[0], 0.25))


@pytest.mark.parametrize("state", [RankerState.initial(DIM), learned()], ids=["new", "learned"])
def test_one_ranking_is_believed_as_one_of_many(state: RankerState) -> None:
    scores = score(state, asked(SLOTS.astype(np.int64), 4), ROWS, SLOTS)
    confidence = Confidence(state, ROWS)
    many = confidence.of(scores, scores.max(axis=1))
    for row in range(ITEMS):
        best = float(scores[row].max())
        among = float(np.exp(confidence.sharpness * (scores[row].astype(np.float64) - best)).sum())
        sure, fits = confidence.of_best(best, among)
        assert sure == pytest.approx(float(many.confidence[row]), rel=1e-4)
        assert (fits is None) == (many.fit is None)
        assert fits is None or many.fit is None or fits == pytest.approx(float(many.fit[row]), rel=1e-3)


def test_a_state_of_an_earlier_release_believes_as_a_new_one() -> None:
    arrays = learned().to_arrays()
    del arrays["belief"], arrays["unusual"]
    state = RankerState.from_arrays(arrays)
    assert not state.belief[:2].any()
    scores = score(state, asked(np.arange(3), 5), ROWS, SLOTS)
    assert Confidence(state, ROWS).of(scores, scores.max(axis=1)).fit is None


def test_a_single_candidate_and_equal_ones_have_a_finite_sharpness() -> None:
    for rows in (ROWS[:1], np.repeat(ROWS[:1], 3, axis=0)):
        assert 0 < first_sharpness(rows, 1.8) < 1e5
        confidence = Confidence(RankerState.initial(DIM), rows)
        sure, fits = confidence.of_best(1.0, float(np.exp(confidence.sharpness * (rows @ rows[0] - 1.0)).sum()))
        assert 0 < sure <= 1
        assert fits is None


def test_where_more_answers_are_wrong_more_queries_count_as_ones_that_nothing_fits() -> None:
    few, many = learned(noise=0.2), learned(noise=0.6)
    meant = np.random.default_rng(2).integers(0, ITEMS, 1000)
    doubted, wrong = [], []
    for state, noise in ((few, 0.2), (many, 0.6)):
        scores = score(state, asked(meant, 2, noise), ROWS, SLOTS)
        fits = Confidence(state, ROWS).of(scores, scores.max(axis=1)).fit
        assert fits is not None
        doubted.append(1.0 - float(fits.mean()))
        wrong.append(float((scores.argmax(axis=1) != meant).mean()))
    assert many.unusual[0] < few.unusual[0] <= UNUSUAL[1]
    assert doubted[1] > doubted[0]
    assert doubted[1] < DOUBT * wrong[1] + 0.02


def test_too_little_feedback_leaves_what_is_unusual_as_it_was() -> None:
    state = learned(1)
    fresh = RankEvents(ROWS[:8], SLOTS[:8], np.ones(8, np.float32), np.full(8, NONE, np.int32), np.ones(8, np.float32))
    after = measured(state, fit(state, ROWS, fresh, RankEvents.empty(DIM)), ROWS, fresh, RankEvents.empty(DIM))
    assert after.unusual[0] == state.unusual[0]


def test_questions_that_are_asked_again_do_not_make_others_look_strange() -> None:
    """A version knows the answers of what it was taught: that says nothing about questions it has not seen."""
    meant = np.tile(np.arange(ITEMS), 3)
    queries, none = asked(meant, 7), np.full(len(meant), NONE, np.int32)
    said = RankEvents(
        queries, none, np.full(len(meant), np.nan, np.float32), meant.astype(np.int32), np.ones(len(meant), np.float32)
    )
    unseen = np.random.default_rng(5).integers(0, ITEMS, 500)
    state, replay, sure = RankerState.initial(DIM), RankEvents.empty(DIM), []
    for _ in range(5):
        state = measured(state, fit(state, ROWS, said, replay), ROWS, said, replay)
        replay = replay.joined(said)
        scores = score(state, asked(unseen, 6), ROWS, SLOTS)
        sure.append(float(Confidence(state, ROWS).of(scores, scores.max(axis=1)).confidence.mean()))
    right = float((scores.argmax(axis=1) == unseen).mean())
    assert min(sure) > sure[0] - 0.1
    assert sure[-1] == pytest.approx(right, abs=0.15)


def corrections(meant: NDArray[np.int64], queries: NDArray[np.float32]) -> RankEvents:
    count = len(meant)
    none, blank = np.full(count, NONE, np.int32), np.full(count, np.nan, np.float32)
    return RankEvents(queries, none, blank, meant.astype(np.int32), np.ones(count, np.float32))


def test_fits_to_parts_of_the_first_feedback_do_not_tell_what_is_unusual() -> None:
    first, state, meant = RankerState.initial(DIM), learned(1), np.random.default_rng(9).integers(0, ITEMS, 100)
    fresh, nothing = corrections(meant, asked(meant, 9)), RankEvents.empty(DIM)
    after, parts = fit(state, ROWS, fresh, nothing), [Tried.of(state, ROWS, fresh, nothing)]
    found = [measured(before, after, ROWS, fresh, nothing, parts=parts).unusual[0] for before in (first, state)]
    assert found[0] == first.unusual[0]
    assert found[1] < found[0]


def test_a_space_may_differ_more_from_others_than_a_version_from_the_one_before() -> None:
    state, meant = learned(1, noise=0.1), np.random.default_rng(9).integers(0, ITEMS, 100)
    fresh, nothing = corrections(meant, asked(meant, 9, 0.1)), RankEvents.empty(DIM)
    after, parts = fit(state, ROWS, fresh, nothing), [Tried.of(state, ROWS, fresh, nothing)]
    first = measured(state, after, ROWS, fresh, nothing, parts=parts)
    known = replace(state, belief=state.belief + np.float32([0.0, 0.0, 0.01, 0.0, 0.0]))
    later = measured(known, after, ROWS, fresh, nothing, parts=parts)
    assert first.belief[4] > later.belief[4] + 0.2 > state.belief[4] + 0.2


def test_trials_on_parts_count_as_one_on_all() -> None:
    state, meant = learned(1), np.random.default_rng(9).integers(0, ITEMS, 100)
    fresh, nothing = corrections(meant, asked(meant, 9)), RankEvents.empty(DIM)
    after, places = fit(state, ROWS, fresh, nothing), np.arange(100)
    found = [
        measured(state, after, ROWS, fresh, nothing, parts=parts).belief
        for parts in (
            [Tried.of(state, ROWS, fresh, nothing)],
            [Tried.of(state, ROWS, fresh.take(places % 4 == part), nothing) for part in range(4)],
        )
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_thumbs_on_other_answers_tell_of_the_first_ones_as_well() -> None:
    """Only answers that stayed first were counted, and those are right more often."""
    rng = np.random.default_rng(3)
    state, meant = learned(2), rng.integers(0, ITEMS, 480)
    queries = asked(meant, 12, 0.5)
    shown = (queries @ ROWS.T).argmax(axis=1).astype(np.int32)
    none, weight = np.full(480, NONE, np.int32), np.ones(480, np.float32)
    thumbs = RankEvents(queries, shown, (shown == meant).astype(np.float32), none, weight)
    nothing = RankEvents.empty(DIM)
    after = fit(state, ROWS, thumbs, nothing)
    found = [
        float(measured(state, after, ROWS, fresh, nothing, parts=[Tried.of(state, ROWS, fresh, nothing)]).belief[4])
        for fresh in (thumbs, corrections(meant, queries))
    ]
    assert found[0] == pytest.approx(found[1], abs=0.1)


def test_one_question_that_is_asked_three_hundred_times_leaves_the_confidence_in_others() -> None:
    """It was counted as three hundred new questions, all alike: others looked strange beside them."""
    state, replay = taught(4)
    unseen = np.random.default_rng(5).integers(0, ITEMS, 500)
    sure = []
    for cycle in range(5):
        meant = np.full(300, cycle)
        one = np.tile(asked(meant[:1], 40 + cycle), (300, 1))
        none = np.full(300, NONE, np.int32)
        said = RankEvents(one, none, np.full(300, np.nan, np.float32), meant.astype(np.int32), np.ones(300, np.float32))
        state = measured(state, fit(state, ROWS, said, replay), ROWS, said, replay)
        replay = replay.joined(said)
        scores = score(state, asked(unseen, 6), ROWS, SLOTS)
        sure.append(float(Confidence(state, ROWS).of(scores, scores.max(axis=1)).confidence.mean()))
    assert min(sure) > sure[0] - 0.1
