"""A thumb, before any cycle, never moves the confidence in its answer against what it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.ranking.ranking_step import learn_ranking
from sona_pg.learning.ranking.recent_bounds import taken_back
from sona_pg.learning.ranking.recent_ranking import RecentRanking

ROUNDING = 1e-5


def thumbs(queries: FloatArray, shown: NDArray[np.int64], right: NDArray[np.bool_]) -> RankEvents:
    n = len(queries)
    nothing = np.full(n, NONE, np.int32)
    return RankEvents(queries, shown.astype(np.int32), right.astype(np.float32), nothing, np.ones(n, np.float32))


class Space:
    """Random candidates, ranked by a version and what was said since."""

    def __init__(self, items: int, dim: int, seed: int, *, fitted: bool) -> None:
        self.random = np.random.default_rng(seed)
        self.rows = unit_rows(self.random.standard_normal((items, dim)).astype(np.float32))
        state, slots = RankerState.initial(dim), np.arange(items, dtype=np.int32)
        if fitted:
            catalog = Catalog.of([str(row) for row in range(items)], self.rows)
            first, second = (self.said(200) for _ in range(2))
            state = learn_ranking(state, catalog, first, RankEvents.empty(dim), 0)
            state = learn_ranking(state, catalog, second, first, 1)
            assert state.belief[1] > 0.0
        self.served, self.sure = prepare(state, self.rows, slots), Confidence(state, self.rows)
        self.recent = RecentRanking(state, self.rows, slots)

    def near(self, meant: NDArray[np.int64]) -> FloatArray:
        """Queries between the candidate that is meant and the next one."""
        off = np.roll(self.rows, 1, axis=0)[meant] + 0.1 * self.random.standard_normal((len(meant), self.rows.shape[1]))
        return unit_rows((self.rows[meant] + off).astype(np.float32))

    def said(self, count: int) -> RankEvents:
        """Thumbs on answers that are right by chance."""
        meant = self.random.integers(0, len(self.rows), count)
        shown = np.where(self.random.random(count) < 0.7, meant, np.roll(meant, 1))
        return thumbs(self.near(meant), shown, shown == meant)

    def scores(self, query: FloatArray) -> FloatArray:
        weights, offset = self.recent.moves
        return query @ (self.served.weights + weights).T + self.served.offset + offset

    def confidence(self, query: FloatArray, shown: int) -> float:
        scores = self.scores(query)
        return float(self.sure.of(scores, scores[:, shown])[0][0])


@pytest.mark.parametrize("traffic", [0, 3])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("items", [2, 6, 40])
def test_the_same_thumb_up_forty_times_never_lowers_the_confidence(items: int, fitted: bool, traffic: int) -> None:
    for seed in range(2):
        space = Space(items, 24, seed, fitted=fitted)
        query = space.near(np.array([1]))
        shown = int(space.scores(query)[0].argmax())
        for _ in range(40):
            before = space.confidence(query, shown)
            space.recent.learn(thumbs(query, np.array([shown]), np.array([True])))
            assert space.confidence(query, shown) >= before - ROUNDING
            space.recent.learn(space.said(int(space.random.integers(0, traffic + 1))))


def test_no_thumb_of_a_stream_moves_the_confidence_in_its_answer_the_other_way() -> None:
    space = Space(12, 24, 5, fitted=False)
    for meant in space.random.integers(0, 12, 100):
        query = space.near(np.array([meant]))
        shown = int(space.scores(query)[0].argmax())
        before = space.confidence(query, shown)
        space.recent.learn(thumbs(query, np.array([shown]), np.array([shown == meant])))
        if shown == meant:
            assert space.confidence(query, shown) >= before - ROUNDING
        else:
            assert space.confidence(query, shown) <= before + ROUNDING


def test_a_thumb_up_on_an_answer_that_was_not_the_first_raises_it() -> None:
    space = Space(12, 24, 7, fitted=False)
    query = space.near(np.array([4]))
    shown = int(space.scores(query)[0].argsort()[-4])
    for _ in range(20):
        before = space.confidence(query, shown)
        space.recent.learn(thumbs(query, np.array([shown]), np.array([True])))
        assert space.confidence(query, shown) >= before - ROUNDING
    assert space.scores(query)[0].argmax() == shown


def test_only_a_difference_against_the_judgement_is_taken_back() -> None:
    before, after = np.array([1.0, 0.5, -1.0], np.float32), np.array([1.2, 0.9, -2.0], np.float32)
    change = taken_back(before, after, 0, 1.0, 1.0)
    np.testing.assert_allclose(change, [0.0, -0.2, 0.0], atol=1e-6)
    np.testing.assert_allclose(taken_back(before, after, 0, 0.0, 1.0), [-0.2, 0.0, 1.0], atol=1e-6)
    assert not taken_back(before, after, 0, 0.5, 1.0).any()


def test_the_sum_over_all_candidates_does_not_fall_by_praise() -> None:
    before, after = np.array([0.0, 2.0, 2.0], np.float32), np.array([0.1, 0.0, 0.0], np.float32)
    held = after + taken_back(before, after, 0, 1.0, 2.0)
    assert np.exp(2.0 * held).sum() == pytest.approx(np.exp(2.0 * before).sum(), rel=1e-5)
    np.testing.assert_array_equal(held[1:], after[1:])
