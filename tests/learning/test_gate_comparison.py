"""Differences of two versions, decision by decision: unbiased where routes are explored, never too good otherwise."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.gating.comparison import NOBODY, RANKING_BOUND, ROUTE_BOUND, TRUST, of_rankings, of_routes


def test_the_difference_of_explored_routes_is_unbiased_whatever_the_incumbent_expects() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    truth, chance = np.array([0.4, 0.8]), np.array([0.75, 0.25])
    taken = (rng.random(n) < chance[1]).astype(np.intp)
    quality = (rng.random(n) < truth[taken]).astype(float)
    for expects in ([0.5, 0.5], [0.9, 0.1]):
        found = of_routes(
            taken, np.zeros(n, np.intp), np.ones(n, np.intp), chance[taken], quality, np.tile(expects, (n, 1))
        )
        assert abs(found.mean() - 0.4) < 0.01
        assert np.abs(found).max() <= ROUTE_BOUND


def test_a_route_that_is_never_explored_counts_half_of_what_the_incumbent_expects() -> None:
    n = 1000
    none = np.zeros(n, np.intp)
    quality = np.full(n, 0.3)
    found = of_routes(none, none, none + 1, np.ones(n), quality, np.tile([0.9, 0.8], (n, 1)))
    np.testing.assert_allclose(found, TRUST * 0.8 - 0.3)


def test_the_same_answer_makes_no_difference() -> None:
    none, one = np.zeros(3, np.intp), np.ones(3)
    assert not of_routes(none, none, none, one / 2, one, np.ones((3, 2))).any()
    assert not of_rankings(none, none, one, none + NOBODY, (one, one)).any()


def test_a_correction_tells_the_difference_exactly() -> None:
    shown, other, correct = np.array([0, 0, 0]), np.array([1, 1, 1]), np.array([0, 1, 2])
    guess = np.full(3, 0.5)
    found = of_rankings(shown, other, (correct == shown).astype(float), correct, (guess, guess))
    assert found.tolist() == [-1.0, 1.0, 0.0]


def test_equally_good_rankers_with_errors_in_common_are_not_told_apart_in_favour_of_the_incumbent() -> None:
    rng = np.random.default_rng(1)
    n = 100_000
    for common in (0.0, 0.3, 0.6):  # share of the errors that both make
        hard = rng.random(n) < 0.2
        ours, theirs = (np.where(rng.random(n) < common, hard, rng.random(n) < 0.2) for _ in range(2))
        shown, other = np.where(ours, 1, 0), np.where(theirs, 2, 0)  # 0 is right
        belief = (np.full(n, 0.1), np.full(n, 0.8))
        found = of_rankings(shown, other, (shown == 0).astype(float), np.full(n, NOBODY), belief)
        assert found.mean() < 0.0
        assert np.abs(found).max() <= RANKING_BOUND


def test_a_ranker_that_is_always_wrong_is_told_from_ratings_alone() -> None:
    n = 100
    found = of_rankings(
        np.ones(n, np.intp), np.zeros(n, np.intp), np.zeros(n), np.full(n, NOBODY), (np.full(n, 0.1), np.full(n, 0.8))
    )
    assert found.min() > 0.4
