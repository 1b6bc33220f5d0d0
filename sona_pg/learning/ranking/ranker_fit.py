"""Fit the ranker: fold new events exactly once, then refine heads and map on new and replayed events.

One call is one background cycle. Its cost depends on how many events it is given, never on the history.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from sona_pg.domain.catalog import Rows
from sona_pg.errors import DimensionMismatch
from sona_pg.learning.beside import beside, later
from sona_pg.learning.ranking.lbfgs import minimise
from sona_pg.learning.ranking.ranker import (
    MOST_CAUTION,
    MOST_NOISE,
    RankerConfig,
    RankerState,
    add_heads,
    candidate_features,
    grown,
    query_features,
    stranger_scores,
)
from sona_pg.learning.ranking.ranker_averaging import averaged
from sona_pg.learning.ranking.ranker_corrections import corrected, disputed, replaced
from sona_pg.learning.ranking.ranker_curvature import inverse_curvature
from sona_pg.learning.ranking.ranker_doubt import NOISY, doubtful
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.ranker_folding import fold, usable, without_evidence
from sona_pg.learning.ranking.ranker_noise import FIRST_STRENGTH, FirstAnswers, Noise, contradicted, measure_noise
from sona_pg.learning.ranking.ranker_objective import PartialLabels
from sona_pg.learning.ranking.ranker_prior import (
    FEWEST,
    allowance,
    proven_answers,
    pseudo_queries,
    tellable,
)
from sona_pg.learning.ranking.ranker_repeats import distinct, weighed_once
from sona_pg.learning.ranking.ranker_search import find_changes

_MEASURE_MEMORY = 0.7
_NARROWEST = 1e-4  # least divisor
_MOST_PSEUDO = 2048
_FEW_EVENTS, _MORE_SAMPLES = 3, 2  # of each candidate: then so many times the pseudo-queries are drawn
_LEAST = 1e-6  # noise of feedback that is certain
_MOST_DOUBT = 0.45  # of a thumb down on a right answer


def fit(
    state: RankerState,
    embeddings: Rows,
    fresh: RankEvents,
    replay: RankEvents,
    config: RankerConfig | None = None,
    seed: int = 0,
    mean: FloatArray | None = None,
) -> RankerState:
    """Learn from `fresh` events, given once, and from `replay`, a uniform sample of those before.

    `embeddings` (m, dim) float32 are the candidates of the space by row, unit rows, and `mean` (dim,) their mean, if it
    is known. Quantities over all candidates are measured on a sample of the events if there are many candidates, so the
    cost hardly depends on their number. Replayed events stand for the whole history: their weights are scaled to its
    size, and say how many each stands for if they are not alike. Events that are not `usable` are set aside. The same
    arguments give the same state. Raises `DimensionMismatch`.
    """
    config = config or RankerConfig()
    for given in (embeddings, fresh.query, replay.query):
        if given.shape[-1] != state.dim:
            raise DimensionMismatch(state.dim, given.shape[-1])
    fresh, replay = (usable(events, len(embeddings)) for events in (fresh, replay))
    taken = float(np.minimum(fresh.weight[fresh.judged != NONE], 0.0).sum())  # retracted weight, negative
    history = max(float(state.folded[1]) + taken, 0.0)
    events = _learnable(fresh, replay, history)
    labelled = int(((fresh.weight > 0.0) & (fresh.judged != NONE)).sum())
    changes = find_changes(events, labelled, len(embeddings), min(float(state.contradicted[0]), MOST_NOISE))
    trusted = np.flatnonzero(~changes.moved[:labelled])
    state = _calibrate(state, embeddings, distinct(events.take(trusted)), config)
    if mean is None and len(embeddings):
        mean = embeddings[:].mean(axis=0)
    state = without_evidence(fold(grown(state, len(embeddings)), mean, fresh), fresh)
    state = replace(state, overruled=state.positive * changes.lost, **asdict(changes.search))
    holds = changes.holds | disputed(events)
    labelled = int(holds[:labelled].sum())
    events, certain = weighed_once(events.take(holds))
    events, anew = corrected(events, labelled)
    anew |= replaced(events, fresh)
    moved = changes.moved[holds] | anew
    if not len(events):
        return state
    random = np.random.default_rng(seed)
    state = _rescaled(state, embeddings, fresh if len(fresh) else events, config, random)
    said = float(np.abs(fresh.weight[fresh.judged != NONE]).sum())  # retracted events move the minimum, too
    new = min(said / float(events.weight.sum()), 1.0)
    gone = ~holds if (anew | _in_full(state, events)).any() else changes.outlived & ~holds
    left_out = int(np.count_nonzero(gone))
    return _refine(state, embeddings, _Fitted(events, moved, certain, labelled, new, left_out), config, random)


def _in_full(state: RankerState, events: RankEvents) -> npt.NDArray[np.bool_]:
    """(n,) which events count in full: corrections, which are the farther behind the surer the logits are."""
    return np.asarray((events.correct != NONE) & (state.sharpness[0] > 1.0), np.bool_)


def _learnable(fresh: RankEvents, replay: RankEvents, history: float) -> RankEvents:
    """The labelled events of both, the replayed ones weighing as much as all of the history."""
    fresh, replay = (events.take((events.weight > 0.0) & (events.judged != NONE)) for events in (fresh, replay))
    total = float(replay.weight.sum())
    if len(replay) and history > 0.0:
        replay = replace(replay, weight=replay.weight * np.float32(history / total))
    return fresh.joined(replay)


def _calibrate(state: RankerState, embeddings: Rows, fresh: RankEvents, config: RankerConfig) -> RankerState:
    """The state with its allowance ω and its label noise measured on feedback it has not learned from."""
    if not state.fits or not len(fresh):
        return state
    rows = np.arange(len(embeddings), dtype=np.int32)
    evidence = state.evidence(rows)
    fresh = fresh.take(tellable(fresh.judged, fresh.verdict, fresh.correct != NONE, evidence))
    fresh = fresh.take(_spread(len(fresh), _CALIBRATED_CELLS // len(embeddings)))
    if len(fresh) < FEWEST:
        return state
    strangers = stranger_scores(state, fresh.query, embeddings)
    logits = strangers.copy()
    add_heads(state, logits, fresh.query, rows)
    if fresh.candidates is not None:
        outside = ~fresh.offered(rows)
        logits[outside] = strangers[outside] = -np.inf
    proven = proven_answers(logits, fresh.judged, fresh.verdict, fresh.correct != NONE, evidence)
    omega = allowance(logits, strangers, proven, evidence, config.steal_rate)
    first = FirstAnswers.of(logits, fresh.judged, fresh.verdict, fresh.correct != NONE, evidence)
    usual = Noise(float(state.scales[4]) or config.label_noise, max(float(state.noise_strength[0]), FIRST_STRENGTH))
    noise = measure_noise(first, usual) or Noise(float(state.scales[4]), float(state.noise_strength[0]))
    scales = state.scales.copy()
    scales[3], scales[4] = _remembered(float(scales[3]), omega), noise.share
    against = _remembered(float(state.contradicted[0]), contradicted(first))
    strength = np.full(1, noise.strength, np.float32)
    return replace(state, scales=scales, noise_strength=strength, contradicted=np.full(1, against, np.float32))


def _remembered(before: float, measured: float | None) -> float:
    """Return a moving average of what cycles measure, 0 until one does."""
    if measured is None:
        return before
    kept = _MEASURE_MEMORY if before > 0.0 else 0.0
    return kept * before + (1.0 - kept) * measured


def _spread(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most `most` of `count` positions, evenly spread; at least one."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, max(most, 1)).astype(np.intp)


def _rescaled(
    state: RankerState,
    embeddings: Rows,
    events: RankEvents,
    config: RankerConfig,
    random: np.random.Generator,
) -> RankerState:
    """Set the temperature τ of the cosine term, and on the first fit the subspace to learn in."""
    sample = embeddings[_spread(len(embeddings), _MEASURED_CANDIDATES)]
    asked = events.query[_spread(len(events), _MEASURED_CELLS // len(sample))]
    wide = query_features(state, asked)[0] @ candidate_features(state, sample)[0].T
    seen = float(state.folded[2])
    total = seen + float(wide.std(axis=1).sum())
    count = len(asked) + float(state.folded[4])
    folded = state.folded.copy()
    folded[2], folded[4] = total, count
    temperature = config.prior_spread / max(total / count, _NARROWEST)
    scales = np.array([*state.scales[:2], temperature, *state.scales[3:]], np.float32)
    state = replace(state, folded=folded, scales=scales)
    if state.fits:
        return state
    basis = np.zeros((0, 0), np.float32)
    width = state.dim
    if state.dim > config.most_features:
        width = config.most_features
        basis = _subspace(np.concatenate([asked, sample]), width, random)
    return replace(
        state,
        basis=basis,
        map=np.zeros((width, width + 1), np.float32),
        heads=np.zeros((0, width + 1), np.float32),
    )


def _subspace(rows: FloatArray, width: int, random: np.random.Generator) -> FloatArray:
    """(dim, width) orthonormal: the leading directions of `rows`, filled up with random ones.

    Randomised range finder with one power step (Halko, Martinsson and Tropp 2011).
    """
    noise = random.standard_normal((rows.shape[1], width)).astype(np.float32)
    centred = rows - rows.mean(axis=0)
    sketch = centred.T @ (centred @ noise)
    sketch /= max(float(np.linalg.norm(sketch)), _NARROWEST)
    sketch += np.float32(1e-4 / np.sqrt(noise.size)) * noise
    return np.linalg.qr(sketch)[0].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """Events to fit, the new ones first."""

    events: RankEvents
    moved: npt.NDArray[np.bool_]  # (n,) about meanings that have changed
    certain: npt.NDArray[np.bool_]  # (n,) said too often to be wrong
    fresh: int  # how many are new
    new: float  # share of the evidence that is new since the last fit: the larger, the farther the minimum
    left_out: int = 0  # overruled events, which what prevails need not be averaged with

    def take(self, rows: npt.NDArray[np.intp]) -> _Fitted:
        """The events at `rows`, ascending."""
        fresh = int((rows < self.fresh).sum())
        return _Fitted(self.events.take(rows), self.moved[rows], self.certain[rows], fresh, self.new, self.left_out)

    @property
    def newly_moved(self) -> float:
        """Share of the new events that are about meanings that have changed."""
        return float(self.moved[: self.fresh].mean()) if self.fresh else 0.0


def _refine(
    state: RankerState, embeddings: Rows, given: _Fitted, config: RankerConfig, random: np.random.Generator
) -> RankerState:
    """Move heads and map towards the minimum, and average over cycles, as each sees a sample."""
    rows = _active_rows(state, embeddings, given.events, given.fresh, config.most_rows, random)
    given = given.take(np.flatnonzero(np.isin(given.events.judged, rows)))
    found = len(given.events)
    if len(rows) > config.usual_candidates:
        given = _affordable(given, _FITTED_CELLS // len(rows))
    events = given.events
    place = np.searchsorted(rows, events.judged)
    wide_query, query = query_features(state, events.query)
    wide_features, features = candidate_features(state, embeddings[rows])
    tau = state.scales[2]
    evidence = state.evidence(rows)
    noise, against = (float(found) or config.label_noise for found in (state.scales[4], state.contradicted[0]))
    noise = min(config.noise_doubt * noise, max(noise, against))  # of sure answers no more is contradicted
    noise, against = (min(max(share, config.least_noise), MOST_NOISE) for share in (noise, against))

    more = _MORE_SAMPLES if len(events) < _FEW_EVENTS * len(rows) else 1
    most = _MOST_PSEUDO if len(rows) <= config.usual_candidates else _MOST_PSEUDO // (2 * more)
    samples = max(1, min(config.prior_samples * more, most * more // len(rows)))
    pseudo = pseudo_queries(features, query[:, :-1], samples, random)
    pseudo_weight = np.float32(config.prior_strength / samples) * (1.0 + evidence) ** np.float32(-config.prior_decay)
    base = np.empty((len(query) + len(pseudo), len(rows)), np.float32)
    np.matmul(tau * wide_query, wide_features.T, out=base[: len(query)])
    if events.candidates is not None:
        base[: len(query)][~events.offered(rows)] = -np.inf
    np.matmul(tau * pseudo, features.T, out=base[len(query) :])
    # The model is sure of an overruled answer: feedback for the new one is taken at its word, or it would not move it.
    for_new = given.moved & (events.verdict >= 0.5)
    sharp = state.sharpness[0]
    told = _in_full(state, events)
    trust = np.where(for_new | told, np.float32(config.moved_weight), np.float32(1.0))
    trust[: given.fresh][told[: given.fresh]] = config.told_weight
    usual_up = max(config.up_doubt * noise, config.least_noise)
    up_noise = np.where(given.moved | given.certain, np.float32(_LEAST), np.float32(usual_up))
    up_noise[told] = 0.0
    base *= sharp
    fitted = PartialLabels(
        query=sharp * np.concatenate([query, np.pad(pseudo, ((0, 0), (0, 1)), constant_values=1.0)]),
        base=base,
        features=np.float32(config.map_gain) * features,
        target=np.concatenate([place, np.tile(np.arange(len(rows)), samples)]),
        quality=np.concatenate([events.verdict, np.ones(len(pseudo), np.float32)]),
        weight=np.concatenate([events.weight * trust, np.tile(pseudo_weight, samples)]),
        up_noise=np.concatenate([up_noise, np.full(len(pseudo), usual_up, np.float32)]),
        down_noise=min(config.down_doubt * noise, _MOST_DOUBT),
        ridge=float(sharp) ** 2 * config.ridge * min(against, max(NOISY, 0.5 * against)),
    )
    head_rows = np.union1d(state.head_rows, rows).astype(np.int32)
    heads = np.zeros((len(head_rows), query.shape[1]), np.float32)
    heads[np.searchsorted(head_rows, state.head_rows)] = state.heads
    active = np.searchsorted(head_rows, rows)
    gain = np.float32(config.map_gain)
    start = np.concatenate([heads[active], state.map / gain])
    iterations = config.iterations(len(fitted.query), len(rows), given.new, given.newly_moved)
    with beside(fitted.base.size >= _WORTH_A_THREAD) as start_beside:
        objective = replace(fitted, start=start_beside)
        point = objective.at(start)
        inverse = inverse_curvature(point, fitted=state.fits > 0)
        if noise > NOISY:  # half of the steps tell what is probably wrong, the others fit the rest
            iterations, first = iterations - iterations // 2, iterations // 2
            point = minimise(point, iterations=first, inverse=inverse)
            left_out = doubtful(events, point.right[: len(events)], noise, given.moved | given.certain | told)
            point = point.without(np.flatnonzero(left_out))
        refit = partial(minimise, iterations=iterations, inverse=inverse)
        share = min(1.0, (found + given.left_out) / max(float(state.folded[1]), 1.0))
        corrections = np.flatnonzero(events.correct[: given.fresh] != NONE)
        settled = averaged(start, refit(point), share, corrections, len(events) - given.fresh, refit)
    heads[active] = settled[: len(rows)]
    bound = _bound_of_caution(state, replace(fitted, start=later), settled, events, wide_features)
    folded = state.folded + np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    kept = _kept_heads(state, head_rows, config.most_heads)
    return replace(
        state, folded=folded, head_rows=head_rows[kept], heads=heads[kept], map=gain * settled[len(rows) :], bound=bound
    )  # fmt: skip


def _bound_of_caution(
    state: RankerState, fitted: PartialLabels, settled: FloatArray, events: RankEvents, wide_features: FloatArray
) -> FloatArray:
    """Return (1,) the most caution with which answers that were told stay first, and disliked ones do not come back.

    It is measured on a sample of the events; one that the fit itself contradicts bounds nothing.
    """
    sample = _spread(len(events), _CAUTIOUS_CELLS // fitted.base.shape[1])
    told, target = events.verdict[sample] >= 0.5, fitted.target[sample]
    logits = replace(fitted, query=fitted.query[sample]).product(settled) + fitted.base[sample]
    logits /= state.sharpness[0]
    extra = (state.scales[2] / state.scales[0]) * (events.query[sample] @ wide_features.T)
    each = np.arange(len(sample))
    first = np.where(told, target, logits.argmax(axis=1))
    rival = np.where(told, NONE, target)
    lead = logits[each, first][:, None] - logits
    faster = extra - extra[each, first][:, None]
    counts = (faster > _NARROWEST) & (told[:, None] | (np.arange(logits.shape[1]) == rival[:, None]))
    most = np.where(counts, lead / np.where(counts, faster, 1.0), np.inf).min(axis=1)
    most = most[(most > 0.0) & (first != rival)]
    found = float(np.quantile(most, _TOLD_TO_OVERRULE, method="lower")) if len(most) else MOST_CAUTION
    return np.full(1, min(_KEPT * found, MOST_CAUTION), np.float32)


def _affordable(given: _Fitted, most: int) -> _Fitted:
    """The new events, and of the others a sample that weighs as much as all of them: `most` altogether."""
    events, fresh = given.events, given.fresh
    earlier, room = len(events) - fresh, max(most - fresh, fresh, 1)
    if earlier <= room:
        return given
    sample = given.take(np.concatenate([np.arange(fresh), fresh + _spread(earlier, room)]))
    weight = sample.events.weight.copy()
    weight[fresh:] *= np.float32(events.weight[fresh:].sum() / max(float(weight[fresh:].sum()), _NARROWEST))
    return replace(sample, events=replace(sample.events, weight=weight))


def _kept_heads(state: RankerState, head_rows: IntArray, most: int) -> npt.NDArray[np.intp]:
    """Positions of the `most` heads whose candidates were judged most often; every version stores them."""
    if len(head_rows) <= most:
        return np.arange(len(head_rows))
    judged = state.positive[head_rows] + state.negative[head_rows]
    return np.sort(np.argsort(-judged, kind="stable")[:most])


def _active_rows(
    state: RankerState,
    embeddings: Rows,
    events: RankEvents,
    fresh: int,
    most: int,
    random: np.random.Generator,
) -> IntArray:
    """Ascending rows to fit: all when they are few, else the judged ones, by the `fresh` events first, and rivals.

    Without that order, of very many candidates with one judgement each the same would be fitted in every cycle. Rivals
    of many candidates are looked for among an evenly spread part of them, each time another.
    """
    if len(embeddings) <= min(most, _FEW_CANDIDATES):
        return np.arange(len(embeddings), dtype=np.int32)
    judged = np.bincount(events.judged, minlength=len(embeddings)).astype(np.float64)
    judged[events.judged[:fresh]] += len(events)
    step = -(-len(embeddings) // _MOST_SEARCHED)
    searched = np.arange(random.integers(step) if step > 1 else 0, len(embeddings), step, dtype=np.int32)
    most_asked = _MOST_ASKED if step == 1 else _MOST_RIVALS // _RIVALS
    asked = events.query[_spread(len(events), min(most_asked, _ASKED_CELLS // len(searched)))]
    logits = stranger_scores(state, asked, embeddings[searched])
    add_heads(state, logits, asked, searched)
    rivals = searched[np.argpartition(logits, -_RIVALS, axis=1)[:, -_RIVALS:]]
    counts = judged + np.bincount(rivals.ravel(), minlength=len(embeddings)) / (1.0 + rivals.size)
    most = min(most, int(np.count_nonzero(judged)) + _MOST_RIVALS)
    found = np.flatnonzero(counts)
    return np.sort(found[np.argsort(-counts[found], kind="stable")][:most]).astype(np.int32)


_MOST_ASKED = 512
_RIVALS = 8
# Items fitted beside those with feedback: more rivals learn slower (benchmarks/eval/EVIDENCE.md).
_MOST_RIVALS = 128
_FEW_CANDIDATES = 256  # are all fitted
_MOST_SEARCHED = 8192  # candidates among which rivals are looked for at once
# Bounds of queries × candidates: of 100,000, 40 queries calibrate.
_CALIBRATED_CELLS = 4_000_000
_ASKED_CELLS = 1_000_000
_FITTED_CELLS = 1_500_000  # beside the pseudo-queries
_MEASURED_CELLS = 1_000_000
_WORTH_A_THREAD = 500_000  # cells of a fit
_MEASURED_CANDIDATES = 4096
_CAUTIOUS_CELLS = 250_000
_TOLD_TO_OVERRULE = 0.05  # share of what was told that caution may overrule
_KEPT = 0.9  # share of the bound, so that answers stay first by some lead
