"""The ranker with many candidates: the work of a cycle and the size of a version are bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.learning.ranking import ranker_fit
from sona_pg.learning.ranking.ranker import RankerConfig, RankerState, score
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_objective import PartialLabels

DIM = 32
ITEMS = 1200


@pytest.fixture(scope="module")
def items() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).standard_normal((ITEMS, DIM)).astype(np.float32))


def told(items: np.ndarray, n: int, seed: int, of: int = ITEMS) -> RankEvents:
    rng = np.random.default_rng(seed)
    meant = rng.integers(of, size=n).astype(np.int32)
    query = unit_rows(items[meant] + 0.2 * rng.standard_normal((n, DIM)).astype(np.float32))
    nothing = np.full(n, NONE, np.int32)
    return RankEvents(query, nothing, np.full(n, np.nan, np.float32), meant, np.ones(n, np.float32))


def test_a_fit_scores_a_bounded_number_of_cells(items, monkeypatch):
    seen: list[int] = []
    usual = ranker_fit.stranger_scores

    def counted(state, queries, embeddings):
        seen.append(len(queries) * len(embeddings))
        return usual(state, queries, embeddings)

    monkeypatch.setattr(ranker_fit, "stranger_scores", counted)
    product = PartialLabels.product

    def weighed(self, parameters):
        seen.append(self.base.size)
        return product(self, parameters)

    monkeypatch.setattr(PartialLabels, "product", weighed)
    for cells in ("_CALIBRATED_CELLS", "_ASKED_CELLS", "_MEASURED_CELLS", "_FITTED_CELLS"):
        monkeypatch.setattr(ranker_fit, cells, 20 * ITEMS)
    monkeypatch.setattr(ranker_fit, "_MOST_PSEUDO", 256)
    config = RankerConfig(most_rows=300)
    state, history = RankerState.initial(DIM), RankEvents.empty(DIM)
    for turn in range(2):
        fresh = told(items, 100, turn)
        state, history = fit(state, items, fresh, history, config), history.joined(fresh)
    assert seen
    # scores over all candidates; and new events, as many earlier ones, and a pseudo-query per candidate, over 300
    assert max(seen) <= max(20 * ITEMS, (2 * 100 + 300) * 300)


def test_new_events_are_fitted_first_where_not_all_can_be(items):
    config = RankerConfig(most_rows=300)
    history = told(items, 290, 1, of=700)  # each judged about once, all before the new ones by row
    state = fit(RankerState.initial(DIM), items, history, RankEvents.empty(DIM), config)
    late = told(items, 200, 2)
    late = late.take(late.correct >= 800)
    state = fit(state, items, late, history, config)
    assert set(late.correct.tolist()) <= set(state.head_rows.tolist())


def test_a_version_stores_the_heads_that_were_judged_most(items):
    config = RankerConfig(most_rows=300, most_heads=350)
    state, history = RankerState.initial(DIM), RankEvents.empty(DIM)
    for turn in range(4):
        fresh = told(items, 120, turn)
        state, history = fit(state, items, fresh, history, config), history.joined(fresh)
    assert len(state.heads) == len(state.head_rows) == 350
    assert (np.diff(state.head_rows) > 0).all()
    judged = np.flatnonzero(state.positive + state.negative)
    assert len(np.intersect1d(judged, state.head_rows)) == min(350, len(judged))


def test_a_sample_of_earlier_events_weighs_as_much_as_all(items):
    events = told(items, 100, 1)
    events = replace(events, weight=np.linspace(1, 2, 100).astype(np.float32))

    def sampled(fresh: int) -> RankEvents:
        given = ranker_fit._Fitted(events, *np.zeros((2, 100), bool), fresh, new=0.0)
        return ranker_fit._affordable(given, 40).events

    kept = sampled(10)
    assert len(kept) == 40
    assert np.array_equal(kept.weight[:10], events.weight[:10])
    assert kept.weight.sum() == pytest.approx(events.weight.sum(), rel=1e-5)
    assert len(sampled(60)) == 100  # as many earlier ones as new ones, whatever the bound


def test_it_learns_among_many_items_from_samples(items):
    state, history = RankerState.initial(DIM), RankEvents.empty(DIM)
    rng = np.random.default_rng(5)
    wanted = rng.integers(ITEMS, size=40)
    queries = unit_rows(rng.standard_normal((40, DIM)).astype(np.float32))
    for turn in range(4):
        n = 200
        which = np.random.default_rng(turn).integers(40, size=n)
        query = unit_rows(queries[which] + 0.05 * rng.standard_normal((n, DIM)).astype(np.float32))
        nothing, unsaid = np.full(n, NONE, np.int32), np.full(n, np.nan, np.float32)
        fresh = RankEvents(query, nothing, unsaid, wanted[which].astype(np.int32), np.ones(n, np.float32))
        state, history = fit(state, items, fresh, history, seed=turn), history.joined(fresh)
    best = score(state, queries, items, np.arange(ITEMS, dtype=np.int32)).argmax(axis=1)
    assert (best == wanted).mean() >= 0.9


def test_rivals_of_very_many_candidates_are_looked_for_in_a_part_of_them_and_each_is_looked_at_in_time(
    items, monkeypatch
):
    monkeypatch.setattr(ranker_fit, "_MOST_SEARCHED", ITEMS // 4)
    seen = set()
    usual = ranker_fit.add_heads
    monkeypatch.setattr(ranker_fit, "add_heads", lambda *of: (seen.update(of[3].tolist()), usual(*of))[1])
    state = replace(fit(RankerState.initial(DIM), items, told(items, 50, 0), RankEvents.empty(DIM)))
    random = np.random.default_rng(0)
    events = told(items, 50, 1)
    for _ in range(30):
        rows = ranker_fit._active_rows(state, items, events, len(events), 1000, random)
        assert np.isin(events.judged, rows).all()
        assert len(rows) <= len(np.unique(events.judged)) + ranker_fit._MOST_RIVALS
    assert len(seen) == ITEMS


def test_first_feedback_about_each_candidate_measures_nothing_and_costs_no_scores(items, monkeypatch):
    calls = []
    usual = ranker_fit.stranger_scores
    monkeypatch.setattr(ranker_fit, "stranger_scores", lambda *of: (calls.append(len(of[1])), usual(*of))[1])
    judged = np.arange(ITEMS, dtype=np.int32)
    queries = unit_rows(items + np.float32(0.1))
    blank = np.full(200, NONE, np.int32)

    def first(start: int) -> RankEvents:
        rows = slice(start, start + 200)
        return RankEvents(
            queries[rows], blank, np.full(200, np.nan, np.float32), judged[rows], np.ones(200, np.float32)
        )

    state = fit(RankerState.initial(DIM), items, first(0), RankEvents.empty(DIM))
    calls.clear()
    later = fit(state, items, first(200), first(0))
    assert len(calls) == 1  # for rivals
    assert later.scales[3] == state.scales[3]
    fit(later, items, first(200), first(0))
    assert len(calls) == 3  # known once, they calibrate as well
