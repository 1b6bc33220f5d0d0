"""Confidence in a ranking: how probably its first answer is right, and how probably any candidate fits the query.

The softmax of a ranker's scores is less sure than the ranker is right, by much the same log odds from cycle to cycle:
pseudo-queries and the allowance for little-known candidates make it so. Each cycle measures them on feedback that the
version before has not learned. That anything fits is told by the sum over all candidates, beside that of usual queries.
Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sona_pg.domain.catalog import Rows
from sona_pg.learning.ranking.ranker import FIRST_UNUSUAL, RankerState, add_heads, first_belief, stranger_scores
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_prepared import Embeddings

STEEPNESS = 2.0  # log odds of a fit for each standard deviation of the sum
DOUBT = 0.6  # share of the errors on usual queries that is put down to queries that nothing fits
UNUSUAL = 1.5, 2.5  # bounds of the standard deviations below the usual sum at which it is as likely that nothing fits
FIRST_SPREAD = 1.8  # standard deviation, in logits, of cosines over the candidates before the first fit
MOST_CANDIDATES = 8192  # of a space, above which the usual total is not measured
_LEAST = 1e-6
_SAMPLE, _MEASURED = 256, 512  # candidates and queries
_FEWEST = 16  # fresh queries that can tell anything
_PACE = 0.5  # weight of a cycle's own measurement
_DRIFT = 0.5  # log odds that `surer` may change by from cycle to cycle
_NEWTON, _MOST_SURER = 5, 4.0
_HALVINGS = 12


class Belief(NamedTuple):
    """Probabilities about rankings."""

    confidence: FloatArray  # (n,) that the first answer is right
    fit: FloatArray | None  # (n,) that any candidate fits; None while it is not known which queries are usual


class Confidence:
    """Confidence of one version in rankings of one set of candidates."""

    def __init__(self, state: RankerState, embeddings: Embeddings) -> None:
        """Prepare for candidates (m, dim), one or more."""
        mean, deviation, gap, ratio, surer = (float(value) for value in state.belief)
        self._mean, self._deviation, self._unusual = mean - gap, ratio * deviation, float(state.unusual[0])
        self.sharpness, self._odds = 1.0, math.exp(-surer)  # logits of one unit of score; against an answer being right
        if not state.fits:
            sample = np.asarray(embeddings[spread_rows(len(embeddings), _SAMPLE)], np.float32)
            self.sharpness, self._odds = first_sharpness(unit_rows(sample), FIRST_SPREAD), 1.0

    def of(self, scores: FloatArray, first: FloatArray) -> Belief:
        """Return the confidence in the answers whose scores are `first` (n,), among all `scores` (n, m)."""
        total = log_totals(np.float32(self.sharpness) * scores)
        share = np.minimum(np.exp(np.float32(self.sharpness) * first - total), np.float32(1.0 - _LEAST))
        right = share / (share + (1.0 - share) * np.float32(self._odds))
        if not self._deviation:
            return Belief(np.asarray(right, np.float32), None)
        fit = _fit((total - self._mean) / self._deviation, self._unusual)
        return Belief(np.asarray(right * fit, np.float32), fit)

    def of_best(self, best: float, among: float) -> tuple[float, float | None]:
        """Return the confidence in the best answer, and the probability that any fits: as `of`.

        Args:
            best: its score.
            among: the sum of e^(`sharpness` (score - best)) over all candidates.
        """
        among = max(among, 1.0)
        share = min(1.0 / among, 1.0 - _LEAST)
        right = share / (share + (1.0 - share) * self._odds)
        if not self._deviation:
            return right, None
        total = self.sharpness * best + math.log(among)
        unusual = STEEPNESS * ((total - self._mean) / self._deviation + self._unusual)
        fit = 1.0 / (1.0 + math.exp(-min(max(unusual, -50.0), 50.0)))
        return right * fit, fit


def measured(
    before: RankerState,
    after: RankerState,
    embeddings: Rows,
    fresh: RankEvents,
    replay: RankEvents,
    *,
    half: bool = False,
) -> RankerState:
    """Return the state `after` a fit with its confidence measured.

    The sum over all candidates is that of queries that were learned from, less as much as it was less for `fresh`
    queries in the state `before`, which had not learned from them; these also tell how much surer the answers are.
    Queries that were asked before tell neither: of them it knows the answers.
    If `before` has learned from a `half` alone, which errs more, its errors do not tell what is unusual.
    Of very many candidates all of this stays unknown: scoring them costs more than a cycle may.
    """
    if not after.fits or len(embeddings) > MOST_CANDIDATES:
        return replace(after, belief=first_belief(), unusual=np.full(1, FIRST_UNUSUAL, np.float32))
    fresh, replay = (events.take(events.usable(len(embeddings)) & (events.weight > 0.0)) for events in (fresh, replay))
    belief, unusual = before.belief.copy(), float(before.unusual[0])
    heard = fresh.take(spread_rows(len(fresh) if before.fits and belief[1] else 0, _MEASURED))
    new = _asked_first(heard, replay)
    repeated = 1.0 - len(new) / len(heard) if len(heard) else 0.0
    if len(new) >= _FEWEST:
        heard = heard.take(new)
        logits = _scores(before, embeddings, heard)
        total = log_totals(logits)
        gap, ratio = belief[0] - total.mean(), total.std() / belief[1]
        belief[2:4] += _PACE * (np.array([gap, ratio], np.float32) - belief[2:4])
        apart = (total - (belief[0] - belief[2])) / max(float(belief[3] * belief[1]), _LEAST)
        first = _First.of(logits, total, heard)
        if len(first.told) >= _FEWEST and not half:
            found = _unusual(apart, 1.0 - DOUBT * (1.0 - float(first.right.mean())))
            unusual += (_PACE if before.fits > 1 else 1.0) * (found - unusual)
        belief[4] = _surer(float(belief[4]), first, _fit(apart, unusual))
    learned = fresh.joined(replay)
    if len(learned) > 1:
        total = log_totals(_scores(after, embeddings, learned.take(spread_rows(len(learned), _MEASURED))))
        mean, deviation = float(total.mean()), max(float(total.std()), _LEAST)
        if repeated:  # those are learned ever better, and questions that nobody has asked are not
            belief[2] += repeated * (mean - belief[0])
            belief[3] *= (belief[1] / deviation) ** repeated
        belief[:2] = mean, deviation
    return replace(after, belief=belief, unusual=np.full(1, unusual, np.float32))


def _asked_first(heard: RankEvents, replay: RankEvents) -> npt.NDArray[np.intp]:
    """Return the places of the first events about each query that is not among the replayed ones."""
    known = {query.tobytes() for query in replay.query.astype(np.float16)}
    first = {query.tobytes(): place for place, query in reversed(list(enumerate(heard.query.astype(np.float16))))}
    return np.array([place for query, place in first.items() if query not in known], np.intp)


def _scores(state: RankerState, embeddings: Rows, events: RankEvents) -> FloatArray:
    """(n, m) of the events' queries, -inf for candidates that they were not offered."""
    rows = np.arange(len(embeddings), dtype=np.int32)
    queries = unit_rows(events.query)
    logits = stranger_scores(state, queries, embeddings)
    add_heads(state, logits, queries, rows)
    logits += state.scales[3] / (1.0 + state.evidence(rows))
    if events.candidates is not None:
        logits[~events.offered(rows)] = -np.inf
    return logits


class _First(NamedTuple):
    """First answers of a version to queries it has not learned from, as far as it was told whether they were right."""

    told: npt.NDArray[np.intp]  # (t,) rows of the queries
    right: npt.NDArray[np.float64]  # (t,)
    odds: npt.NDArray[np.float64]  # (t,) logarithm of the odds of their share of the softmax

    @classmethod
    def of(cls, logits: FloatArray, total: FloatArray, events: RankEvents) -> _First:
        """Return those of `events`, whose logits are (n, m) with the log totals (n,)."""
        first = logits.argmax(axis=1)
        told = np.flatnonzero((events.correct != NONE) | ((events.shown == first) & (events.judged != NONE)))
        right = np.where(events.correct[told] != NONE, events.correct[told] == first[told], events.verdict[told])
        share = np.minimum(np.exp(logits[told, first[told]] - total[told]).astype(np.float64), 1.0 - _LEAST)
        return cls(told, right.astype(np.float64), np.log(share / (1.0 - share)))


def _surer(usual: float, first: _First, fits: FloatArray) -> float:
    """Return the log odds that make answers right as often as their confidence says, near the usual ones.

    By Newton steps; `fits` (n,) is the probability that anything fits each query.
    """
    found, fits = usual, fits[first.told]
    for _ in range(_NEWTON):
        chance = 1.0 / (1.0 + np.exp(-(first.odds + found)))
        slope = float((first.right - chance * fits).sum()) - (found - usual) / _DRIFT**2
        found += slope / (float((chance * (1.0 - chance) * fits).sum()) + 1.0 / _DRIFT**2)
        found = min(max(found, -_MOST_SURER), _MOST_SURER)
    return found


def _unusual(apart: FloatArray, share: float) -> float:
    """Return the deviations, within `UNUSUAL`, by which the usual queries fit with the mean probability `share`.

    `apart` (n,) are the standard deviations of their sums above the usual one.
    """
    least, most = UNUSUAL
    for _ in range(_HALVINGS):
        middle = 0.5 * (least + most)
        least, most = (middle, most) if float(_fit(apart, middle).mean()) < share else (least, middle)
    return 0.5 * (least + most)


def _fit(apart: FloatArray, unusual: float) -> FloatArray:
    """Return how probably any candidate fits, (n,), by the standard deviations of the sums above the usual one."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(STEEPNESS * (apart + unusual), -50.0, 50.0))), np.float32)


def log_totals(logits: FloatArray) -> FloatArray:
    """Logarithm of the sum of exponentials of each row, (n, m) to (n,)."""
    most = logits.max(axis=1)
    return np.asarray(most + np.log(np.exp(logits - most[:, None]).sum(axis=1)), np.float32)


def spread_rows(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most `most` of `count` positions, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)


def first_sharpness(sample: FloatArray, spread: float) -> float:
    """Logits of one unit of cosine by which those between candidates (m, dim) have the standard deviation `spread`."""
    cosines = sample @ sample.T
    np.fill_diagonal(cosines, np.sqrt(np.float32(0.5)))  # of a pseudo-query
    return spread / max(float(cosines.std(axis=1).mean()), _LEAST_SPREAD)


_LEAST_SPREAD = 1e-3
