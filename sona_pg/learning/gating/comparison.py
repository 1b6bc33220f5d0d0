"""Differences in quality between the version that served a decision and another one, decision by decision.

A difference is an estimate of *quality of the other version's answer - quality of the served one*. Where both versions
answer the same it is 0: the outcome tells nothing about which is better. Otherwise it is off-policy:

- Route: doubly robust (Dudik, Langford and Li 2011) between the two greedy routes, by the logged propensity.
- Ranking: exact if a correction names the right answer. Else one answer is right at most: if the shown one was, the
  other's was wrong; if it was not, the other's may be right.

Only the incumbent's expectations are believed, those of a version in question never, and an answer that nobody has seen
counts ``TRUST`` of what the incumbent expects of it: answers are missed by both versions more often than by chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Rows = NDArray[np.intp]

TRUST = 0.5
MOST_WEIGHT = 5.0  # of a decision: a rarer route counts as if it had been explored at 1 in 5
ROUTE_BOUND = MOST_WEIGHT  # of a difference between routes
RANKING_BOUND = 1.0
NOBODY = -1  # row of no candidate


def of_routes(
    taken: Rows, served: Rows, other: Rows, propensity: Doubles, quality: Doubles, expected: Doubles
) -> Doubles:
    """Return the differences (n,) between the greedy routes of two versions.

    Args:
        taken: (n,) the logged route.
        served: (n,) the best route by the version that served.
        other: (n,) the best route by the other version.
        propensity: (n,) with which ``taken`` was drawn.
        quality: (n,) its outcome.
        expected: (n, k) quality of every route, as the incumbent expects it.
    """
    rows = np.arange(len(taken))
    weight = np.minimum(1.0 / propensity, MOST_WEIGHT)
    of_other = TRUST * expected[rows, other]
    of_served = expected[rows, served]
    found = of_other - of_served
    found += np.where(taken == other, weight * (quality - of_other), 0.0)
    found -= np.where(taken == served, weight * (quality - of_served), 0.0)
    return np.where(served == other, 0.0, found)


def of_rankings(shown: Rows, other: Rows, quality: Doubles, correct: Rows, belief: tuple[Doubles, Doubles]) -> Doubles:
    """Return the differences (n,) between the answers shown and the other version's first ones.

    Args:
        shown: (n,) the answer shown, the first one of the version that served.
        other: (n,) the first answer of the other version.
        quality: (n,) outcome of the shown one.
        correct: (n,) the right answer if a correction named it, else NOBODY.
        belief: (n,) each: the incumbent's probabilities that the shown and that the other answer is right.
    """
    of_shown, of_other = belief
    if_shown_is_wrong = np.minimum(of_other / np.maximum(1.0 - of_shown, 1e-6), 1.0)
    guessed = (1.0 - quality) * TRUST * if_shown_is_wrong - quality
    named = (correct == other).astype(np.float64) - (correct == shown)
    return np.where(shown == other, 0.0, np.where(correct == NOBODY, guessed, named))
