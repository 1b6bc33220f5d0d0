"""Ranking by feedback that no version has learned yet: additions to the served ranker's scores.

The served scores are the prior of an online softmax regression (partial labels as in `ranker_objective`): facts move
the weights of the candidates they are about, and those of their rivals, by damped Newton steps in the metric of the
candidates' own directions (Woodbury's identity). Earlier facts take part in the steps, so that all of them agree, and
pseudo-queries, so that candidates nobody asked about keep their place. The result is a weight vector and an offset
for each candidate: asking costs nothing more.

The result is a function of the state, the candidates and the sequence of facts alone. Facts are learned in blocks; the
weights after some of the blocks are kept, so that a fact that comes late, or is taken back, costs the blocks since.
Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.recent_features import RecentFeatures

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecentRankingConfig:
    """Hyperparameters, independent of the embedding's scale. Evidence: benchmarks/eval/EVIDENCE.md."""

    spread: float = 1.8  # standard deviation, in logits, of cosines over the candidates: before the first fit only
    rate: float = 1.0  # of a step, before it is damped
    block: int = 8  # facts that are learned together; of more candidates than `usual`, more
    usual: int = 256
    steps: int = 12  # for each whole block
    replayed: int = 48  # facts so far in each of these steps
    pseudo: int = 24  # pseudo-queries in each of these steps
    fresh: int = 4  # of these steps are on all facts of the block
    tail_steps: int = 4  # on the facts after the last whole block, all of them in the first step
    tail_fresh: int = 2
    tail_replayed: int = 12
    tail_pseudo: int = 12
    prior_strength: float = 4.0  # weight of the pseudo-queries of a candidate without feedback
    prior_decay: float = 2.0  # that weight decays as (1 + n)^-decay
    few: float = 20.0  # judged queries up to which other candidates mostly stand in for them, in pseudo-queries
    calibration: float = 0.05  # logarithm of the sharpness of cosines, by each answer that was better than expected
    ridge: float = 0.5  # of the metric, in units of its mean eigenvalue within the span of the candidates
    up_noise: float = 0.01  # chance that a thumb up, or down, says the opposite
    down_noise: float = 0.08
    # Share of its pull that a thumb up keeps however unlikely the answer has become: else thumbs up after many thumbs
    # down would all be taken for noise, and the answer would never come back.
    least_praise: float = 0.25
    caution: float = 0.7  # share by which the served scores count more than in the steps, before any feedback
    cautious: float = 3.0  # judgements of each judged candidate at which caution is half of that
    basis: int = 256  # candidates, evenly spread, of which the metric is made

    def block_of(self, candidates: int) -> int:
        """Return the number of facts in a block: a block costs the more, the more candidates there are."""
        return self.block * max(1, -(-candidates // self.usual))


class _Point(NamedTuple):
    """State after some of the facts."""

    facts: int
    sharpness: float  # logarithm, beside the first temperature
    confirmed: Doubles  # (m,) feedback for each candidate
    moved: FloatArray  # (m, dim + 1) what the facts add to the served weights of features


class RecentRanking:
    """The served ranker's scores of some candidates, moved by facts. Not safe for threads at once."""

    def __init__(
        self,
        state: RankerState,
        embeddings: FloatArray,
        slots: IntArray,
        config: RecentRankingConfig | None = None,
    ) -> None:
        """Start from what a version says.

        Args:
            state: the ranker of the version.
            embeddings: (m, dim) float32 unit rows of the candidates, one or more.
            slots: (m,) their rows in the state, NONE for those that it does not know.
            config: hyperparameters.
        """
        self._config = config = config or RecentRankingConfig()
        self._of = RecentFeatures(
            state, embeddings, slots, spread=config.spread, ridge=config.ridge, basis=config.basis
        )
        self._calibrates = not state.fits
        self._earlier = float(state.folded[1]), state.judged
        self._block = config.block_of(len(embeddings))
        self._first = len(embeddings)
        self._facts = _Facts(state.dim)
        self._points = [_Point(0, 0.0, self._of.evidence, np.zeros((len(embeddings), state.dim + 1), np.float32))]
        self._last = self._points[0]

    def __len__(self) -> int:
        """Return the number of facts learned."""
        return self._facts.count

    def forget(self, kept: int) -> int:
        """Forget all but the first `kept` facts, and the candidates added for others; return how many are left.

        `learn` must follow.
        """
        self._facts.count = kept
        self._points = [point for point in self._points if point.facts <= kept]
        known = self._facts.known(kept, self._first)
        self._of.truncate(known)
        return known

    def extend(self, embeddings: FloatArray, slots: IntArray) -> None:
        """Score more candidates from now on, (n, dim) unit rows, after those there are."""
        self._of.extend(embeddings, slots)

    def learn(self, events: RankEvents) -> None:
        """Learn from judged events after the facts so far; unjudged ones are left out.

        Their rows are those of the candidates. A candidate counts as a rival from the block on whose facts are about it
        or a later one.
        """
        events = events.take(events.judged != NONE)
        self._facts.add(events)
        count, block = self._facts.count, self._block
        point = self._points[-1]
        while point.facts + block <= count:
            point = self._after(point, point.facts + block, whole=True)
            self._points.append(point)
            self._points = _thinned(self._points, block)
        self._last = self._after(point, count, whole=False) if point.facts < count else point

    @property
    def moves(self) -> tuple[FloatArray, FloatArray]:
        """(m, dim) and (m,) float32: what is added to weights and offsets of the version's prepared scores."""
        of, moved = self._of, self._last.moved
        temperature = np.float32(of.temperature * np.exp(self._last.sharpness))
        temperature *= 1 + np.float32(self._caution())
        weights = moved[:, :-1] / np.float32(of.query_scale * temperature)
        offset = moved[:, -1] / temperature - weights @ of.query_mean
        return weights, np.asarray(offset, np.float32)

    def _caution(self) -> float:
        """Return how much more the served scores count than in the steps, while there is little feedback.

        As `RankerState.caution`.
        """
        (earlier, judged), count = self._earlier, self._last.facts
        each = (earlier + count) / max(judged, len(np.unique(self._facts.target[:count])), 1)
        return self._config.caution / (1.0 + (each / self._config.cautious) ** 2)

    def _after(self, point: _Point, count: int, *, whole: bool) -> _Point:
        """Return the state after the first `count` facts, from that after some of them."""
        config, facts, of = self._config, self._facts, self._of
        fresh = np.arange(point.facts, count)
        facts.describe(point.facts, count, *of.of_queries(facts.query[point.facts : count]))
        known = facts.known(count, self._first)
        confirmed = np.concatenate([point.confirmed, of.evidence[len(point.confirmed) : known]])
        np.add.at(confirmed, facts.target[fresh], facts.verdict[fresh])
        moved = np.pad(point.moved, ((0, known - len(point.moved)), (0, 0)))
        sharpness = self._sharpened(point.sharpness, moved, fresh) if self._calibrates else point.sharpness
        served = np.float32(of.temperature * np.exp(sharpness)) * of.served[:known]
        weights = served + moved
        steps, first, replayed, pseudo = (
            (config.steps, config.fresh, config.replayed, config.pseudo) if whole
            else (config.tail_steps, config.tail_fresh, config.tail_replayed, config.tail_pseudo)
        )  # fmt: skip
        random = np.random.default_rng([point.facts, count if whole else 0])
        strangeness = np.cumsum((1.0 + confirmed) ** -config.prior_decay)
        again = random.integers(0, count, (steps, min(replayed, count)))
        evenly = (np.arange(pseudo) + random.random((steps, 1))) / pseudo  # lower variance than independent draws
        drawn = np.searchsorted(strangeness, evenly * strangeness[-1])
        likeness = random.integers(0, count, (steps, pseudo)), random.integers(0, known, (steps, pseudo))
        few = random.random((steps, pseudo)) * (count + config.few) >= count
        told = fresh[facts.told[fresh]]  # a correction is certain: every step is on it
        for step in range(steps):
            rows = np.concatenate([fresh if step < first else told, again[step]])
            target = np.minimum(drawn[step], known - 1)
            self._step(weights, rows, target, np.where(few[step], -1 - likeness[1][step], likeness[0][step]))
        return _Point(count, sharpness, confirmed, weights - served)

    def _sharpened(self, sharpness: float, moved: FloatArray, fresh: npt.NDArray[np.intp]) -> float:
        """Sharpen the cosines where answers are right more often than expected, soften them again where less."""
        of, facts = self._of, self._facts
        weights = np.float32(of.temperature * np.exp(sharpness)) * of.served[: len(moved)] + moved
        chance = _chances(facts.features[fresh] @ weights.T)
        expected = chance[np.arange(len(fresh)), facts.target[fresh]]
        surprise = float((facts.verdict[fresh] - expected).sum())
        return min(max(sharpness + self._config.calibration * surprise, 0.0), _MOST_SHARPNESS)

    def _step(
        self,
        weights: FloatArray,
        rows: npt.NDArray[np.intp],
        pseudo: npt.NDArray[np.intp],
        like: npt.NDArray[np.intp],
    ) -> None:
        """Move `weights` by one step on facts and pseudo-queries.

        Each of the latter is half the candidate's own direction and half a fact's, or, below 0, another candidate's.
        """
        config, facts, of = self._config, self._facts, self._of
        half, other = np.sqrt(np.float32(0.5)), like < 0
        strange, slope = facts.features[np.maximum(like, 0)], facts.slopes[np.maximum(like, 0)]
        strange[other, :-1], slope[other] = of.directions[-1 - like[other]], of.slopes[-1 - like[other]]
        strange[:, :-1] = half * (of.directions[pseudo] + strange[:, :-1])
        features = np.concatenate([facts.features[rows], strange])
        slopes = np.concatenate([facts.slopes[rows], half * (of.slopes[pseudo] + slope)]) + of.bias_slope
        target = np.concatenate([facts.target[rows], pseudo])
        quality = np.concatenate([facts.verdict[rows], np.ones(len(pseudo), np.float32)])
        chance = _chances(features @ weights.T)
        each = np.arange(len(target))
        right = chance[each, target]
        up, down = np.float32(config.up_noise), np.float32(config.down_noise)
        praise = right * (1 - 2 * up) / ((1 - up) * right + up * (1 - right))
        blame = right * (1 - 2 * down) / ((1 - down) * (1 - right) + down * right)
        pull = quality * np.maximum(praise, np.float32(config.least_praise)) - (1 - quality) * blame
        # Samples that are alike share a step: their overlaps bound the curvature of the sum (Jacobi's diagonal).
        overlap = np.abs(slopes @ features.T) @ np.maximum(right * (1 - right), np.float32(_LEAST_CURVATURE))
        damped = np.float32(config.rate) / (1 + np.float32(config.rate) * overlap)
        gradient = chance
        gradient *= -(damped * pull)[:, None]
        gradient[each, target] += damped * pull
        weights += gradient.T @ slopes


class _Facts:
    """Facts so far, in arrays that grow by doubling."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.query = np.zeros((0, dim), np.float32)
        self.features = np.zeros((0, dim + 1), np.float32)  # the last column is the bias, 1
        self.slopes = np.zeros((0, dim + 1), np.float32)  # of the features without the bias
        self.target = np.zeros(0, np.int64)
        self.verdict = np.zeros(0, np.float32)
        self.told = np.zeros(0, np.bool_)  # by a correction

    def add(self, events: RankEvents) -> None:
        """Add judged events."""
        more = self.count + len(events)
        if more > len(self.target):
            room = ((0, 2 * more - len(self.target)),)
            wide = (self.query, self.features, self.slopes)
            self.query, self.features, self.slopes = (np.pad(rows, (*room, (0, 0))) for rows in wide)
            self.target, self.verdict = np.pad(self.target, room), np.pad(self.verdict, room)
            self.told = np.pad(self.told, room)
        rows = slice(self.count, more)
        self.query[rows] = events.query
        self.target[rows], self.verdict[rows] = events.judged, events.verdict
        self.told[rows] = events.correct != NONE
        self.count = more

    def describe(self, first: int, count: int, wide: FloatArray, slopes: FloatArray) -> None:
        """Keep the features of the facts `first` to `count` and their slopes.

        They are computed for these together: the last bits of a product depend on how many rows it has.
        """
        self.features[first:count, :-1], self.features[first:count, -1] = wide, 1.0
        self.slopes[first:count] = slopes

    def known(self, count: int, least: int) -> int:
        """Return how many candidates there were after `count` facts, `least` before the first."""
        return max(least, int(self.target[:count].max(initial=-1)) + 1)


def _chances(logits: FloatArray) -> FloatArray:
    """Softmax of each row, in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _thinned(points: list[_Point], block: int) -> list[_Point]:
    """Return the first of some points, and of the others the more, the later they are: about log2 of their number."""
    newest = points[-1].facts // block
    kept = []
    for point in points:
        number = point.facts // block
        apart = 1 << max((newest - number).bit_length() - 1, 0)
        if number % apart == 0:
            kept.append(point)
    return kept


_LEAST_CURVATURE = 0.05
_MOST_SHARPNESS = 2.0  # logarithm
