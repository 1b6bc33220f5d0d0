"""Confidence in a ranking: how probably its first answer is right, and how probably any candidate fits the query.

The softmax of a ranker's scores is less sure than the ranker is right, by much the same log odds from cycle to cycle:
pseudo-queries and the allowance for little-known candidates make it so. Each cycle measures them on feedback that the
version before has not learned; while that is much of all feedback, by fits to parts of it. That anything fits is told
by the sum over all candidates, beside that of usual queries. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
FEWEST, _FEWEST_TOLD = 8, 16  # fresh queries that can tell anything: by trials of parts, or by the version before
_PACE = 0.5  # weight of a cycle's own measurement
_DRIFT = 0.5  # log odds that `surer` may change by from cycle to cycle
_SPACES = 1.0  # log odds that it differs by from space to space
_NEWTON, _MOST_SURER = 10, 4.0
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


class Tried(NamedTuple):
    """How versions ranked queries that they have not learned from, and what was told of their first answers."""

    apart: FloatArray  # (n,) log of the sum over all candidates, less the usual one
    odds: npt.NDArray[np.float64]  # (n,) logarithm of the odds of the first answer's share of the softmax
    judged: FloatArray  # (n,) how right the answer is that feedback is about, NaN without feedback
    first: npt.NDArray[np.bool_]  # (n,) whether that answer is the first
    other: FloatArray  # (n,) its share of the softmax among the others
    told: npt.NDArray[np.bool_]  # (n,) whether feedback tells for certain if the first answer is right
    usual: npt.NDArray[np.float64]  # (2,) mean and deviation of the log of the sum over queries learned from
    repeated: float  # share of queries that were asked before, which are left out

    @classmethod
    def of(cls, state: RankerState, embeddings: Rows, fresh: RankEvents, replay: RankEvents) -> Tried:
        """Try a version, which has learned from `replay`, on the queries of `fresh`; on none if it learned nothing."""
        usual = state.belief[:2].astype(np.float64)
        count = len(fresh) if state.fits and usual[1] else 0
        heard = fresh.take(spread_rows(count, _MEASURED))
        new = heard.take(_asked_first(heard, replay))
        repeated = 1.0 - len(new) / len(heard) if len(heard) else 0.0
        logits, places = _scores(state, embeddings, new), np.arange(len(new))
        total, first = log_totals(logits), logits.argmax(axis=1)
        share = np.minimum(np.exp(logits[places, first] - total).astype(np.float64), 1.0 - _LEAST)
        judged = np.where(new.judged != NONE, new.verdict, np.float32(np.nan))
        same = new.judged == first
        other = np.minimum(np.exp(logits[places, new.judged] - total) / (1.0 - share), 1.0)
        told = (new.correct != NONE) | (same & (new.judged != NONE))
        odds = np.log(share / (1.0 - share))
        return cls(total - state.belief[0], odds, judged, same, other.astype(np.float32), told, usual, repeated)

    @classmethod
    def joined(cls, parts: Sequence[Tried]) -> Tried:
        """Return the trials of several versions, each on its own queries, as those of one."""
        return cls(
            apart=np.concatenate([part.apart for part in parts]),
            odds=np.concatenate([part.odds for part in parts]),
            judged=np.concatenate([part.judged for part in parts]),
            first=np.concatenate([part.first for part in parts]),
            other=np.concatenate([part.other for part in parts]),
            told=np.concatenate([part.told for part in parts]),
            usual=np.mean([part.usual for part in parts], axis=0),
            repeated=float(np.mean([part.repeated for part in parts])),
        )


def measured(
    before: RankerState,
    after: RankerState,
    embeddings: Rows,
    fresh: RankEvents,
    replay: RankEvents,
    *,
    parts: Sequence[Tried] = (),
) -> RankerState:
    """Return the state `after` a fit with its confidence measured.

    The sum over all candidates is that of queries that were learned from, less as much as it was less for `fresh`
    queries in the state `before`, which had not learned from them; these also tell how much surer the answers are.
    Queries that were asked before tell neither: of them it knows the answers.
    While `fresh` is much of all feedback, `before` errs more than `after`: instead, fits to all but one of the `parts`
    of it were tried on that one. How much surer answers are, before it was ever measured, may be far from what is usual
    of spaces. The parts of a first version err more, too: their errors do not tell what is unusual.
    Of very many candidates all of this stays unknown: scoring them costs more than a cycle may.
    """
    if not after.fits or len(embeddings) > MOST_CANDIDATES:
        return replace(after, belief=first_belief(), unusual=np.full(1, FIRST_UNUSUAL, np.float32))
    fresh, replay = (usable(events, embeddings) for events in (fresh, replay))
    belief, unusual = before.belief.copy(), float(before.unusual[0])
    spread = _SPACES if np.array_equal(belief[2:], first_belief()[2:]) else _DRIFT
    tried = Tried.joined(parts) if parts else Tried.of(before, embeddings, fresh, replay)
    usual, usual_deviation = (float(value) for value in tried.usual)
    fewest = FEWEST if parts else _FEWEST_TOLD
    if len(tried.apart) >= fewest:
        gap, ratio = -tried.apart.mean(), tried.apart.std() / usual_deviation
        belief[2:4] += _PACE * (np.array([gap, ratio], np.float32) - belief[2:4])
        apart = (tried.apart + belief[2]) / max(float(belief[3]) * usual_deviation, _LEAST)
        if np.count_nonzero(tried.told) >= fewest and before.fits:
            right = (tried.judged * tried.first)[tried.told]
            found = _unusual(apart, 1.0 - DOUBT * (1.0 - float(right.mean())))
            unusual += (_PACE if parts or before.fits > 1 else 1.0) * (found - unusual)
        belief[4] = _surer(float(belief[4]), tried, _fit(apart, unusual), spread)
    learned = fresh.joined(replay)
    if len(learned) > 1:
        total = log_totals(_scores(after, embeddings, learned.take(spread_rows(len(learned), _MEASURED))))
        mean, deviation = float(total.mean()), max(float(total.std()), _LEAST)
        if tried.repeated:  # those are learned ever better, and questions that nobody has asked are not
            belief[2] += tried.repeated * (mean - usual)
            belief[3] *= (usual_deviation / deviation) ** tried.repeated
        belief[:2] = mean, deviation
    return replace(after, belief=belief, unusual=np.full(1, unusual, np.float32))


def usable(events: RankEvents, embeddings: Rows) -> RankEvents:
    """Return the events that confidence is measured by."""
    return events.take(events.usable(len(embeddings)) & (events.weight > 0.0))


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


def _surer(usual: float, tried: Tried, fits: FloatArray, spread: float) -> float:
    """Return the log odds that make answers right as often as their confidence says, near the usual ones.

    By Newton steps; `fits` (n,) is the probability that anything fits each query, `spread` the standard deviation of
    the log odds around the usual ones. Feedback on another answer tells of the first one what Bayes' rule says: without
    it answers that stayed as they were would count more, which are right more often.
    """
    rows = np.flatnonzero(~np.isnan(tried.judged))
    odds, judged, first, other = tried.odds[rows], tried.judged[rows], tried.first[rows], tried.other[rows]
    fits = fits[rows]
    found = usual
    for _ in range(_NEWTON):
        chance = 1.0 / (1.0 + np.exp(-(odds + found)))
        right = chance * fits
        elsewhere = fits * (1.0 - chance) * other
        told = np.where(first, judged, (1.0 - judged) * right / (1.0 - elsewhere))
        known = np.where(first, 1.0, judged + (1.0 - judged) * right * other / (1.0 - elsewhere))
        slope = float((told - right).sum()) - (found - usual) / spread**2
        found += slope / (float((right * (1.0 - chance) * known).sum()) + 1.0 / spread**2)
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
