"""Estimates of budgets are of what can be chosen from now on: routes that are still offered, by the question or not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sona_pg import InvalidValue, LearningError, SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.answer import Decision
from sona_pg.domain.policy_estimate import PolicyEvaluation

DIM = 8
COSTS = {"mini": 0.1, "large": 0.5, "former": 2.0}
QUALITY = {"mini": 0.4, "large": 0.8, "former": 0.95}  # whatever is asked
LATE = {"mini": 0.1, "large": 0.9}


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as opened:
        yield opened


def choose(
    engine: SonaEngine,
    count: int,
    shares: dict[str, float],
    days: float = 1,
    seed: int = 0,
    *,
    tells_costs: bool = True,
) -> None:
    """Record rated choices ``days`` ago, drawn by constant shares."""
    rng = np.random.default_rng(seed)
    first = datetime.now(UTC) - timedelta(days=days)
    for turn in range(count):
        x = rng.standard_normal(DIM).astype(np.float32)
        route = str(rng.choice(list(shares), p=list(shares.values())))
        costs = {one: COSTS[one] for one in shares} if tells_costs else None
        able = engine.route(x, list(shares), costs=costs).candidate_set
        decision = Decision(route, shares[route], {}, 0, "test", able, COSTS[route] if tells_costs else None)
        handle = engine.begin_trajectory(x, decision=decision, started_at=first + timedelta(seconds=turn))
        engine.end_trajectory(handle, float(rng.random() < QUALITY[route]))
    engine.flush()


def policies(judged: PolicyEvaluation) -> dict[str, dict[str, float]]:
    return {one.policy: judged.route_shares(one) for one in judged}


def test_a_route_that_is_no_longer_offered_is_not_for_sale(engine: SonaEngine) -> None:
    choose(engine, 300, {"mini": 0.3, "large": 0.3, "former": 0.4}, days=3)
    choose(engine, 400, {"mini": 0.5, "large": 0.5}, seed=1)
    engine.force_learn()
    judged = engine.evaluate_policies(budget_shares=[0.5, 1, 4])
    assert judged.not_offered == ("former",)
    told = policies(judged)
    assert told.pop("logged")["former"] > 0.05  # as it was
    assert "always former" not in told
    assert all("former" not in shares for shares in told.values())
    assert judged.of("router, learning as it goes").cost <= COSTS["large"]


def test_a_former_route_of_unknown_cost_keeps_no_budget_from_an_estimate(engine: SonaEngine) -> None:
    choose(engine, 300, {"mini": 0.5, "former": 0.5}, days=3, tells_costs=False)
    choose(engine, 400, {"mini": 0.5, "large": 0.5}, seed=1)
    engine.force_learn()
    judged = engine.evaluate_policies(budget_shares=[0.5, 1], budgets=[0.3])
    assert judged.not_offered == ("former",)
    spent = judged.of("logged").cost  # by the decisions whose cost is known
    assert COSTS["mini"] < spent < COSTS["large"]
    assert judged.of("router, budget 0.3").cost == pytest.approx(0.3, abs=1e-6)
    assert judged.of(f"router, budget {spent:g}").cost <= spent + 1e-6
    assert engine.evaluate_policies(budgets=[0.3], costs={"mini": 0.1, "large": 0.5})


def test_only_offered_routes_are_asked_for_their_cost(engine: SonaEngine) -> None:
    choose(engine, 300, {"mini": 0.5, "former": 0.5}, days=3, tells_costs=False)
    choose(engine, 400, {"mini": 0.5, "large": 0.5}, seed=1, tells_costs=False)
    engine.force_learn()
    with pytest.raises(LearningError, match=r"has told what '(large|mini)', '(large|mini)' costs"):
        engine.evaluate_policies(budget_shares=[0.5])


def test_choices_among_former_routes_alone_estimate_nothing(engine: SonaEngine) -> None:
    choose(engine, 300, {"former": 1.0}, days=3)
    for _ in range(300):
        handle = engine.begin_trajectory(np.ones(DIM, np.float32))
        engine.set_trajectory_route(handle, "mini")
        engine.end_trajectory(handle, 1.0)
    engine.force_learn()
    with pytest.raises(LearningError, match="no judged decision of space 'default' had a route that is still offered"):
        engine.evaluate_policies()


def test_a_constant_mix_has_an_estimate_where_one_of_its_routes_alone_has_none(engine: SonaEngine) -> None:
    choose(engine, 900, {"mini": 0.04, "large": 0.96})
    judged = engine.evaluate_policies(budgets=[0.45])
    assert np.isnan(judged.of("always mini").quality)
    mix = judged.of("constant mix, budget 0.45")
    assert judged.route_shares(mix) == pytest.approx({"large": 0.875, "mini": 0.125})
    assert mix.cost == pytest.approx(0.45)
    assert mix.low < 0.875 * QUALITY["large"] + 0.125 * QUALITY["mini"] < mix.high
    assert np.ptp(mix.probabilities, axis=0) == pytest.approx([0, 0])  # whatever is asked


def test_the_period_may_begin_with_a_day(engine: SonaEngine) -> None:
    choose(engine, 300, LATE, days=10)
    choose(engine, 200, LATE, days=2, seed=1)
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
    judged = engine.evaluate_policies(since=begin)
    assert (judged.learned_from, len(judged.trajectories)) == (300, 200)
    assert judged.since >= begin
    with pytest.raises(InvalidValue, match="expected a time with a time zone"):
        engine.evaluate_policies(since=begin.replace(tzinfo=None))
