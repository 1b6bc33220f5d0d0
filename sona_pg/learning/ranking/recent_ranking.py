"""Ranking by feedback that no version has learned yet: additions to the served ranker's scores.

The served scores are the prior of an online softmax regression (partial labels as in `ranker_objective`): facts move
the weights of the candidates they are about, and those of their rivals, by damped Newton steps in the metric of the
candidates' own directions (Woodbury's identity). Earlier facts take part in the steps, so that all of them agree, and
pseudo-queries, so that candidates nobody asked about keep their place. The result is a weight vector and an offset
for each candidate: asking costs nothing more.

The result is a function of the state, the candidates and the sequence of facts alone. Each fact is learned by steps on
it alone, then anew with its block; the weights after some of the blocks are kept, so that a fact that comes late, or is
taken back, costs the blocks since. No fact moves the scores of its own query against its judgement (`recent_bounds`).
Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.recent_bounds import lacking, taken_back
from sona_pg.learning.ranking.recent_facts import RecentFacts
from sona_pg.learning.ranking.recent_features import RecentFeatures
from sona_pg.learning.ranking.recent_steps import RecentRankingConfig, chances, own_steps, step

Doubles = npt.NDArray[np.float64]


class _Point(NamedTuple):
    """State after some of the facts."""

    facts: int
    sharpness: float  # logarithm, beside the first temperature
    scale: float  # of what the facts add, in the scores that are served
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
        self._sure = float(state.sharpness[0]) > 1.0
        self._earlier = float(state.folded[1]), state.judged
        self._block = config.block_of(len(embeddings))
        self._first = len(embeddings)
        self._facts = RecentFacts(state.dim)
        nothing = np.zeros((len(embeddings), state.dim + 1), np.float32)
        sharpness = float(np.log(state.sharpness[0]))
        self._last = _Point(0, sharpness, self._scale(0, sharpness), self._of.evidence, nothing)
        self._points = [self._last]

    def __len__(self) -> int:
        """Return the number of facts learned."""
        return self._facts.count

    def room(self, kept: int) -> int:
        """Return how many facts after the first `kept` can be learned before a block is whole, which takes longer.

        Below 0 if learning those `kept` anew makes one whole.
        """
        point = next(point for point in reversed(self._points) if point.facts <= kept)
        return point.facts + self._block - 1 - kept

    def forget(self, kept: int) -> int:
        """Forget all but the first `kept` facts, and the candidates added for others; return how many are left.

        `learn` must follow.
        """
        self._facts.count = kept
        self._points = [point for point in self._points if point.facts <= kept]
        if self._last.facts > kept:
            self._last = self._points[-1]
        known = self._facts.known(kept, self._first)
        self._of.truncate(known)
        return known

    def extend(self, embeddings: FloatArray, slots: IntArray) -> None:
        """Score more candidates from now on, (n, dim) unit rows, after those there are."""
        self._of.extend(embeddings, slots)

    def learn(self, events: RankEvents) -> None:
        """Learn from judged events after the facts so far; unjudged ones are left out.

        Their rows are those of the candidates. A candidate counts as a rival from the first fact about it or a later
        one on.
        """
        self._facts.add(events.take(events.judged != NONE))
        while self._last.facts < self._facts.count:
            before, point = self._last, self._points[-1]
            count = before.facts + 1
            self._facts.describe(before.facts, *self._of.of_queries(self._facts.query[before.facts : count]))
            whole = count == point.facts + self._block
            self._last = self._held(before, self._together(point, count) if whole else self._alone(before))
            if self._sure:
                self._correct(self._last, 0 if whole else before.facts)
            if whole:
                self._points = _thinned([*self._points, self._last], self._block)

    def moves_with(self, events: RankEvents) -> tuple[FloatArray, FloatArray]:
        """Return `moves` after a few more judged events, by steps on each alone; these are not learned.

        Candidates added for them are forgotten.
        """
        last, count = self._last, self._facts.count
        self._facts.add(events.take(events.judged != NONE))
        while self._last.facts < self._facts.count:
            before = self._last
            row = before.facts
            self._facts.describe(row, *self._of.of_queries(self._facts.query[row : row + 1]))
            self._last = self._held(before, self._alone(before))
            if self._sure:
                self._correct(self._last, row)
        moves = self.moves
        self._last, self._facts.count = last, count
        self._of.truncate(self._facts.known(count, self._first))
        return moves

    @property
    def moves(self) -> tuple[FloatArray, FloatArray]:
        """(m, dim) and (m,) float32: what is added to weights and offsets of the version's prepared scores."""
        of, moved = self._of, self._last.moved
        scale = np.float32(self._last.scale)
        weights = moved[:, :-1] * np.float32(scale / of.query_scale)
        offset = moved[:, -1] * scale - weights @ of.query_mean
        return weights, np.asarray(offset, np.float32)

    def _scale(self, count: int, sharpness: float) -> float:
        """Return the scores that one unit of what the first `count` facts add is worth.

        The served scores count more than in the steps, while there is little feedback, as by `RankerState.caution`.
        """
        earlier, judged = self._earlier
        each = (earlier + count) / max(judged, self._facts.judged(count), 1)
        caution = self._config.caution / (1.0 + (each / self._config.cautious) ** 2)
        return 1.0 / (self._of.temperature * float(np.exp(sharpness)) * (1.0 + caution))

    def _alone(self, before: _Point) -> _Point:
        """Return the state after one more fact, by steps on it alone: those on all facts come with its block."""
        config, facts, of, row = self._config, self._facts, self._of, before.facts
        known, sharpness = facts.known(row + 1, self._first), before.sharpness
        moved = np.pad(before.moved, ((0, known - len(before.moved)), (0, 0)))
        if self._calibrates:
            sharpness = self._sharpened(sharpness, moved, np.array([row]))
        features, slope = facts.features[row], facts.slopes[row] + of.bias_slope
        logits = np.float32(of.temperature * np.exp(sharpness)) * (of.served[:known] @ features) + moved @ features
        told = bool(facts.told[row])
        steps = config.told_steps if told else config.own_steps
        pull = own_steps(config, logits, int(facts.target[row]), facts.verdict[row], told, slope @ features, steps)
        moved += np.outer(pull, slope)
        return _Point(row + 1, sharpness, self._scale(row + 1, sharpness), self._confirmed(before, row + 1), moved)

    def _together(self, point: _Point, count: int) -> _Point:
        """Return the state after the first `count` facts, by steps on all of them and pseudo-queries."""
        config, facts, of = self._config, self._facts, self._of
        fresh = np.arange(point.facts, count)
        known, steps, pseudo = facts.known(count, self._first), config.steps, config.pseudo
        confirmed = self._confirmed(point, count)
        moved = np.pad(point.moved, ((0, known - len(point.moved)), (0, 0)))
        sharpness = self._sharpened(point.sharpness, moved, fresh) if self._calibrates else point.sharpness
        served = np.float32(of.temperature * np.exp(sharpness)) * of.served[:known]
        weights = served + moved
        random = np.random.default_rng([point.facts, count])
        strangeness = np.cumsum((1.0 + confirmed) ** -config.prior_decay)
        again = random.integers(0, count, (steps, min(config.replayed, count)))
        evenly = (np.arange(pseudo) + random.random((steps, 1))) / pseudo  # lower variance than independent draws
        drawn = np.searchsorted(strangeness, evenly * strangeness[-1])
        likeness = random.integers(0, count, (steps, pseudo)), random.integers(0, known, (steps, pseudo))
        few = random.random((steps, pseudo)) * (count + config.few) >= count
        told = fresh[facts.told[fresh]]  # a correction is certain: every step is on it
        for at in range(steps):
            rows = np.concatenate([fresh if at < config.fresh else told, again[at]])
            target = np.minimum(drawn[at], known - 1)
            step(config, of, facts, weights, rows, target, np.where(few[at], -1 - likeness[1][at], likeness[0][at]))
        return _Point(count, sharpness, self._scale(count, sharpness), confirmed, weights - served)

    def _confirmed(self, point: _Point, count: int) -> Doubles:
        """Return (m,) the feedback for each candidate after the first `count` facts, from that at `point`."""
        facts, evidence = self._facts, self._of.evidence
        confirmed = np.concatenate([point.confirmed, evidence[len(point.confirmed) : facts.known(count, self._first)]])
        fresh = slice(point.facts, count)
        np.add.at(confirmed, facts.target[fresh], facts.verdict[fresh])
        return confirmed

    def _held(self, before: _Point, after: _Point) -> _Point:
        """Return the state `after` one more fact, that has not moved against it."""
        of, facts, row, known = self._of, self._facts, before.facts, len(after.moved)
        features, slope = facts.features[row], facts.slopes[row] + of.bias_slope
        served = of.served[:known] @ features
        old, new = served.copy(), served + np.float32(after.scale) * (after.moved @ features)
        old[: len(before.moved)] += np.float32(before.scale) * (before.moved @ features)
        target, verdict = int(facts.target[row]), float(facts.verdict[row])
        change = taken_back(old, new, target, verdict, of.temperature)
        if change.any():
            after.moved[...] += np.outer(change / np.float32(after.scale), slope / (slope @ features))
        return after

    def _correct(self, point: _Point, first: int) -> None:
        """Bring what was told since the fact `first` to the front: of sure scores, steps would not get there."""
        facts, of, known = self._facts, self._of, len(point.moved)
        rows = np.arange(first, point.facts)
        rows = rows[facts.told[rows] & (facts.verdict[rows] >= 0.5)][-_MOST_TOLD:]
        if len(rows):
            features, slopes, target = facts.features[rows], facts.slopes[rows] + of.bias_slope, facts.target[rows]
            scale = np.float32(point.scale)
            scores = features @ (of.served[:known] + scale * point.moved).T
            moves = lacking(scores, target, scale * (slopes @ features.T), point.scale)
            np.add.at(point.moved, target, moves[:, None] * slopes)

    def _sharpened(self, sharpness: float, moved: FloatArray, fresh: npt.NDArray[np.intp]) -> float:
        """Sharpen the cosines where answers are right more often than expected, soften them again where less."""
        of, facts = self._of, self._facts
        weights = np.float32(of.temperature * np.exp(sharpness)) * of.served[: len(moved)] + moved
        chance = chances(facts.features[fresh] @ weights.T)
        # A correction was chosen because it is right, which says nothing about how sure the first answer should be.
        told, target = facts.told[fresh], facts.target[fresh]
        first = np.where(told, chance.argmax(axis=1), target)
        right = np.where(told, first == target, facts.verdict[fresh])
        surprise = float((right - chance[np.arange(len(fresh)), first]).sum())
        return min(max(sharpness + self._config.calibration * surprise, 0.0), _MOST_SHARPNESS)


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


_MOST_SHARPNESS = 2.0  # logarithm
_MOST_TOLD = 256  # corrections, the latest, that are held at once
