"""Ranking by feedback that no version has learned yet: what each new fact adds to the served ranker's scores.

The served scores are the prior of an online softmax regression (partial labels as in `ranker_objective`): each new fact
moves the weights of the candidate it is about, and those of its rivals, by one damped Newton step in the metric of the
candidates' own directions (Woodbury's identity). Earlier facts take part in the step, so that all of them agree, and
pseudo-queries, so that candidates nobody asked about keep their place. The result is a weight vector and an offset
for each candidate: asking costs nothing more. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker import RankerState, centre
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.ranker_prepared import Prepared, prepare

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecentRankingConfig:
    """Hyperparameters, independent of the embedding's scale. Evidence: benchmarks/eval/EVIDENCE.md."""

    spread: float = 1.8  # standard deviation, in logits, of cosines over the candidates: before the first fit only
    rate: float = 1.0  # of a step, before it is damped
    replayed: int = 12  # earlier facts in each step
    pseudo: int = 12  # pseudo-queries in each step
    steps: int = 3  # for each call; only the first is on new thumbs, all are on corrections
    at_once: int = 32  # new facts in one step: of a burst
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
    basis: int = 256  # candidates, evenly spread, of which the metric is made


class RecentRanking:
    """The served ranker's scores of some candidates, moved by facts as they come. Not safe for threads at once."""

    def __init__(
        self,
        state: RankerState,
        embeddings: FloatArray,
        slots: IntArray,
        config: RecentRankingConfig | None = None,
        seed: int = 0,
    ) -> None:
        """Start from what a version says.

        Args:
            state: the ranker of the version.
            embeddings: (m, dim) float32 unit rows of the candidates, one or more.
            slots: (m,) their rows in the state, NONE for those that it does not know.
            config: hyperparameters.
            seed: of the samples.
        """
        self._config = config or RecentRankingConfig()
        self._state = state
        self._served: Prepared = prepare(state, embeddings, slots)
        self._random = np.random.default_rng(seed)
        self._candidate_mean = state.item_mean if state.fits else centre(embeddings.mean(axis=0))
        self._query_mean = state.query_mean if state.fits else self._candidate_mean
        self._query_scale = state.scales[0] if state.fits else _scale_around(self._query_mean)
        self._temperature = np.float32(1.0) if state.fits else self._first_temperature(embeddings)
        self._first, self._sharpness = float(self._temperature), 0.0
        self._directions = self._directed(embeddings)
        self._confirmed = state.evidence(slots).astype(np.float64)
        self._metric = _Metric(self._directions, self._config)
        self._moved = np.zeros((len(embeddings), state.dim + 1), np.float32)
        self._judged = _EventRows(state.dim)

    def learn(self, fresh: RankEvents) -> None:
        """Move by new facts, oldest first; their rows are those of the candidates. Unjudged events are left out."""
        fresh = fresh.take(fresh.judged != NONE)
        for start in range(0, len(fresh), self._config.at_once):
            self._learn(fresh.take(np.arange(start, min(start + self._config.at_once, len(fresh)))))

    def remember(self, earlier: RankEvents) -> None:
        """Let facts that the version has learned be among the earlier ones that every step looks at again."""
        self._judged.add(earlier.take(earlier.judged != NONE))

    def extend(self, embeddings: FloatArray, slots: IntArray) -> None:
        """Score more candidates from now on, (n, dim) unit rows, after those there are."""
        served = prepare(self._state, embeddings, slots)
        self._served = Prepared(
            np.concatenate([self._served.weights, served.weights]), np.concatenate([self._served.offset, served.offset])
        )
        self._directions = np.concatenate([self._directions, self._directed(embeddings)])
        self._confirmed = np.concatenate([self._confirmed, self._state.evidence(slots).astype(np.float64)])
        self._moved = np.pad(self._moved, ((0, len(embeddings)), (0, 0)))

    @property
    def moves(self) -> tuple[FloatArray, FloatArray]:
        """(m, dim) and (m,) float32: what is added to weights and offsets of the version's prepared scores."""
        weights = self._moved[:, :-1] / np.float32(self._query_scale * self._temperature)
        offset = self._moved[:, -1] / self._temperature - weights @ self._query_mean
        return weights, np.asarray(offset, np.float32)

    def _learn(self, fresh: RankEvents) -> None:
        np.add.at(self._confirmed, fresh.judged, fresh.verdict)
        known = self._judged.count
        self._judged.add(fresh)
        rows = np.arange(known, self._judged.count)
        told = rows[fresh.correct != NONE]  # a correction is certain: every step is on it
        if not self._state.fits:
            self._calibrate(fresh)
        for _ in range(self._config.steps):
            again = self._random.integers(0, self._judged.count, min(self._config.replayed, self._judged.count))
            self._step(np.concatenate([rows, again]))
            rows = told

    def _calibrate(self, fresh: RankEvents) -> None:
        """Sharpen the cosines where answers are right more often than expected, soften them again where less."""
        wide = self._features(fresh.query)
        chance = self._chances(wide, np.pad(wide, ((0, 0), (0, 1)), constant_values=1.0))
        surprise = float((fresh.verdict - chance[np.arange(len(fresh)), fresh.judged]).sum())
        self._sharpness = min(max(self._sharpness + self._config.calibration * surprise, 0.0), _MOST_SHARPNESS)
        self._temperature = np.float32(self._first * np.exp(self._sharpness))

    def _step(self, rows: npt.NDArray[np.int64]) -> None:
        config, judged = self._config, self._judged
        count, strangeness = len(self._directions), (1.0 + self._confirmed) ** -config.prior_decay
        pseudo = self._random.choice(count, config.pseudo, p=strangeness / strangeness.sum())
        others = self._features(judged.query[self._random.integers(0, judged.count, config.pseudo)])
        few = self._random.random(config.pseudo) * (judged.count + config.few) >= judged.count
        others[few] = self._directions[self._random.integers(0, count, int(few.sum()))]
        half = np.sqrt(np.float32(0.5))
        wide = np.concatenate([self._features(judged.query[rows]), half * self._directions[pseudo] + half * others])
        target = np.concatenate([judged.target[rows], pseudo])
        quality = np.concatenate([judged.verdict[rows], np.ones(config.pseudo, np.float32)])
        features = np.pad(wide, ((0, 0), (0, 1)), constant_values=1.0)
        chance = self._chances(wide, features)
        each = np.arange(len(target))
        right = chance[each, target]
        up, down = config.up_noise, config.down_noise
        praise = right * (1.0 - 2.0 * up) / ((1.0 - up) * right + up * (1.0 - right))
        blame = right * (1.0 - 2.0 * down) / ((1.0 - down) * (1.0 - right) + down * right)
        pull = quality * np.maximum(praise, config.least_praise) - (1.0 - quality) * blame
        gradient = -chance * pull[:, None]
        gradient[each, target] += pull
        directed = self._metric.apply(features)
        curvature = np.maximum(right * (1.0 - right), _LEAST_CURVATURE)
        # Samples that are alike share a step: their overlaps bound the curvature of the sum (Jacobi's diagonal).
        overlap = np.abs(directed @ features.T) @ curvature
        damped = config.rate / (1.0 + config.rate * overlap)
        self._moved += (damped[:, None] * gradient).astype(np.float32).T @ directed.astype(np.float32)

    def _chances(self, wide: FloatArray, features: FloatArray) -> Doubles:
        """(n, m) probabilities of the candidates by what is known now."""
        queries = wide * self._query_scale + self._query_mean
        logits = self._temperature * self._served.score(queries) + features @ self._moved.T
        chances = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
        chances /= chances.sum(axis=1, keepdims=True)
        return np.asarray(chances, np.float64)

    def _features(self, queries: FloatArray) -> FloatArray:
        return (queries - self._query_mean) / self._query_scale

    def _directed(self, embeddings: FloatArray) -> FloatArray:
        directions = embeddings - self._candidate_mean
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions / np.maximum(lengths, np.float32(1e-6)), np.float32)

    def _first_temperature(self, embeddings: FloatArray) -> np.float32:
        sample = embeddings[_spread(len(embeddings), self._config.basis)]
        cosines = sample @ sample.T
        np.fill_diagonal(cosines, np.sqrt(np.float32(0.5)))  # of an pseudo-query
        return np.float32(self._config.spread / max(float(cosines.std(axis=1).mean()), _LEAST_SPREAD))


class _EventRows:
    """Facts so far, in arrays that grow by doubling."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.query = np.zeros((64, dim), np.float32)
        self.target = np.zeros(64, np.int64)
        self.verdict = np.zeros(64, np.float32)

    def add(self, events: RankEvents) -> None:
        """Add judged events."""
        more = self.count + len(events)
        if more > len(self.target):
            room = 2 * more
            self.query = np.concatenate(
                [self.query, np.zeros((room - len(self.query), self.query.shape[1]), np.float32)]
            )
            self.target = np.concatenate([self.target, np.zeros(room - len(self.target), np.int64)])
            self.verdict = np.concatenate([self.verdict, np.zeros(room - len(self.verdict), np.float32)])
        rows = slice(self.count, more)
        self.query[rows], self.target[rows], self.verdict[rows] = events.query, events.judged, events.verdict
        self.count = more


class _Metric:
    """Inverse of the regularised second moment of the candidates' directions, so scaled that theirs is 1 on average."""

    def __init__(self, directions: FloatArray, config: RecentRankingConfig) -> None:
        rows = directions[_spread(len(directions), config.basis)].astype(np.float64)
        rows = np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)
        self._ridge = config.ridge / min(rows.shape)
        self._rows = rows / np.sqrt(len(rows))
        self._inner = np.linalg.inv(self._rows @ self._rows.T + self._ridge * np.eye(len(rows)))
        self._scale = 1.0
        self._scale = 1.0 / float(np.einsum("ij,ij->i", rows, self.apply(rows)).mean())

    def apply(self, features: npt.NDArray[np.floating]) -> Doubles:
        """(n, d) float64 of (n, d)."""
        inside = ((features @ self._rows.T) @ self._inner) @ self._rows
        return np.asarray((features - inside) * (self._scale / self._ridge), np.float64)


def _scale_around(mean: FloatArray) -> np.float32:
    return np.float32(np.sqrt(max(1.0 - float(mean @ mean), 1e-6)))


def _spread(count: int, most: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)


_LEAST_CURVATURE = 0.05
_LEAST_SPREAD = 1e-3
_MOST_SHARPNESS = 2.0  # logarithm
