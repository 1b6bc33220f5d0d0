"""The ranker while there is little feedback: cosines count more, and what was told of a query stays its answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit

from .test_ranker import DIM, ITEMS, ask, rows, told, world

NOTHING = RankEvents.empty(DIM)


def test_the_cosine_counts_the_more_the_less_each_judged_candidate_is_known() -> None:
    items, centres = world()
    after = [
        fit(RankerState.initial(DIM), items, told(*ask(centres, count, 1)), RankEvents.empty(DIM))
        for count in (5, 20, 80, 320)
    ]
    cautions = [state.caution for state in after]
    assert cautions == sorted(cautions, reverse=True)
    assert cautions[0] > 1.0
    assert cautions[-1] < 0.1
    few = after[0]
    sure = replace(few, folded=few.folded + np.array([0.0, 1e6, 0.0, 0.0, 0.0]))
    learned, without = (score(state, centres, items, rows(ITEMS)) for state in (few, sure))
    cosine = few.cosine_slope * (centres @ items.T)
    apart = learned - without - np.float32(few.caution) * cosine  # equal for all candidates of a query
    np.testing.assert_allclose(apart, np.repeat(apart[:, :1], ITEMS, axis=1), atol=1e-3)


def test_while_all_feedback_is_about_one_query_the_order_stays_that_of_its_cosines() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        items = unit_rows(random.standard_normal((4, DIM)).astype(np.float32))
        query, other = unit_rows(random.standard_normal((2, DIM)).astype(np.float32))[:, None]
        first = int(np.argmax(query @ items.T))
        stored = query.astype(np.float16).astype(np.float32)  # as the ledger keeps it
        blank = np.full(1, NONE, np.int32)
        up = RankEvents(stored, np.full(1, first, np.int32), np.ones(1, np.float32), blank, np.ones(1, np.float32))
        state = fit(RankerState.initial(DIM), items, up, RankEvents.empty(DIM))
        assert score(state, query, items, rows(4)).argmax() == first
        assert np.abs(score(state, other, items, rows(4))).max() < 100


def test_however_cautious_what_was_told_of_a_query_stays_its_answer() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        items = unit_rows(rng.standard_normal((4, DIM)).astype(np.float32))
        query = unit_rows((items[[0]] + 0.6 * items[[1]] + 0.3 * rng.standard_normal((1, DIM))).astype(np.float32))
        for times in (1, 3):
            shown, meant = np.zeros(times, np.int32), np.ones(times, np.int32)
            unrated, weight = np.full(times, np.nan, np.float32), np.ones(times, np.float32)
            corrected = RankEvents(np.repeat(query, times, 0), shown, unrated, meant, weight)
            state = fit(RankerState.initial(DIM), items, corrected, NOTHING, seed=seed)
            assert state.caution > 0.0
            assert score(state, query, items, rows(4)).argmax() == 1
