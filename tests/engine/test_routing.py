"""Routing through the store: features and costs are stored with the decision, late feedback counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import DimensionMismatch, SonaEngine

DIM = 16


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url) as opened:
        yield opened


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_a_decision_is_stored_with_its_features_and_cost(database_url: str, engine: SonaEngine) -> None:
    costs = {"weak": 0.25, "strong": 1.0}
    decision = engine.route(unit(1), ["weak", "strong"], features=[3.0, 0.5], costs=costs)
    engine.end_trajectory(engine.begin_trajectory(unit(1), decision=decision), 1.0)
    engine.end_trajectory(engine.begin_trajectory(unit(1)), 1.0)
    engine.flush()
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT route, cost, features FROM sona.trajectories ORDER BY id").fetchall()
    assert stored == [(decision.route, costs[decision.route], [3.0, 0.5]), (None, None, None)]


def test_features_decide_where_the_embedding_cannot(engine: SonaEngine) -> None:
    rng = np.random.default_rng(0)
    for turn in range(400):
        hard = float(rng.integers(2))
        decision = engine.route(unit(turn), ["weak", "strong"], features=[hard, 1.0])
        t = engine.begin_trajectory(unit(turn), decision=decision)
        engine.end_trajectory(t, quality=float(decision.route == ("strong" if hard else "weak")))
        if turn % 100 == 99:
            engine.force_learn()
    for hard, better, worse in ((1.0, "strong", "weak"), (0.0, "weak", "strong")):
        scores = [
            engine.route(unit(10_000 + turn), ["weak", "strong"], features=[hard, 1.0]).scores for turn in range(50)
        ]
        assert sum(score[better] > score[worse] for score in scores) >= 45
    with pytest.raises(DimensionMismatch, match=r"features has 3.*expected 2"):
        engine.route(unit(1), ["weak"], features=[1.0, 2.0, 3.0])


def test_events_with_other_features_do_not_stop_a_cycle(engine: SonaEngine) -> None:
    for turn in range(120):
        decision = engine.route(unit(turn), ["a", "b"], features=[1.0] * (1 + turn % 2))
        engine.end_trajectory(engine.begin_trajectory(unit(turn), decision=decision), 0.5)
    assert engine.force_learn().learned
    for turn in range(120):
        engine.end_trajectory(engine.begin_trajectory(unit(turn)), 0.5)
    assert engine.force_learn().trajectories == 120


def test_late_and_revised_feedback_moves_the_router(engine: SonaEngine) -> None:
    handles = []
    for turn in range(200):
        t = engine.begin_trajectory(unit(turn))
        engine.set_trajectory_route(t, "a" if turn % 2 else "b")
        engine.end_trajectory(t)
        handles.append(t)
    engine.force_learn()
    for turn, t in enumerate(handles):
        engine.feedback(t, quality=float(turn % 2))
    engine.force_learn()
    scores = engine.route(unit(1), ["a", "b"]).scores
    assert scores["a"] > 0.8 > 0.2 > scores["b"]
    for turn, t in enumerate(handles):
        engine.feedback(t, quality=1.0 - turn % 2)
    assert engine.force_learn().revised == 200
    scores = engine.route(unit(1), ["a", "b"]).scores
    assert scores["b"] > 0.8 > 0.2 > scores["a"]
