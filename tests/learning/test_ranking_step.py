"""The ranker's part of a cycle, from facts to a state."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.domain.catalog import Catalog
from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
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


def test_a_first_cycle_of_few_facts_and_one_without_facts_are_learned() -> None:
    for count in (1, 31, 32):
        state = learn_ranking(RankerState.initial(DIM), CATALOG, asked(count, 3, 0.3), RankEvents.empty(DIM), seed=1)
        assert state.fits
        assert np.isfinite(state.belief).all()
    nothing = RankEvents.empty(DIM)
    assert learn_ranking(RankerState.initial(DIM), CATALOG, nothing, nothing, seed=1).fits == 0
