"""Sharpness: how sure of its logits a fit is, where the embedding is right more often than a softmax of them says.

Cosines of candidates that are nearly alike differ by hundredths of a logit. A fit takes answers between them for
guesses, and feedback that they explain moves hundreds of weights, which soon outweigh them. In a fit whose logits count
several times as much, what they explain moves nothing, and what contradicts them still does. Whether they should is
told by feedback that a version has not learned from: its likelihood with the cosine counted as much more, beside that
of the version as it is (prequential stacking, Dawid 1984, Wolpert 1992). Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sona_pg.domain.catalog import Rows
from sona_pg.learning.ranking.ranker import SHARPNESSES, RankerState, candidate_features, learned_scores
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_repeats import distinct

FEWEST = 8  # events that can tell
_MARGIN = 3.0  # nats by which more sharpness must be better, for each step of it
_KEPT = 0.7  # share of earlier cycles' likelihood that counts with that of one more
_SUREST = 20.0  # nats that earlier cycles may speak for one sharpness, so that it ends when meanings change
_NOISE = 0.03  # chance that feedback says the opposite
_BETTER = 0.03  # nats of each event by which it must be better: learning may still find as much
_CELLS = 250_000  # queries × candidates that are tried
_FACTORS = 2.0 ** np.arange(-5.0, 3.5, 0.5)  # of all logits, among which each sharpness has its best

NOTHING: FloatArray = np.zeros(len(SHARPNESSES), np.float32)  # likelihoods without feedback


def likelihoods(
    state: RankerState, embeddings: Rows, fresh: RankEvents, plain: RankerState | None = None
) -> FloatArray:
    """Return the log likelihood (`SHARPNESSES`,) of feedback that a version has not learned from, at each sharpness.

    Each is beside that of the version `plain`, which was fitted without sharpness, or else of this version as if it had
    been; and less by what more sharpness must gain. What was said again of one query counts once.
    """
    fresh = distinct(fresh.take(fresh.usable(len(embeddings)) & (fresh.weight > 0.0) & (fresh.judged != NONE)))
    most = max(_CELLS // max(len(embeddings), 1), 1)
    if len(fresh) > most:
        fresh = fresh.take(np.linspace(0, len(fresh) - 1, most).round().astype(np.intp))
    if not state.fits or len(embeddings) < 2 or len(fresh) < FEWEST:
        return NOTHING
    found = _at_each(state, embeddings, fresh, SHARPNESSES)
    without = found[0] if plain is None or plain is state else _at_each(plain, embeddings, fresh, SHARPNESSES[:1])[0]
    gains = np.array(found) - without - _BETTER * len(fresh)
    gains[0] = 0.0
    return gains.astype(np.float32)


def sharpened(before: RankerState, gains: FloatArray) -> RankerState:
    """Return the state with the sharpness that is best by the `likelihoods` of this cycle and those of earlier ones."""
    pooled = np.float32(_KEPT) * before.sharpness[1:] + gains
    pooled = np.maximum(pooled, pooled.max() - np.float32(_SUREST))  # fixed share (Herbster and Warmuth 1998)
    best = int((pooled - np.float32(_MARGIN) * np.arange(len(SHARPNESSES))).argmax())
    return replace(before, sharpness=np.concatenate([SHARPNESSES[best : best + 1], pooled]).astype(np.float32))


def without_sharpness(state: RankerState) -> RankerState:
    """Return the state from which a fit starts without sharpness."""
    return replace(state, sharpness=np.concatenate([SHARPNESSES[:1], state.sharpness[1:]]).astype(np.float32))


def _at_each(state: RankerState, embeddings: Rows, events: RankEvents, sharpnesses: Sequence[float]) -> list[float]:
    rows = np.arange(len(embeddings), dtype=np.int32)
    queries = unit_rows(events.query)
    cosines = (state.scales[2] / state.scales[0]) * (queries @ candidate_features(state, embeddings[:])[0].T)
    learned = learned_scores(state, queries, embeddings[:], rows) - cosines
    learned += state.scales[3] / (1.0 + state.evidence(rows))
    if events.candidates is not None:
        learned[~events.offered(rows)] = -np.inf
    learned *= state.sharpness[0]
    return [_best_likelihood(np.float32(sharpness) * cosines + learned, events) for sharpness in sharpnesses]


def _best_likelihood(logits: FloatArray, events: RankEvents) -> float:
    """Return the log likelihood of the events at the factor of the logits that is best for it."""
    lead = logits - logits[np.arange(len(logits)), events.judged][:, None]
    verdict = events.verdict
    best = -np.inf
    for factor in _FACTORS:
        right = 1.0 / np.exp(np.minimum(np.float32(factor) * lead, np.float32(80.0))).sum(axis=1)
        heard = _NOISE + (1.0 - 2.0 * _NOISE) * right.astype(np.float64)
        best = max(best, float((verdict * np.log(heard) + (1.0 - verdict) * np.log1p(-heard)).sum()))
    return best
