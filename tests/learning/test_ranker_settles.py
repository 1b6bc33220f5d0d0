"""In a small space one cycle's fit converges: feedback and retractions take full effect at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker import RankerState, score
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit

DIM, ITEMS = 32, 6
RAW = np.random.default_rng(5).standard_normal((ITEMS, DIM)).astype(np.float32)
CENTRES = unit_rows(RAW)
EMPTY = RankEvents.empty(DIM)


def asked(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    meant = (np.arange(count) % ITEMS).astype(np.int32)
    return unit_rows(RAW[meant] + np.float32(0.4) * random.standard_normal((count, DIM)).astype(np.float32)), meant


def judged(query: NDArray[np.float32], shown: NDArray[np.int32], up: NDArray[np.bool_]) -> RankEvents:
    blank = np.full(len(query), NONE, np.int32)
    return RankEvents(query, shown, up.astype(np.float32), blank, np.ones(len(query), np.float32))


def corrected(query: NDArray[np.float32], shown: NDArray[np.int32], right: NDArray[np.int32]) -> RankEvents:
    return RankEvents(query, shown, np.zeros(len(query), np.float32), right, np.ones(len(query), np.float32))


def accuracy(state: RankerState) -> float:
    query, meant = asked(300, 99)
    return float((score(state, query, CENTRES, np.arange(ITEMS, dtype=np.int32)).argmax(axis=1) == meant).mean())


def margin(state: RankerState, query: NDArray[np.float32]) -> float:
    """How far the liked candidate 3 is before the usual one, 0, for one query."""
    scores = score(state, query[None, :], CENTRES, np.arange(ITEMS, dtype=np.int32))[0]
    return float(scores[3] - scores[0])


def honest() -> tuple[RankerState, RankEvents]:
    query, meant = asked(600, 1)
    shown = np.random.default_rng(3).integers(0, ITEMS, 600).astype(np.int32)
    told = judged(query, shown, shown == meant)
    return fit(RankerState.initial(DIM), CENTRES, told, EMPTY), told


def test_two_hundred_likes_of_one_query_count_in_the_cycle_that_learns_them() -> None:
    before, history = honest()
    query = unit_rows(RAW[:1] + np.float32(0.1))
    many = np.repeat(query, 200, axis=0)
    likes = judged(many, np.full(200, 3, np.int32), np.ones(200, bool))
    once = fit(before, CENTRES, likes, history)
    assert margin(before, query[0]) < 0 < margin(once, query[0])
    later = once
    for _ in range(3):
        later = fit(later, CENTRES, likes.take(np.arange(1)), history.joined(likes))
    assert margin(later, query[0]) < 1.5 * margin(once, query[0])


def test_likes_raise_and_dislikes_lower_in_the_same_cycle() -> None:
    before, history = honest()
    query = unit_rows(RAW[:1] + np.float32(0.1))
    many, shown = np.repeat(query, 50, axis=0), np.full(50, 3, np.int32)
    liked = fit(before, CENTRES, judged(many, shown, np.ones(50, bool)), history)
    disliked = fit(before, CENTRES, judged(many, shown, np.zeros(50, bool)), history)
    assert margin(disliked, query[0]) < margin(liked, query[0])


def test_a_fact_retracted_in_one_cycle_leaves_no_trace() -> None:
    before, history = honest()
    query, meant = asked(600, 2)
    lies = corrected(query, meant, ((meant + 3) % ITEMS).astype(np.int32))
    lied = fit(before, CENTRES, lies, history)
    assert accuracy(lied) < 0.7
    back = replace(lies, weight=-lies.weight)
    assert accuracy(fit(lied, CENTRES, back, history)) >= accuracy(before) - 0.03
