"""The ranker's values and its scoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.errors import DimensionMismatch, LearningError
from sona_pg.learning.ranking.ranker import RankerConfig, RankerState, score
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_explore import explore
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_prepared import prepare

DIM = 24
ITEMS = 10


def world(seed: int = 0, dim: int = DIM, items: int = ITEMS) -> tuple[np.ndarray, np.ndarray]:
    """Item embeddings, and the hidden centres of the queries that mean them."""
    random = np.random.default_rng(seed)
    items_ = unit_rows(random.standard_normal((items, dim)).astype(np.float32))
    offset = random.standard_normal((items, dim)).astype(np.float32)
    return items_, unit_rows(items_ + 0.35 * offset)


def ask(centres: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    meant = random.integers(0, len(centres), count).astype(np.int32)
    noise = 0.12 * random.standard_normal((count, centres.shape[1]))
    return unit_rows((centres[meant] + noise).astype(np.float32)), meant


def told(query: np.ndarray, meant: np.ndarray) -> RankEvents:
    count = len(query)
    return RankEvents(
        query,
        np.full(count, NONE, np.int32),
        np.full(count, np.nan, np.float32),
        meant,
        np.ones(count, np.float32),
    )


def rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def trained(seed: int = 0) -> tuple[RankerState, np.ndarray, np.ndarray]:
    items, centres = world(seed)
    events = told(*ask(centres, 200, seed + 1))
    return fit(RankerState.initial(DIM), items, events, RankEvents.empty(DIM)), items, centres


def test_before_any_feedback_scores_are_cosines() -> None:
    items, centres = world()
    scores = score(RankerState.initial(DIM), centres, items * 3.0, rows(ITEMS))
    np.testing.assert_allclose(scores, centres @ items.T, atol=1e-6)


def test_scores_equal_a_slow_reference_candidate_by_candidate() -> None:
    state, items, centres = trained()
    got = score(state, centres, items, rows(ITEMS))
    mean = state.query_sum / state.folded[0]
    for b, query in enumerate(centres):
        z = (query.astype(float) - mean) / state.scales[0]
        z1 = np.append(z, 1.0)
        for j, item in enumerate(items):
            f = (item.astype(float) - state.item_mean) / state.scales[1]
            want = state.scales[2] * (z + state.caution * query / state.scales[0]) @ f + f @ (state.map @ z1)
            want += state.heads[list(state.head_rows).index(j)] @ z1
            want += state.scales[3] / (1.0 + state.positive[j])
            assert got[b, j] == pytest.approx(want, abs=1e-4)


def test_an_unknown_candidate_is_scored_from_its_embedding_alone() -> None:
    state, items, centres = trained()
    stranger = unit_rows(np.random.default_rng(5).standard_normal((1, DIM)).astype(np.float32))
    both = score(state, centres, np.concatenate([items, stranger]), np.append(rows(ITEMS), NONE).astype(np.int32))
    np.testing.assert_allclose(both[:, :ITEMS], score(state, centres, items, rows(ITEMS)), atol=1e-5)
    assert np.isfinite(both[:, -1]).all()


@pytest.mark.parametrize("most", [DIM, 8])
def test_prepared_candidates_score_the_same(most: int) -> None:
    items, centres = world()
    events = told(*ask(centres, 200, 1))
    learned = fit(RankerState.initial(DIM), items, events, RankEvents.empty(DIM), RankerConfig(most_features=most))
    some = np.array([7, NONE, 2], np.int32)
    candidates = np.concatenate([items[7:8], unit_rows(centres[:1]), items[2:3]])
    for state in (RankerState.initial(DIM), replace(learned, scales=learned.scales + np.float32(0.5))):
        got = prepare(state, candidates, some).score(3.0 * centres)
        np.testing.assert_allclose(got, score(state, centres, candidates, some), atol=1e-4)
    with pytest.raises(DimensionMismatch):
        prepare(learned, candidates, some).score(np.zeros((1, DIM + 1), np.float32))
    with pytest.raises(DimensionMismatch):
        prepare(learned, candidates[:, 1:], some)


def test_scores_do_not_depend_on_the_order_of_the_candidates() -> None:
    state, items, centres = trained()
    order = np.random.default_rng(1).permutation(ITEMS)
    shuffled = score(state, centres, items[order], order.astype(np.int32))
    np.testing.assert_allclose(shuffled, score(state, centres, items, rows(ITEMS))[:, order], atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, ITEMS])
def test_scoring_some_candidates_equals_scoring_all(count: int) -> None:
    state, items, centres = trained()
    some = rows(ITEMS)[::-1][:count].copy()
    every = score(state, centres, items, rows(ITEMS))
    np.testing.assert_allclose(score(state, centres, items[some], some), every[:, some], atol=1e-5)


@pytest.mark.parametrize(("queries", "candidates"), [(0, 3), (2, 0), (1, 1)])
def test_empty_and_single_inputs_have_scores_of_that_shape(queries: int, candidates: int) -> None:
    state, items, centres = trained()
    for each in (state, RankerState.initial(DIM)):
        got = score(each, centres[:queries], items[:candidates], rows(candidates))
        assert got.shape == (queries, candidates)


def test_zero_and_huge_queries_score_finitely() -> None:
    state, items, _ = trained()
    odd = np.stack([np.zeros(DIM), np.full(DIM, 1e38)]).astype(np.float32)
    assert np.isfinite(score(state, odd, items, rows(ITEMS))).all()


def test_a_query_of_another_dimension_is_refused() -> None:
    state, items, _ = trained()
    with pytest.raises(DimensionMismatch):
        score(state, np.zeros((1, DIM + 1), np.float32), items, rows(ITEMS))


def test_a_stored_state_comes_back_the_same() -> None:
    state, items, centres = trained()
    again = RankerState.from_arrays(state.to_arrays())
    np.testing.assert_array_equal(score(again, centres, items, rows(ITEMS)), score(state, centres, items, rows(ITEMS)))


def test_a_stored_state_that_lacks_an_array_is_refused_by_name() -> None:
    arrays = trained()[0].to_arrays()
    del arrays["heads"]
    with pytest.raises(LearningError, match="heads"):
        RankerState.from_arrays(arrays)


def test_exploration_favours_candidates_with_little_evidence_and_fades() -> None:
    state = trained()[0]
    state = replace(state, positive=np.arange(ITEMS) * 100.0)
    bonus = explore(state, np.zeros((1, ITEMS), np.float32), rows(ITEMS))[0]
    assert (np.diff(bonus) < 0).all()
    assert bonus[-1] < 0.05


def test_columns_of_different_lengths_are_refused() -> None:
    events = told(*ask(world()[1], 3, 0))
    with pytest.raises(LearningError, match="shown"):
        replace(events, shown=np.zeros(2, np.int32))


def test_unusable_events_are_found() -> None:
    events = told(*ask(world()[1], 4, 0))
    query = events.query.copy()
    query[0, 0] = np.nan
    correct = events.correct.copy()
    correct[1] = ITEMS
    quality = np.array([np.nan, np.nan, 1.5, np.nan], np.float32)
    bad = replace(events, query=query, correct=correct, quality=quality)
    np.testing.assert_array_equal(bad.usable(ITEMS), [False, False, False, True])


def test_the_defaults_are_frozen() -> None:
    with pytest.raises(AttributeError):
        RankerConfig().ridge = 2.0  # type: ignore[misc]
