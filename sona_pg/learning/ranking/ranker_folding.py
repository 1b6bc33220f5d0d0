"""Fold events into the ranker's sums, each exactly once; retracted ones take out again what they put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sona_pg.learning.ranking.ranker import RankerState, centre, grown
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows

_HALF = 0.5  # of an event: less is rounding
_LEAST = 1e-6  # evidence: less is rounding


def folded(state: RankerState, known: int, fresh: RankEvents) -> RankerState:
    """Return `state` with the evidence of `fresh` as `fit` leaves it, without the fit."""
    fresh = usable(fresh, known)
    return without_evidence(fold(grown(state, known), None, fresh), fresh)


def usable(events: RankEvents, known: int) -> RankEvents:
    """Return the usable events, their queries of length 1."""
    kept = events.take(events.usable(known))
    return replace(kept, query=unit_rows(kept.query))


def fold(state: RankerState, mean: FloatArray | None, fresh: RankEvents) -> RankerState:
    """Add the fresh events to the sums, and move the coordinates to the new means."""
    weight = fresh.weight.astype(np.float64)
    judged, quality = fresh.judged, fresh.verdict
    labelled = judged != NONE
    positive, negative = state.positive.copy(), state.negative.copy()
    np.add.at(positive, judged[labelled], (weight * quality)[labelled])
    np.add.at(negative, judged[labelled], (weight * (1.0 - quality))[labelled])
    corrected = (fresh.correct != NONE) & (fresh.shown != NONE) & (fresh.shown != fresh.correct)
    np.add.at(negative, fresh.shown[corrected], weight[corrected])

    item_mean = state.item_mean if mean is None else centre(mean)
    item_scale = np.sqrt(1.0 - float(item_mean @ item_mean))
    folded = state.folded + np.array([weight.sum(), weight[labelled].sum(), 0.0, 0.0, 0.0])
    moved = replace(
        state,
        positive=positive,
        negative=negative,
        folded=folded,
        query_sum=state.query_sum + weight @ fresh.query,
        item_mean=item_mean.astype(np.float32),
    )
    query_scale = np.sqrt(1.0 - float(moved.query_mean @ moved.query_mean))
    scales = np.array([query_scale, item_scale, *state.scales[2:]], np.float32)
    if not state.fits:
        return replace(moved, scales=scales)
    grow = np.float32(query_scale / state.scales[0])
    shift = (moved.query_mean - state.query_mean) / scales[0]
    shift = shift @ state.basis if state.basis.size else shift
    return replace(
        moved,
        scales=scales,
        map=_recentred(state.map, grow, shift),
        heads=_recentred(state.heads, grow, shift),
    )


def without_evidence(state: RankerState, fresh: RankEvents) -> RankerState:
    """Return the state without its learning about candidates whose evidence `fresh` retracts entirely.

    Without any evidence left it is that of a space without feedback.
    """
    taken = fresh.judged[(fresh.weight < 0.0) & (fresh.judged != NONE)]
    if not len(taken) or not state.fits:
        return state
    if float(state.folded[1]) < _HALF:
        blank = RankerState.initial(state.dim)
        return replace(
            blank,
            query_sum=state.query_sum,
            folded=np.array([state.folded[0], 0.0, 0.0, 0.0, 0.0]),
            positive=np.zeros_like(state.positive),
            negative=np.zeros_like(state.negative),
            item_mean=state.item_mean,
            scales=np.concatenate([state.scales[:2], blank.scales[2:]]),
        )
    bare = np.unique(taken[state.positive[taken] + state.negative[taken] < _LEAST])
    kept = ~np.isin(state.head_rows, bare)
    positive, negative = state.positive.copy(), state.negative.copy()
    positive[bare] = negative[bare] = 0.0
    return replace(
        state, positive=positive, negative=negative, head_rows=state.head_rows[kept], heads=state.heads[kept]
    )


def _recentred(weights: FloatArray, grow: np.float32, shift: FloatArray) -> FloatArray:
    """Return the same function of the query, when its mean moves by `shift` and its scale by `grow`."""
    slopes = weights[:, :-1] * grow
    return np.concatenate([slopes, weights[:, -1:] + (slopes @ shift)[:, None]], axis=1)
