"""What a route really costs comes with the outcome, is stored, and paces the budget and the router's expectations."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.errors import InvalidValue

DIM = 8
ROUTES = ["small", "large"]
COSTS = {"small": 0.1, "large": 1.0}


@pytest.fixture
def engine(database_url: str) -> SonaEngine:
    return SonaEngine(DIM, database_url, "costs", config=SonaConfig(loops=LoopConfig(automatic=False, seed=1)))


def asked(engine: SonaEngine, rng: np.random.Generator, real: float | None, **how: object) -> tuple[object, str]:
    """Route one query under a budget, end it at ``real`` times its estimate, and return its id and route."""
    x = rng.standard_normal(DIM).astype(np.float32)
    decision = engine.route(x, ROUTES, costs=COSTS, **how)  # type: ignore[arg-type]
    trajectory = engine.begin_trajectory(x, decision=decision)
    quality = float(rng.random() < (0.9 if decision.route == "large" else 0.4))
    engine.end_trajectory(trajectory, quality, cost=None if real is None else real * COSTS[decision.route])
    return trajectory.id, decision.route


def test_the_real_cost_is_stored_beside_the_estimate_and_the_last_one_told_counts(
    database_url: str, engine: SonaEngine
) -> None:
    rng = np.random.default_rng(0)
    with engine:
        first, route = asked(engine, rng, 3.0)
        second, other = asked(engine, rng, None)
        engine.feedback(second, cost=0.25)  # type: ignore[arg-type]
        engine.feedback(second, 0.5, cost=0.75)  # type: ignore[arg-type]
        engine.flush()
    with psycopg.connect(database_url) as connection:
        costs = dict(connection.execute("SELECT id, cost FROM sona.trajectories").fetchall())
        outcomes = connection.execute("SELECT trajectory_id, paid, quality, feedback FROM sona.outcomes").fetchall()
    assert costs == {first: pytest.approx(COSTS[route]), second: pytest.approx(COSTS[other])}
    told = {row[0]: row[1:] for row in outcomes}
    assert told[first][0] == pytest.approx(3 * COSTS[route])
    assert told[second] == (pytest.approx(0.75), pytest.approx(0.5), 1)  # a cost alone says nothing of the quality


@pytest.mark.parametrize("cost", [-0.1, float("nan"), float("inf"), "much"])
def test_a_cost_without_meaning_is_refused_by_name(engine: SonaEngine, cost: float) -> None:
    with engine:
        trajectory = engine.begin_trajectory(np.ones(DIM, np.float32))
        with pytest.raises(InvalidValue, match="cost"):
            engine.end_trajectory(trajectory, 0.5, cost=cost)
        engine.end_trajectory(trajectory, 0.5)
        with pytest.raises(InvalidValue, match="cost"):
            engine.feedback(trajectory.id, cost=cost)
        with pytest.raises(InvalidValue, match="retract"):
            engine.feedback(trajectory.id, retract=True, cost=1.0)


def test_a_budget_is_kept_in_real_costs_where_the_estimates_are_wrong(engine: SonaEngine) -> None:
    rng = np.random.default_rng(1)
    with engine:
        for turn in range(600):
            asked(engine, rng, 2.0, budget=0.6)
            if turn % 150 == 149:
                engine.force_learn()
        spent = sum(2.0 * COSTS[asked(engine, rng, 2.0, budget=0.6)[1]] for _ in range(400)) / 400
    assert 0.5 < spent < 0.62


def test_costs_that_are_told_are_learned_and_a_rebuild_learns_them_again(engine: SonaEngine) -> None:
    rng = np.random.default_rng(2)
    with engine:
        ids = [asked(engine, rng, 3.0)[0] for _ in range(120)]
        engine.force_learn()
        for id_ in ids[:30]:
            engine.feedback(id_, cost=4.0)  # type: ignore[arg-type]
        for id_ in ids[30:40]:
            engine.feedback(id_, 0.5, source="judge")  # type: ignore[arg-type]
        engine.force_learn()
        assert engine.rebuild().equal
        # Without estimates the learned costs are what is paced: a budget of .35 buys the small route alone.
        routes = [engine.route(rng.standard_normal(DIM), ROUTES, budget=0.35).route for _ in range(200)]
        assert routes.count("large") < 20


def test_a_budget_needs_estimates_until_a_real_cost_was_learned(engine: SonaEngine) -> None:
    with engine, pytest.raises(InvalidValue, match="costs of all candidates"):
        engine.route(np.ones(DIM), ROUTES, budget=1.0)
