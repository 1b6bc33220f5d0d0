"""Steps of recent ranking: damped Newton steps of a softmax regression, in the metric of the candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import FloatArray
from sona_pg.learning.ranking.recent_facts import RecentFacts
from sona_pg.learning.ranking.recent_features import RecentFeatures


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
    own_steps: int = 2  # on each fact alone, until its block is whole
    told_steps: int = 4  # the same, on a correction
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


def step(
    config: RecentRankingConfig,
    of: RecentFeatures,
    facts: RecentFacts,
    weights: FloatArray,
    rows: npt.NDArray[np.intp],
    pseudo: npt.NDArray[np.intp],
    like: npt.NDArray[np.intp],
) -> None:
    """Move `weights` by one step on facts and pseudo-queries.

    Each of the latter is half the candidate's own direction and half a fact's, or, below 0, another candidate's.
    """
    half, other = np.sqrt(np.float32(0.5)), like < 0
    strange, slope = facts.features[np.maximum(like, 0)], facts.slopes[np.maximum(like, 0)]
    strange[other, :-1], slope[other] = of.directions[-1 - like[other]], of.slopes[-1 - like[other]]
    strange[:, :-1] = half * (of.directions[pseudo] + strange[:, :-1])
    features = np.concatenate([facts.features[rows], strange])
    slopes = np.concatenate([facts.slopes[rows], half * (of.slopes[pseudo] + slope)]) + of.bias_slope
    target = np.concatenate([facts.target[rows], pseudo])
    quality = np.concatenate([facts.verdict[rows], np.ones(len(pseudo), np.float32)])
    chance = chances(features @ weights.T)
    each = np.arange(len(target))
    right = chance[each, target]
    told = np.concatenate([facts.told[rows], np.zeros(len(pseudo), bool)])
    pull = _pull(config, right, quality, told)
    # Samples that are alike share a step: their overlaps bound the curvature of the sum (Jacobi's diagonal).
    overlap = np.abs(slopes @ features.T) @ np.maximum(right * (1 - right), np.float32(_LEAST_CURVATURE))
    damped = np.float32(config.rate) / (1 + np.float32(config.rate) * overlap)
    gradient = chance
    gradient *= -(damped * pull)[:, None]
    gradient[each, target] += damped * pull
    weights += gradient.T @ slopes


def own_steps(
    config: RecentRankingConfig,
    logits: FloatArray,
    target: int,
    quality: np.float32,
    told: bool,
    reach: np.float32,
    count: int,
) -> FloatArray:
    """Return by how much `count` steps on one fact move each candidate's weights along the fact's slope, (m,).

    Args:
        config: hyperparameters.
        logits: (m,) of its query.
        target: the candidate that was judged.
        quality: its quality.
        told: whether it is a correction.
        reach: product of the fact's slope and its features.
        count: number of steps.
    """
    moved = np.zeros_like(logits)
    for _ in range(count):
        chance = chances((logits + reach * moved)[None, :])
        right = chance[:, target]
        curvature = np.maximum(right * (1 - right), np.float32(_LEAST_CURVATURE))
        damped = np.float32(config.rate) / (1 + np.float32(config.rate) * reach * curvature)
        pull = damped * _pull(config, right, np.full(1, quality), np.full(1, told))
        moved -= pull * chance[0]
        moved[target] += pull[0]
    return moved


def _pull(
    config: RecentRankingConfig, right: FloatArray, quality: FloatArray, told: npt.NDArray[np.bool_]
) -> FloatArray:
    """Return how far facts of some quality pull their candidates, by how probably these are right.

    A correction is no slip of the finger: it pulls in full however unlikely its answer was.
    """
    up, down = np.float32(config.up_noise), np.float32(config.down_noise)
    praise = right * (1 - 2 * up) / ((1 - up) * right + up * (1 - right))
    blame = right * (1 - 2 * down) / ((1 - down) * (1 - right) + down * right)
    least = np.where(told, np.float32(1.0), np.float32(config.least_praise))
    pull = quality * np.maximum(praise, least) - (1 - quality) * blame
    return np.asarray(pull, np.float32)


def chances(logits: FloatArray) -> FloatArray:
    """Softmax of each row, in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


_LEAST_CURVATURE = 0.05
