"""Intervals of an evaluation hold the truth in worlds where it is known, whatever the log never tried."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.learning.routing.off_policy import doubly_robust
from sona_pg.worker.uncovered import uncovered_share, widened

FIRST, N = 1500, 3000  # events that fit the models, and those that policies are evaluated on


def world(seed: int, tried: float, drifts: bool) -> tuple[bool, bool, bool, float]:
    """Evaluate a cheap route, ``tried`` so often on hard questions: refused, whether each interval holds the truth."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((FIRST + N, 6))
    cheap = 1 / (1 + np.exp(-(0.6 + 1.2 * x[:, 0])))
    chance = np.stack([cheap, np.clip(cheap + 0.25 * (1 - cheap) + 0.1, 0, 0.97)], axis=1)
    if drifts:  # half of the questions are answered worse from the middle of the period on
        chance -= 0.25 * ((np.arange(FIRST + N) >= FIRST + N // 2) & (x[:, 1] > 0))[:, None]
    chance = np.clip(chance, 0.02, 0.98)
    share = np.where(x[:, 0] > -0.3, 0.85, tried)
    route = (rng.random(FIRST + N) >= share).astype(int)
    quality = (rng.random(FIRST + N) < chance[np.arange(FIRST + N), route]).astype(float)
    told = np.c_[np.ones(FIRST + N), x]
    model = np.zeros((FIRST + N, 2))
    for place in range(2):
        seen = np.flatnonzero(route[:FIRST] == place)
        fitted = np.linalg.solve(told[seen].T @ told[seen] + np.eye(7), told[seen].T @ quality[seen])
        model[:, place] = np.clip(told @ fitted, 0, 1)
    late, rows = slice(FIRST, None), np.arange(N)
    propensity, target = np.where(route == 0, share, 1 - share)[late], (route[late] == 0).astype(float)
    found = doubly_robust(quality[late], propensity, target, model[late][rows, route[late]], model[late][:, 0])
    weights, truth = target / propensity, float(chance[late, 0].mean())
    uncovered = uncovered_share(weights)
    low, high = widened(found.low, found.high, uncovered, float(model[late][weights == 0, 0].mean()))
    return found.refused != "", found.low <= truth <= found.high, low <= truth <= high, uncovered


@pytest.mark.parametrize("drifts", [False, True])
def test_intervals_hold_the_truth_where_the_log_never_tried(drifts: bool) -> None:
    told = [world(seed, 0.0005, drifts) for seed in range(50)]
    given = [one for one in told if not one[0]]
    assert len(given) >= 20
    assert np.mean([before for _, before, _, _ in given]) < 0.2  # the standard error does not know of it
    assert np.mean([after for _, _, after, _ in given]) >= 0.95
    assert all(0.3 < uncovered < 0.45 for *_, uncovered in given)


@pytest.mark.parametrize("drifts", [False, True])
def test_a_log_that_covers_a_policy_widens_nothing(drifts: bool) -> None:
    told = [world(seed, 0.15, drifts) for seed in range(50)]
    assert np.mean([after for _, _, after, _ in told]) >= 0.9
    assert np.mean([uncovered for *_, uncovered in told]) < 0.002
