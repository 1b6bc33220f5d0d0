"""Fairness to candidates with little feedback: pseudo-queries, and a calibrated allowance.

Feedback on some candidates lowers all others, which were never shown. Two remedies: each candidate has pseudo-queries,
which weigh less the more real ones it has; and candidates with little evidence get an allowance `ω / (1 + n)`, as large
as real feedback shows to be harmless.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import NONE

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

FEWEST = 16  # held-out answers, to measure by
WELL_KNOWN = 4.0  # positive feedbacks
# Probability of being right above which an answer that was not shown counts as taken (benchmarks/eval/EVIDENCE.md).
_LIKELY = 0.25
_HELPED = 0.98  # share of the right strangers that an allowance is to help (benchmarks/eval/EVIDENCE.md)
_LESS_KNOWN = 0.2  # of 1 / (1 + n): a rival that differs by less is no stranger


def pseudo_queries(features: FloatArray, real: FloatArray, samples: int, random: np.random.Generator) -> FloatArray:
    """Draw `samples` plausible queries per candidate: (a, k), (n, k) -> (a * samples, k), by sample, then candidate.

    Each is half the candidate's own direction and half a real query, in squared length: queries resemble their
    candidate, but share the ways of queries (hallucinated features, Hariharan and Girshick 2017).
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    own = np.sqrt(np.float32(0.5)) * features / np.maximum(length, np.float32(1e-6))
    turns = -(-len(features) * samples // len(real))  # each real query as often as any other
    other = real[np.concatenate([random.permutation(len(real)) for _ in range(turns)])[: len(features) * samples]]
    pseudo: FloatArray = np.tile(own, (samples, 1)) + np.sqrt(np.float32(0.5)) * other
    return pseudo


def tellable(
    judged: IntArray, verdict: FloatArray, corrected: npt.NDArray[np.bool_], evidence: FloatArray
) -> npt.NDArray[np.intp]:
    """Return the places of the events that `allowance` or `measure_noise` can use; arguments as of `proven_answers`.

    Of very many candidates most feedback is the first about its candidate, and tells neither.
    """
    known = evidence >= WELL_KNOWN
    right = verdict >= 0.5
    proves = np.where(right, evidence[judged] >= 1.0, ~corrected & known.any())
    return np.flatnonzero(proves | known[judged])


def allowance(
    logits: FloatArray,
    strangers: FloatArray,
    target: IntArray,
    evidence: FloatArray,
    steal_rate: float,
) -> float | None:
    """The largest `ω` by which strangers would take at most `steal_rate` of the proven answers, if they need as much.

    `logits` (n, m) of a state for queries it has not learned from, `strangers` (n, m) the same without fitted
    candidates, `target` (n,) the proven candidates or NONE, `evidence` (m,) positive feedback per candidate. Well-known
    rivals stand in for strangers, so that `ω` also holds for the next new candidate; and proven candidates do, which
    shows how much strangers lack where they are right. None when too few events can tell.
    Calibrated stacking (Chao et al. 2016), with the trade-off set by held-out feedback.
    """
    known = evidence >= WELL_KNOWN
    need = np.where(known, 1.0, 1.0 / (1.0 + evidence))
    told = np.flatnonzero((target != NONE) & (evidence[target] >= 1.0))
    margins, lacks = [np.zeros(0)], [np.zeros(0)]
    for rows in _blocks(told, logits.shape[1]):
        meant, each = target[rows], np.arange(len(rows))
        heard, alone = logits[rows], strangers[rows]
        best = heard[each, meant][:, None]
        rivals = known[None, :] & (np.arange(len(known)) != meant[:, None])
        lacks.append(np.where(rivals, heard, -np.inf).max(axis=1) - alone[each, meant])
        won = (best >= heard[:, known]).all(axis=1)
        more = need[None, :] - 1.0 / (1.0 + evidence[meant])[:, None]
        more[each, meant] = 0.0
        lead = best - np.where(known, alone, heard)
        margin = np.where(more > _LESS_KNOWN, lead / np.maximum(more, _LESS_KNOWN), np.inf).min(axis=1)
        margins.append(margin[won & np.isfinite(margin)])
    margin, lack = np.concatenate(margins), np.concatenate(lacks)
    lack = lack[np.isfinite(lack)]
    if len(margin) < FEWEST or not len(lack):
        return None
    harmless = float(np.quantile(margin, steal_rate, method="lower"))
    return max(min(harmless, float(np.quantile(lack, _HELPED))), 0.0)


def proven_answers(
    logits: FloatArray,
    judged: IntArray,
    verdict: FloatArray,
    corrected: npt.NDArray[np.bool_],
    evidence: FloatArray,
) -> IntArray:
    """(n,) row that feedback shows to be right, or NONE; input of `allowance`.

    A thumb up or a correction shows the row judged. A thumb down on a little-known candidate shows the best of
    the others when that is well known and likely: the answer that the allowance took. Without those only answers
    that were never taken would be counted, and the allowance would grow with every cycle.
    `logits` (n, m) are of a state that has not learned from these events, `judged` (n,) the rows they are about,
    `verdict` (n,) in [0, 1], `corrected` (n,) whether the right row was told, `evidence` (m,) positive feedback per
    candidate.
    """
    known = evidence >= WELL_KNOWN
    right = verdict >= 0.5
    asked = np.flatnonzero(~right & ~corrected & ~known[judged])
    answers = np.where(right, judged, np.int32(NONE)).astype(np.int32)
    for rows in _blocks(asked, logits.shape[1]):
        others = logits[rows]
        others[np.arange(len(rows)), judged[rows]] = -np.inf
        best = others.argmax(axis=1).astype(np.int32)
        top = others.max(axis=1, keepdims=True)
        rivals = np.isfinite(top)  # false where nothing else could be shown
        likely = np.exp(others - np.where(rivals, top, 0.0)).sum(axis=1) <= 1.0 / _LIKELY
        taken = known[best] & likely & rivals[:, 0]
        answers[rows] = np.where(taken, best, np.int32(NONE))
    return answers


def _blocks(rows: npt.NDArray[np.intp], width: int) -> Iterator[npt.NDArray[np.intp]]:
    """Give `rows` in parts whose cells, `width` a row, stay in the processor's cache."""
    size = max(1, _CELLS_AT_ONCE // max(width, 1))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


_CELLS_AT_ONCE = 500_000
