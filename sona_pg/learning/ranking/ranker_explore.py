"""Exploration: which candidate to show while learning, beside the one that scores best."""

from __future__ import annotations

import zlib

import numpy as np

from sona_pg.learning.ranking.ranker import MOST_NOISE, RankerState, candidate_features, query_features
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray, unit_rows
from sona_pg.learning.ranking.ranker_prepared import Embeddings

_SURE = 0.97  # chance of the best answer from which on a region is not searched
_ELSEWHERE = 1.0  # log odds of any candidate that lost its queries against the best answer of the others
_LEAST_UP, _LEAST_DOWN = 0.01, 0.05  # share of wrong thumbs up and down that is reckoned with at least
_UP, _DOWN = 0.3, 2.0  # the same as factors of the measured noise


def explore(
    state: RankerState,
    scores: FloatArray,
    rows: IntArray,
    strength: float = 1.0,
    queries: FloatArray | None = None,
    embeddings: Embeddings | None = None,
) -> FloatArray:
    """Scores to show by while learning: a bonus of `strength`/√(1+n) logits for candidates with little evidence.

    An upper confidence bound (Auer 2002), a head's posterior width taken as 1/√(1+n). Where a share ε of the feedback
    is wrong the bonus is 1/(1-2ε)² times as large, as each fact carries (1-2ε)² times the information.
    With `queries` (b, dim) and the candidates' `embeddings` (c, dim), one that lost its queries is put first for
    queries that lost their answer. Measure with `score` itself.
    """
    if not state.fits:
        return scores
    noise = min(float(state.scales[4]), MOST_NOISE)
    bonus: FloatArray = np.float32(strength / (1.0 - 2.0 * noise) ** 2) / np.sqrt(1.0 + state.standing_evidence(rows))
    shown: FloatArray = scores + bonus
    if queries is not None and embeddings is not None and len(state.lost):
        _search(state, shown, scores, rows, queries, embeddings)
    return shown


def _search(
    state: RankerState,
    shown: FloatArray,
    scores: FloatArray,
    rows: IntArray,
    queries: FloatArray,
    embeddings: Embeddings,
) -> None:
    """Put a likely new answer first in `shown` (b, c) for each query of a lost region.

    It is drawn by its posterior chance (Thompson 1933): the cosine term, and the thumbs there since the change.
    The draw is fixed by the query and the version.
    """
    order = np.argsort(rows, kind="stable")
    place = np.minimum(np.searchsorted(rows, state.homes, sorter=order), len(rows) - 1)
    columns = order[place]
    here = np.flatnonzero(rows[columns] == state.homes)
    if not len(here):
        return
    columns = columns[here]
    units = unit_rows(queries)
    centred = query_features(state, units)[0]
    near = unit_rows(centred) @ state.lost.T
    near[near < state.reach] = -np.inf
    total = np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)
    searched = np.flatnonzero(np.isfinite(near.max(axis=1)) & (total > 1.0 / _SURE))
    if not len(searched):
        return
    homes = unit_rows(np.asarray(embeddings[columns], np.float32))
    cosines = state.scales[2] * centred[searched] @ candidate_features(state, homes)[0].T
    cosines -= cosines.mean(axis=1, keepdims=True)
    tally = state.tally[near[searched].argmax(axis=1)][:, here]
    noise = min(float(state.scales[4]), MOST_NOISE)
    up, down = -np.log(max(_UP * noise, _LEAST_UP)), -np.log(max(_DOWN * noise, _LEAST_DOWN))
    chance = cosines + np.where(tally > 0.0, up, down) * tally
    for row, of_row in zip(searched, chance, strict=True):
        random = np.random.default_rng([state.fits, zlib.crc32(units[row].tobytes())])
        drawn = of_row + random.gumbel(size=len(here))
        if drawn.max() > random.gumbel() - _ELSEWHERE:
            shown[row, columns[drawn.argmax()]] = shown[row].max() + 1.0
