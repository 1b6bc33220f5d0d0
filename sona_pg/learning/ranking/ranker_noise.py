"""Label noise: which share of feedback says the opposite of the truth, told apart from the ranker's own errors.

An answer that feedback contradicts was wrong, or the feedback was. Wrong answers become rarer the surer the ranker is;
wrong feedback stays as frequent. So the chance of hearing "right" is taken for `ε + (1 - 2ε) σ(a + b s)`, with `s` the
log odds of the first answer in the softmax: a ranker that is overconfident, or knows nothing, moves `a` and `b`, and
`ε` is the rest among its surest answers (guessing and slipping of psychometric functions, Wichmann and Hill 2001).
Where sureness tells nothing, neither does it of `ε`, which stays as it was known. The posterior of `ε`, by the profile
likelihood on a grid, is carried on as a beta distribution from cycle to cycle. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray
from sona_pg.learning.ranking.ranker_prior import FEWEST, WELL_KNOWN

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FIRST_STRENGTH = 5.0  # judgements that the first guess is worth
MOST_STRENGTH = 30.0  # that all earlier cycles are worth: users change
_PER_MILLE = [2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 140, 160, 180, 200, 225, 250, 275, 300, 325, 350]
_SHARES = np.array([*_PER_MILLE, 400, 450]) / 1000.0  # ε
_WIDTHS = np.gradient(_SHARES)
_OFFSETS = np.arange(-4.0, 5.1, 0.5)  # a
_SLOPES = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])  # b
# Answers are usually somewhat surer than their share of the softmax. Little weight and heavy tails: this is paid in
# every cycle, and a ranker that stays ignorant would be taken for right, and its users for wrong.
_USUAL = -0.5 * (
    np.log1p((_OFFSETS[:, None] - 1.0) ** 2) + np.log1p((np.log(np.maximum(_SLOPES, _SLOPES[1])) / 0.4) ** 2)
)
_BINS = 32
_LEAST_ODDS, _MOST_ODDS = -6.0, 9.0  # logarithms
_LEAST_VARIANCE = 1e-9


class Noise(NamedTuple):
    """Estimated label noise."""

    share: float  # of feedback, in (0, 1)
    strength: float  # judgements that the estimate is worth


class FirstAnswers(NamedTuple):
    """First answers of a state to queries it has not learned from, and the feedback on them."""

    sure: Doubles  # (n,) log odds in the softmax
    right: Doubles  # (n,) whether feedback says so, in [0, 1]
    thumbs: Mask  # (n,) false: corrections

    @classmethod
    def of(
        cls, logits: FloatArray, judged: IntArray, verdict: FloatArray, corrected: Mask, evidence: FloatArray
    ) -> FirstAnswers:
        """Return those among well-known candidates: a contradiction about a new one is information.

        Args:
            logits: (n, m) of a state that has not learned from these events.
            judged: (n,) the rows they are about.
            verdict: (n,) in [0, 1].
            corrected: (n,) whether the right row was told.
            evidence: (m,) positive feedback per candidate.
        """
        if logits.shape[1] < 2 or not len(logits):
            return cls(np.zeros(0), np.zeros(0), np.zeros(0, np.bool_))
        best, known = logits.argmax(axis=1), evidence >= WELL_KNOWN
        about = np.flatnonzero((corrected | (judged == best)) & known[judged] & known[best])
        others = np.array([np.exp(logits[row] - logits[row, best[row]]).sum() - 1.0 for row in about], np.float64)
        sure = -np.log(np.clip(others, np.exp(-_MOST_ODDS), np.exp(-_LEAST_ODDS)))
        return cls(sure, np.where(judged == best, verdict, 0.0)[about], ~corrected[about])


def contradicted(first: FirstAnswers) -> float | None:
    """Return the share of the surer half of the answers that feedback contradicts; None when too few can tell.

    It counts wrong feedback and the ranker's own errors alike: by either a fit says too much.
    """
    if len(first.sure) < 2 * FEWEST:
        return None
    return float(1.0 - first.right[first.sure >= np.median(first.sure)].mean())


def measure_noise(first: FirstAnswers, usual: Noise) -> Noise | None:
    """Return the label noise after more feedback, from the `usual` before; None when too little can tell."""
    if len(first.sure) < FEWEST:
        return None
    order = np.argsort(first.sure, kind="stable")
    kinds = [order[first.thumbs[order]], order[~first.thumbs[order]]]
    bins = [rows for kind in kinds for rows in np.array_split(kind, _BINS) if len(rows)]
    odds, up, down = (
        np.array([fold(values[rows]) for rows in bins])
        for fold, values in ((np.mean, first.sure), (np.sum, first.right), (np.sum, 1.0 - first.right))
    )
    praised = np.array([float(first.thumbs[rows[0]]) for rows in bins])  # who corrects does not praise a wrong answer
    chance = 1.0 / (1.0 + np.exp(-(_OFFSETS[:, None, None] + _SLOPES[:, None] * odds)))  # (a, b, bins)
    share = _SHARES[:, None, None, None]
    heard = np.maximum(share * praised + (1.0 - share * (1.0 + praised)) * chance, _LEAST_VARIANCE)
    fits = (np.log(heard) @ up + np.log1p(-heard) @ down + _USUAL).max(axis=(1, 2))
    fits += (usual.strength * usual.share - 1.0) * np.log(_SHARES)
    fits += (usual.strength * (1.0 - usual.share) - 1.0) * np.log1p(-_SHARES)
    weight = np.exp(fits - fits.max()) * _WIDTHS
    weight /= weight.sum()
    mean = float(weight @ _SHARES)
    variance = max(float(weight @ (_SHARES - mean) ** 2), _LEAST_VARIANCE)
    return Noise(mean, min(max(mean * (1.0 - mean) / variance - 1.0, FIRST_STRENGTH), MOST_STRENGTH))
