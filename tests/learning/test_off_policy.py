"""Off-policy estimates against a simulation with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sona_pg.errors import LearningError
from sona_pg.learning.routing.off_policy import Estimate, doubly_robust, ips, snips

N, K = 4000, 3


class World:
    """Logged decisions of a known policy over K routes, with the true value of another."""

    def __init__(self, seed: int, n: int = N) -> None:
        rng = np.random.default_rng(seed)
        self.chance = rng.random((n, K))  # P(quality = 1) per route
        log = rng.dirichlet(np.ones(K) * 3, n) * 0.85 + 0.05
        self.policy = np.where(self.chance == self.chance.max(1, keepdims=True), 0.8, 0.1)
        route = np.array([rng.choice(K, p=p / p.sum()) for p in log])
        at = np.arange(n)
        self.reward = (rng.random(n) < self.chance[at, route]).astype(float)
        self.propensity, self.target = log[at, route] / log.sum(1), self.policy[at, route]
        self.truth = float((self.policy * self.chance).sum(1).mean())
        self.model = np.clip(self.chance + 0.1 * rng.standard_normal((n, K)), 0, 1)
        self.predicted, self.predicted_target = self.model[at, route], (self.policy * self.model).sum(1)

    def estimates(self) -> list[Estimate]:
        log = (self.reward, self.propensity, self.target)
        return [ips(*log), snips(*log), doubly_robust(*log, self.predicted, self.predicted_target)]


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [World(seed) for seed in range(40)]


@pytest.mark.parametrize("method", [0, 1, 2], ids=["ips", "snips", "dr"])
def test_an_estimate_is_right_on_average_and_its_interval_covers(worlds: list[World], method: int) -> None:
    found = [(w.estimates()[method], w.truth) for w in worlds]
    errors = np.array([e.value - truth for e, truth in found])
    assert abs(errors.mean()) < 3 * errors.std() / math.sqrt(len(errors)) + 1e-3
    assert np.mean([e.low <= truth <= e.high for e, truth in found]) >= 0.85
    assert np.std(errors) == pytest.approx(np.mean([e.standard_error for e, _ in found]), rel=0.4)


def test_snips_and_dr_are_steadier_than_ips(worlds: list[World]) -> None:
    spread = np.std([[e.value - w.truth for e in w.estimates()] for w in worlds], axis=0)
    assert spread[1] < spread[0]
    assert spread[2] < spread[0]


def test_dr_survives_a_wrong_model_and_wrong_propensities_but_not_both() -> None:
    w = World(1, n=20_000)
    silly = np.full(len(w.reward), 0.9)
    wrong_model = doubly_robust(w.reward, w.propensity, w.target, silly, silly)
    assert wrong_model.value == pytest.approx(w.truth, abs=3 * wrong_model.standard_error)
    exact = (w.chance * w.policy).sum(1)
    at_route = w.predicted - w.predicted + _chance_of_logged(w)
    wrong_log = doubly_robust(w.reward, np.full(len(w.reward), 1 / K), w.target, at_route, exact)
    assert wrong_log.value == pytest.approx(w.truth, abs=3 * wrong_log.standard_error)


def _chance_of_logged(w: World) -> np.ndarray:
    at = np.argmin(np.abs(w.model - w.predicted[:, None]), axis=1)
    return w.chance[np.arange(len(at)), at]


def test_evaluating_the_logging_policy_gives_its_mean() -> None:
    w = World(2)
    for estimate in (ips(w.reward, w.propensity, w.propensity), snips(w.reward, w.propensity, w.propensity)):
        assert estimate.value == pytest.approx(w.reward.mean())
        assert estimate.effective_size == pytest.approx(N)


def test_no_figure_is_given_below_the_floor() -> None:
    reward, target = np.ones(1000), np.full(1000, 1.0)
    propensity = np.full(1000, 0.9)
    propensity[0] = 1e-5  # one weight outweighs all others
    estimate = ips(reward, propensity, target)
    assert math.isnan(estimate.value)
    assert "below the floor" in estimate.refused
    assert estimate.effective_size < 2
    assert estimate.largest_weight == pytest.approx(1e5)
    assert ips(reward, propensity, target, floor=0).refused == ""


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_or_one_event_is_refused_even_without_a_floor(n: int) -> None:
    one = np.ones(n)
    for estimate in (
        ips(one, one, one, floor=0),
        snips(one, one, one, floor=0),
        doubly_robust(one, one, one, one, one, floor=0),
    ):
        assert math.isnan(estimate.value)
        assert estimate.refused


def test_a_policy_that_never_agrees_with_the_log_is_refused() -> None:
    assert snips(np.ones(500), np.ones(500), np.zeros(500)).refused


def test_events_without_propensity_or_reward_are_left_out_and_counted() -> None:
    w = World(3)
    p, r = w.propensity.copy(), w.reward.copy()
    p[:10], p[10], r[11] = np.nan, 0.0, np.nan
    estimate = doubly_robust(r, p, w.target, w.predicted, w.predicted_target)
    assert (estimate.events, estimate.left_out) == (N - 12, 12)
    keep = slice(12, None)
    expected = doubly_robust(*(a[keep] for a in (w.reward, w.propensity, w.target, w.predicted, w.predicted_target)))
    assert estimate.value == pytest.approx(expected.value)


def test_input_without_meaning_is_refused() -> None:
    one = np.ones(100)
    with pytest.raises(LearningError):
        ips(one, one, np.ones(99))
    with pytest.raises(LearningError):
        ips(one, one, 2 * one)
    with pytest.raises(LearningError):
        doubly_robust(one, one, one, one, np.full(100, np.nan))
