"""The ranker's part of a cycle, from facts to a state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sona_pg.domain.catalog import Catalog, Rows
from sona_pg.learning.ranking import ranking_step
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranking_step import learn_ranking

DIM, ITEMS = 24, 12
CATALOG = Catalog.of([f"c{item}" for item in range(ITEMS)], np.random.default_rng(0).standard_normal((ITEMS, DIM)))
ROWS = CATALOG.embeddings[:]


def asked(count: int, seed: int, noise: float) -> RankEvents:
    """Corrections of questions about the candidates."""
    rng = np.random.default_rng(seed)
    meant = rng.integers(0, ITEMS, count)
    queries = unit_rows((ROWS[meant] + noise * rng.standard_normal((count, DIM))).astype(np.float32))
    blank = np.full(count, np.nan, np.float32)
    return RankEvents(
        queries, np.full(count, NONE, np.int32), blank, meant.astype(np.int32), np.ones(count, np.float32)
    )


@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_the_first_version_knows_how_often_it_is_right(noise: float) -> None:
    """Easy questions and hard ones: nothing was measured before."""
    state = learn_ranking(RankerState.initial(DIM), CATALOG, asked(240, 1, noise), RankEvents.empty(DIM), seed=1)
    unseen = asked(2000, 2, noise)
    scores = score(state, unseen.query, ROWS, np.arange(ITEMS, dtype=np.int32))
    right = float((scores.argmax(axis=1) == unseen.correct).mean())
    assert float(Confidence(state, ROWS).of(scores, scores.max(axis=1)).confidence.mean()) == pytest.approx(
        right, abs=0.05
    )


def belief_and_truth(state: RankerState, unseen: RankEvents) -> tuple[float, float]:
    """Mean confidence in the first answers, and the share of them that are right."""
    scores = score(state, unseen.query, ROWS, np.arange(ITEMS, dtype=np.int32))
    sure = Confidence(state, ROWS).of(scores, scores.max(axis=1)).confidence
    return float(sure.mean()), float((scores.argmax(axis=1) == unseen.correct).mean())


def meaningless(count: int, seed: int, *, told: bool) -> RankEvents:
    """Questions whose answers' embeddings say nothing about them; thumbs on the most similar answer, or told ones."""
    events = asked(count, seed, 0.3)
    right = ((events.correct + 5) % ITEMS).astype(np.int32)
    if told:
        return replace(events, correct=right)
    shown = (events.query @ ROWS.T).argmax(axis=1).astype(np.int32)
    return replace(events, shown=shown, correct=events.shown, quality=(shown == right).astype(np.float32))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("count", [12, 20])
def test_a_first_cycle_of_twenty_facts_does_not_claim_more_than_it_knows(count: int, told: bool) -> None:
    """It said .85 to .88 and was right in .02 to .10: nothing was measured below 32 facts."""
    nothing, claimed = RankEvents.empty(DIM), []
    for seed in range(8):
        state = learn_ranking(
            RankerState.initial(DIM), CATALOG, meaningless(count, seed, told=told), nothing, seed=seed
        )
        sure, right = belief_and_truth(state, meaningless(500, 99, told=True))
        claimed.append(sure - right)
    assert float(np.mean(claimed)) < 0.3


def test_a_cycle_tries_parts_while_its_feedback_is_new_and_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they cost is bounded: four fits to three quarters of a few hundred events, or one of many."""
    fits: list[int] = []

    def counted(
        state: RankerState, embeddings: Rows, fresh: RankEvents, replay: RankEvents, **rest: Any
    ) -> RankerState:
        fits.append(len(fresh))
        return fit(state, embeddings, fresh, replay, **rest)

    monkeypatch.setattr(ranking_step, "fit", counted)
    state, learned = RankerState.initial(DIM), RankEvents.empty(DIM)
    compared = [0, 40]  # with a fit without sharpness
    for count, expected in ((20, [*[15] * 4, 20]), (20, [*[15] * 4, 20]), (280, [280]), (40, compared)):
        fits.clear()
        fresh = asked(count, count, 0.3)
        state, learned = learn_ranking(state, CATALOG, fresh, learned, seed=1), learned.joined(fresh)
        assert fits == expected
    fits.clear()
    learn_ranking(RankerState.initial(DIM), CATALOG, asked(1200, 1, 0.3), RankEvents.empty(DIM), seed=1)
    assert fits == [900, 900, 1200]  # the second with the sharpness that the first one chose


def test_a_first_cycle_of_few_facts_and_one_without_facts_are_learned() -> None:
    for count in (1, 7, 8):
        state = learn_ranking(RankerState.initial(DIM), CATALOG, asked(count, 3, 0.3), RankEvents.empty(DIM), seed=1)
        assert state.fits
        assert np.isfinite(state.belief).all()
    nothing = RankEvents.empty(DIM)
    assert learn_ranking(RankerState.initial(DIM), CATALOG, nothing, nothing, seed=1).fits == 0
