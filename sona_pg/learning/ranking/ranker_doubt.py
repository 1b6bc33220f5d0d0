"""Wrong feedback: which events to leave out of a fit, as those that it explains worst.

A softmax that knows a share of its labels to be wrong still bends towards every single one. So where much is wrong,
the first half of a fit's steps, on all events, orders them, and the second half leaves out those of least likelihood,
as many as are expected to be wrong (maximum trimmed likelihood, Hadi and Luceño 1997; the small-loss criterion of
co-teaching, Han et al. 2018). Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents

Mask = npt.NDArray[np.bool_]

NOISY = 0.05  # share of wrong feedback from which on events are left out
_PRAISED = 10.0  # thumbs up, or corrections, for a candidate from which on feedback on it is doubted
# Of the thumbs up: a fit that explains most of them badly does not know which are wrong.
_MOST_UP = 0.5
_DOWN = 0.8  # of the thumbs down that are expected to be wrong: some right ones look like them


def doubtful(events: RankEvents, right: FloatArray, noise: float, sure: Mask) -> Mask:
    """Return (n,) which events are probably wrong.

    Args:
        events: all of a fit.
        right: (n,) probability, in a fit to them, that the judged candidate is right.
        noise: share of feedback that is wrong, below a half.
        sure: (n,) events that are not doubted.
    """
    said, told = events.verdict >= 0.5, events.correct != NONE
    weight, judged = events.weight.astype(np.float64), events.judged
    known = np.bincount(judged, weight * said)[judged] >= _PRAISED
    up, down, told = known & said & ~told, known & ~said & ~told, known & told
    heard, against = float(weight[up | down].sum()), float(weight[down].sum())
    errors = max((against - noise * heard) / (1.0 - 2.0 * noise), 0.0)  # wrong answers that were judged
    left_out = np.zeros(len(events), np.bool_)
    for of, order, most in (
        (up, right, min(noise * errors, _MOST_UP * float(weight[up].sum()))),
        (down, -right, _DOWN * noise * (heard - errors)),
        (told, right, noise * float(weight[told].sum())),
    ):
        rows = np.flatnonzero(of)
        rows = rows[np.argsort(order[rows], kind="stable")]
        left_out[rows[np.cumsum(weight[rows]) <= most]] = True
    return left_out & ~sure
