"""Evaluated policies, and models never fitted on their evaluation data, against known truth."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.errors import InvalidValue
from sona_pg.learning.routing.off_policy import doubly_robust, ips
from sona_pg.learning.routing.policies import DecisionLog, always, budgeted, cross_fitted, first_judged, greedy
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig

DIM = 8
SMALL = RouterConfig(landmarks=64, width=32)


class World:
    """Two routes; the second is better where the first coordinate is positive. Logged by a policy that is known."""

    def __init__(self, seed: int, n: int = 2000) -> None:
        rng = np.random.default_rng(seed)
        query = rng.standard_normal((n, DIM)).astype(np.float32)
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        right = query[:, 0] > 0
        self.chance = np.stack([np.full(n, 0.5), np.where(right, 0.9, 0.2)], axis=1)
        propensity = np.where(right, 0.3, 0.6)  # of the second
        route = (rng.random(n) < propensity).astype(np.int32)
        at = np.arange(n), route
        self.log = DecisionLog(
            RouteEvents(
                query, route, (rng.random(n) < self.chance[at]).astype(np.float32),
                propensity=np.where(route == 1, propensity, 1 - propensity).astype(np.float32),
            ),
            np.ones((n, 2), bool),
            np.array([0.0, 1.0]),
        )  # fmt: skip


def test_a_fold_is_judged_by_what_came_before_it_alone() -> None:
    log = World(0).log
    expected = cross_fitted(log, 400, SMALL, seed=0)
    assert np.isnan(expected[:400]).all()
    assert np.isfinite(expected[400:]).all()
    after = np.flatnonzero(np.arange(len(log)) >= 720)  # the second fold's beginning
    quality = log.events.quality.copy()
    quality[after] = 1 - quality[after]
    changed = DecisionLog(
        RouteEvents(log.events.query, log.events.route, quality, propensity=log.events.propensity),
        log.offered, log.costs,
    )  # fmt: skip
    again = cross_fitted(changed, 400, SMALL, seed=0)
    np.testing.assert_array_equal(again[400:1040], expected[400:1040])  # neither the first nor the second fold
    assert not np.allclose(again[1040:], expected[1040:])


def test_the_doubly_robust_estimate_with_such_a_model_covers_the_truth_and_is_steadier_than_ips() -> None:
    inside, errors = [], []
    for seed in range(25):
        world = World(seed)
        log, start = world.log, first_judged(world.log, 0)
        expected = cross_fitted(log, start, SMALL, seed)
        rows = np.arange(start, len(log))
        at = rows, log.events.route[rows]
        for policy in (always(log, 0), always(log, 1), greedy(log, np.nan_to_num(expected))):
            truth = float((policy * world.chance)[rows].sum(axis=1).mean())
            logged = log.events.quality[rows], log.events.propensity[rows], policy[at]
            found = doubly_robust(*logged, expected[at], (policy * np.nan_to_num(expected))[rows].sum(axis=1))
            inside.append(found.low <= truth <= found.high)
            errors.append((found.value - truth, ips(*logged).value - truth))
    assert np.mean(inside) >= 0.85
    bias, spread = np.mean(errors, axis=0), np.std(errors, axis=0)
    assert abs(bias[0]) < 3 * spread[0] / len(errors) ** 0.5 + 1e-3
    assert spread[0] < spread[1]


def test_the_router_learned_from_the_log_beats_the_logged_policy_in_estimate_and_truth() -> None:
    world = World(3, n=4000)
    expected = cross_fitted(world.log, 800, SMALL, seed=0)
    policy = greedy(world.log, np.nan_to_num(expected))[800:]
    truth = float((policy * world.chance[800:]).sum(axis=1).mean())
    assert truth > max(world.chance[800:].mean(axis=0)) + 0.05


@pytest.mark.parametrize("budget", [0.0, 0.25, 0.5, 0.9])
def test_a_budget_is_spent_and_never_exceeded(budget: float) -> None:
    world = World(4)
    expected = cross_fitted(world.log, 400, SMALL, seed=0)
    part = DecisionLog(world.log.events[slice(400, None)], world.log.offered[400:], world.log.costs)
    policy = budgeted(part, expected[400:], budget)
    np.testing.assert_allclose(policy.sum(axis=1), 1)
    cost = float((policy @ part.costs).mean())
    free = float((greedy(part, expected[400:]) @ part.costs).mean())
    assert cost == pytest.approx(min(budget, free), abs=1e-9)


def test_a_budget_below_the_cheapest_route_or_without_costs_is_refused() -> None:
    log = World(5, 100).log
    expected = np.full((100, 2), 0.5) + np.array([0.0, 0.1])
    dear = DecisionLog(log.events, log.offered, np.array([1.0, 2.0]))
    with pytest.raises(InvalidValue, match="below 1"):
        budgeted(dear, expected, 0.5)
    assert float((budgeted(dear, expected, 1.0) @ dear.costs).mean()) == 1.0
    with pytest.raises(InvalidValue, match="costs"):
        budgeted(DecisionLog(log.events, log.offered, np.array([0.0, np.nan])), expected, 0.5)


def test_equal_predictions_are_mixed_so_that_the_budget_is_spent() -> None:
    log = World(6, 100).log
    policy = budgeted(log, np.full((100, 2), 0.5) + np.array([0.0, 0.1]), 0.3)
    np.testing.assert_allclose(policy, np.tile([0.7, 0.3], (100, 1)))


def test_only_offered_candidates_are_taken() -> None:
    log = World(7, 50).log
    offered = np.ones((50, 2), bool)
    offered[:20, 1] = False
    narrow = DecisionLog(log.events, offered, log.costs)
    expected = np.tile([0.1, 0.9], (50, 1))
    assert greedy(narrow, expected)[:20, 0].all()
    assert greedy(narrow, expected)[20:, 1].all()
    assert always(narrow, 1)[:20].sum() == 0
    assert budgeted(narrow, expected, 1.0)[:20, 0].all()


def test_evaluation_begins_after_enough_decisions() -> None:
    log = World(8, 1000).log
    assert first_judged(log, 0) == 200
    assert first_judged(log, 10) == 200
    assert first_judged(log, 500) == 500
    assert first_judged(World(8, 20).log, 0) == 4
    assert first_judged(World(8, 80).log, 50) == 50  # never decisions older than asked for
