"""A meaning that changes is learned anew: contradictions that agree with each other and are newer are no noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.errors import LearningError
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_change import contradictions, standing
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_explore import explore
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_search import find_changes

DIM, ITEMS = 48, 12
RNG = np.random.default_rng(11)
CENTRES = unit_rows(RNG.standard_normal((ITEMS, DIM)).astype(np.float32))
TITLES = unit_rows(CENTRES + np.float32(0.1) * RNG.standard_normal((ITEMS, DIM)).astype(np.float32))
ROWS = np.arange(ITEMS, dtype=np.int32)
MOVED = np.array([1, 2, 0, *range(3, ITEMS)], np.int32)  # 0, 1 and 2 change places
EMPTY = RankEvents.empty(DIM)


def ask(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    meant = random.integers(0, ITEMS, count).astype(np.int32)
    noise = np.float32(0.08) * random.standard_normal((count, DIM)).astype(np.float32)
    return unit_rows(CENTRES[meant] + noise), meant


def told(count: int, seed: int, now: np.ndarray = ROWS, wrong: float = 0.0) -> RankEvents:
    query, meant = ask(count, seed)
    random = np.random.default_rng(seed + 1)
    right = np.where(random.random(count) < wrong, random.integers(0, ITEMS, count), now[meant]).astype(np.int32)
    blank = np.full(count, NONE, np.int32)
    return RankEvents(query, blank, np.full(count, np.nan, np.float32), right, np.ones(count, np.float32))


def thumbs(state: RankerState, count: int, seed: int, now: np.ndarray) -> RankEvents:
    query, meant = ask(count, seed)
    scores = score(state, query, TITLES, ROWS)
    shown = explore(state, scores, ROWS, 1.0, query, TITLES).argmax(axis=1).astype(np.int32)
    blank = np.full(count, NONE, np.int32)
    return RankEvents(query, shown, (shown == now[meant]).astype(np.float32), blank, np.ones(count, np.float32))


def accuracy(state: RankerState, now: np.ndarray, of: np.ndarray) -> float:
    query, meant = ask(600, 99)
    rows = np.isin(meant, of)
    return float((score(state, query[rows], TITLES, ROWS).argmax(axis=1) == now[meant[rows]]).mean())


def at_centres(*phases: list[tuple[int, int, int]]) -> RankEvents:
    """(centre, answer told, times), in random order within each phase."""
    random = np.random.default_rng(7)
    said = [random.permutation([part[:2] for part in phase for _ in range(part[2])]) for phase in phases]
    centre, right = np.concatenate(said).T
    query = CENTRES[centre] + np.float32(0.08) * random.standard_normal((len(centre), DIM)).astype(np.float32)
    blank, none = np.full(len(centre), NONE, np.int32), np.full(len(centre), np.nan, np.float32)
    return RankEvents(unit_rows(query), blank, none, right.astype(np.int32), np.ones(len(centre), np.float32))


def before() -> tuple[RankerState, RankEvents]:
    history = told(480, 1)
    return fit(RankerState.initial(DIM), TITLES, history, EMPTY), history


def test_an_answer_that_moved_is_learned_from_a_few_corrections_and_the_others_stay() -> None:
    state, history = before()
    assert accuracy(state, ROWS, ROWS) > 0.97
    for cycle in range(2):
        fresh = told(60, 10 + cycle, MOVED)
        state, history = fit(state, TITLES, fresh, history, seed=cycle), history.joined(fresh)
    assert accuracy(state, MOVED, ROWS[:3]) > 0.9
    assert accuracy(state, MOVED, ROWS[3:]) > 0.97


def test_thumbs_alone_find_the_new_answer_among_the_items_that_lost_theirs() -> None:
    state, history = before()
    for cycle in range(8):
        fresh = thumbs(state, 40, 20 + cycle, MOVED)
        state, history = fit(state, TITLES, fresh, history, seed=cycle), history.joined(fresh)
    assert accuracy(state, MOVED, ROWS[:3]) > 0.8
    assert accuracy(state, MOVED, ROWS[3:]) > 0.95


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_wrong_feedback_at_all_times_is_no_change(wrong: float) -> None:
    found = find_changes(told(500, 3, wrong=wrong), 40, ITEMS)
    assert found.holds.mean() > 0.97
    assert not len(found.search.lost)


def test_only_what_is_older_than_the_change_is_overruled() -> None:
    events = told(480, 1).joined(told(120, 2, MOVED))
    found = find_changes(events.take(np.roll(np.arange(600), 120)), 120, ITEMS)  # the new ones come first
    holds = np.roll(found.holds, -120)
    old = np.isin(events.correct, ROWS[:3]) & (np.arange(600) < 480)
    assert holds[old].mean() < 0.05
    assert holds[~old].mean() > 0.98


def test_the_evidence_of_an_item_that_lost_its_queries_is_set_aside_and_comes_back_with_a_retraction() -> None:
    state, history = before()
    fresh = told(90, 10, MOVED)
    moved = fit(state, TITLES, fresh, history)
    assert moved.standing_evidence(ROWS)[:3].sum() < 0.5 * moved.evidence(ROWS)[:3].sum()
    np.testing.assert_array_equal(moved.standing_evidence(ROWS)[3:], moved.evidence(ROWS)[3:])
    back = fit(moved, TITLES, replace(fresh, weight=-fresh.weight), history)
    np.testing.assert_array_equal(back.overruled, 0.0)
    np.testing.assert_allclose(back.positive, state.positive)
    assert not len(back.lost)


def test_what_is_searched_for_is_the_same_for_the_same_query_and_version() -> None:
    state, history = before()
    state = fit(state, TITLES, thumbs(state, 60, 20, MOVED), history)
    assert len(state.lost) >= 2
    query, meant = ask(200, 5)
    scores = score(state, query, TITLES, ROWS)
    shown = explore(state, scores, ROWS, 1.0, query, TITLES)
    np.testing.assert_array_equal(shown, explore(state, scores, ROWS, 1.0, query, TITLES))
    changed = (shown != explore(state, scores, ROWS, 1.0)).any(axis=1)
    assert np.isin(meant[changed], ROWS[:3]).mean() > 0.9
    order = np.random.default_rng(0).permutation(ITEMS)
    shuffled = explore(state, scores[:, order], ROWS[order], 1.0, query, TITLES[order])
    np.testing.assert_allclose(shuffled, shown[:, order], atol=1e-5)


def test_not_this_one_agrees_with_another_one_but_not_the_reverse() -> None:
    judged, right = np.array([0, 0, 1, 1], np.int32), np.array([True, False, True, False])
    expected = [[-1, 1, 1, 0], [1, -1, -1, 0], [1, 0, -1, 1], [-1, 0, 1, -1]]
    np.testing.assert_array_equal(contradictions(judged, right), expected)


def test_no_events_and_one_event_have_not_changed() -> None:
    assert standing(EMPTY, EMPTY.query).holds.shape == (0,)
    one = told(1, 0)
    assert standing(one, one.query).holds.all()


def test_a_state_stored_before_changes_were_looked_for_is_read() -> None:
    state, _ = before()
    new = ("overruled", "lost", "reach", "homes", "tally")
    old = {name: array for name, array in state.to_arrays().items() if name not in new}
    np.testing.assert_array_equal(RankerState.from_arrays(old).overruled, np.zeros(ITEMS))
    with pytest.raises(LearningError, match="lacks query_sum"):
        RankerState.from_arrays({name: array for name, array in old.items() if name != "query_sum"})


def test_feedback_among_the_queries_of_another_is_overruled_with_the_rest_of_its_candidate() -> None:
    """Its neighbours contradict it before and after the change, so by itself it shows none."""
    events = at_centres([(5, 5, 20), (5, 0, 6), (0, 0, 20)], [(5, 5, 10), (5, 1, 3), (0, 1, 10)])
    found = standing(events, unit_rows(events.query))
    early = np.arange(len(events)) < 46
    assert not found.holds[early & (events.judged == 0)].any()
    assert found.holds[(events.judged == 5) | (events.judged == 1)].all()


@pytest.mark.parametrize("confirmed", [0, 3])
def test_a_candidate_that_lost_most_of_its_queries_keeps_those_that_nobody_contradicts(confirmed: int) -> None:
    events = at_centres([(3, 0, 8)], [(0, 0, 20)], [(0, 1, 10), (3, 0, confirmed)])
    found = standing(events, unit_rows(events.query))
    assert not found.holds[8:28].any()
    assert found.holds[:8].all()
    assert found.holds[28:].all()
