"""Bounds of one fact's effect: praise for an answer never lowers its confidence, blame never raises it.

The steps of recent ranking are drawn at random and few, so the scores of a query that has just been judged may
move against the judgement, by noise or towards other facts. The difference is taken back for that query.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_confidence import log_totals
from sona_pg.learning.ranking.ranker_events import FloatArray


def taken_back(before: FloatArray, after: FloatArray, target: int, verdict: float, sharpness: float) -> FloatArray:
    """Return what to add to the scores `after` a fact, (m,), so that they agree with it.

    After praise (`verdict` 1) the target's score, its lead over each other candidate and the sum over all candidates
    are no lower than `before`; after blame (0) score and leads are no higher. What is between bounds nothing.

    Args:
        before: (m,) scores of the fact's query before it.
        after: (m,) scores after it.
        target: the candidate that was judged.
        verdict: its quality.
        sharpness: logits of one unit of score.
    """
    change = np.zeros_like(after)
    if verdict not in (0.0, 1.0):
        return change
    sign = np.float32(1.0 if verdict else -1.0)
    moved = sign * (after - before)
    change[target] = max(-moved[target], np.float32(0.0))
    change -= np.maximum(moved - moved[target] - change[target], 0.0)
    change *= sign
    if verdict:
        change[target] += _missing(sharpness * before, sharpness * (after + change), target) / sharpness
    return change


def lacking(scores: FloatArray, target: npt.NDArray[np.int64], reach: FloatArray, margin: float) -> FloatArray:
    """Return how far facts move their targets along their slopes, (n,), so that each is first for its query.

    One after the other, as each also moves the queries of those after it (passive-aggressive, Crammer et al. 2006).

    Args:
        scores: (n, m) of the facts' queries; changed in place.
        target: (n,) the candidates that come first.
        reach: (n, n) by how much a move along the slope of one fact, by row, raises the query of another.
        margin: by which each leads.
    """
    moves = np.zeros(len(target), np.float32)
    for row, first in enumerate(target):
        rivals = np.delete(scores[row], first)
        lack = rivals.max(initial=-np.inf) + margin - scores[row, first]
        if lack > 0.0:
            moves[row] = lack / reach[row, row]
            scores[:, first] += moves[row] * reach[row]
    return moves


def _missing(before: FloatArray, after: FloatArray, target: int) -> float:
    """Return the logits by which the target must rise, for the sum over all candidates to be what it was."""
    least, rest = float(log_totals(before[None, :])[0]), np.delete(after, target)
    if float(log_totals(after[None, :])[0]) >= least or not len(rest):
        return 0.0
    others = min(float(log_totals(rest[None, :])[0]) - least, -1e-6)
    return max(least + float(np.log1p(-np.exp(others))) - float(after[target]), 0.0)
