"""Sharpness: how sure of its logits a fit is, where the embedding is right more often than a softmax of them says.

Cosines of candidates that are nearly alike differ by hundredths of a logit. A fit takes answers between them for
guesses, and feedback that they explain moves hundreds of weights, which soon outweigh them. In a fit whose logits count
several times as much, what they explain moves nothing, and what contradicts them still does. Whether they should is
told by feedback that a version has not learned from: its likelihood with the cosine counted as much more, beside that
of the version as it is (prequential stacking, Dawid 1984, Wolpert 1992). The first few dozen judgements are too few for
that: there the likelihood of all of them decides, by cosines alone, from which no weight was fitted. Evidence:
benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sona_pg.domain.catalog import Rows
from sona_pg.learning.ranking.ranker import (
    SHARPNESSES,
    Matrix,
    RankerConfig,
    RankerState,
    candidate_features,
    learned_scores,
)
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_repeats import distinct

FEWEST = 8  # judgements that can tell by cosines alone
_MARGIN = 3.0  # nats by which more sharpness must be better, for each step of it
_KEPT = 0.7  # share of earlier cycles' likelihood that counts with that of one more, of `FIRST` judgements or more
_SUREST = 20.0  # nats that earlier cycles may speak for one sharpness, so that it ends when meanings change
_NOISE = 0.03  # chance that feedback says the opposite
_BETTER = 0.03  # nats of each event by which it must be better: learning may still find as much
_CELLS = 250_000  # queries × candidates that are tried
FIRST = 64  # judgements of which cosines alone are tried, where they are too few to try a fit
_ALONE = 4.0  # factor of the cosines that a fit starts from, at which they alone explain most feedback best
_MUCH_BETTER = 0.25  # nats of each event by which cosines alone must be better: learning may still find as much
_LEAST = 1e-6  # spread of cosines
_FACTORS = 2.0 ** np.arange(-5.0, 3.5, 0.5)  # of all logits, among which each sharpness has its best

NOTHING: FloatArray = np.zeros(len(SHARPNESSES), np.float32)  # likelihoods without feedback


def likelihoods(
    state: RankerState, embeddings: Rows, fresh: RankEvents, plain: RankerState | None = None
) -> FloatArray:
    """Return the log likelihood (`SHARPNESSES`,) of feedback that a version has not learned from, at each sharpness.

    Each is beside that of the version `plain`, which was fitted without sharpness, or else of this version as if it had
    been; and less by what more sharpness must gain. What was said again of one query counts once.
    """
    fresh = _comparable(fresh, len(embeddings))
    if not state.fits or len(embeddings) < 2 or not len(fresh):
        return NOTHING
    found = _at_each(state, embeddings, fresh, SHARPNESSES)
    without = found[0] if plain is None or plain is state else _at_each(plain, embeddings, fresh, SHARPNESSES[:1])[0]
    gains = np.array(found) - without - _BETTER * len(fresh)
    gains[0] = 0.0
    return gains.astype(np.float32)


def sharpened(before: RankerState, gains: FloatArray, count: int, alone: FloatArray | None = None) -> RankerState:
    """Return the state with the sharpness that is best by the `likelihoods` of this cycle and those of earlier ones.

    They are of `count` judgements: many cycles that have a few forget no more than one that has all of theirs. In the
    first cycles those by cosines `alone` count in place of the earlier ones.
    """
    kept = np.float32(_KEPT ** min(count / FIRST, 1.0))
    pooled = gains + (kept * before.sharpness[1:] if alone is None else alone)
    pooled = np.maximum(pooled, pooled.max() - np.float32(_SUREST))  # fixed share (Herbster and Warmuth 1998)
    best = int((pooled - np.float32(_MARGIN) * np.arange(len(SHARPNESSES))).argmax())
    return replace(before, sharpness=np.concatenate([SHARPNESSES[best : best + 1], pooled]).astype(np.float32))


def explained_alone(embeddings: Rows, mean: FloatArray, events: RankEvents) -> FloatArray | None:
    """Return the log likelihood (`SHARPNESSES`,) of all judgements so far by cosines that count up to so much more.

    Each is beside that of the least sharpness, and 0 where it is hardly better. None if they are fewer than can
    tell.
    """
    events = _comparable(events, len(embeddings))
    if len(events) < FEWEST or len(embeddings) < 2:
        return None
    cosines = unit_rows(events.query) @ (embeddings[:] - mean).T
    logits = np.float32(RankerConfig().prior_spread / max(float(cosines.std(axis=1).mean()), _LEAST)) * cosines
    if events.candidates is not None:
        logits[~events.offered(np.arange(len(embeddings), dtype=np.int32))] = -np.inf
    factors = _FACTORS[_FACTORS <= _ALONE]
    found = np.array([_best_likelihood(np.float32(sharpness) * logits, events, factors) for sharpness in SHARPNESSES])
    gains: FloatArray = np.maximum(found - found[0] - _MUCH_BETTER * len(events), 0.0).astype(np.float32)
    return gains


def without_sharpness(state: RankerState) -> RankerState:
    """Return the state from which a fit starts without sharpness."""
    return replace(state, sharpness=np.concatenate([SHARPNESSES[:1], state.sharpness[1:]]).astype(np.float32))


def _comparable(events: RankEvents, candidates: int) -> RankEvents:
    """Return the judgements, what was said again of one query once: as many, evenly spread, as are tried."""
    events = distinct(events.take(events.usable(candidates) & (events.weight > 0.0) & (events.judged != NONE)))
    most = max(_CELLS // max(candidates, 1), 1)
    if len(events) <= most:
        return events
    return events.take(np.linspace(0, len(events) - 1, most).round().astype(np.intp))


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


def _best_likelihood(logits: FloatArray, events: RankEvents, factors: Matrix = _FACTORS) -> float:
    """Return the log likelihood of the events at the factor of the logits that is best for it."""
    lead = logits - logits[np.arange(len(logits)), events.judged][:, None]
    verdict = events.verdict
    best = -np.inf
    for factor in factors:
        right = 1.0 / np.exp(np.minimum(np.float32(factor) * lead, np.float32(80.0))).sum(axis=1)
        heard = _NOISE + (1.0 - 2.0 * _NOISE) * right.astype(np.float64)
        best = max(best, float((verdict * np.log(heard) + (1.0 - verdict) * np.log1p(-heard)).sum()))
    return best
