"""Routing through the store: features and costs are stored with the decision, late feedback counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import DimensionMismatch, InvalidValue, SonaEngine
from sona_pg.serving.route_chooser import KEPT_PACERS
from sona_pg.text.features import query_features

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
    for arguments in ({"features": [1.0, 2.0, 3.0]}, {"query": "why?"}):
        with pytest.raises(DimensionMismatch, match=r"^3 features, expected 2") as caught:
            engine.route(unit(1), ["weak"], **arguments)
        assert "dimension" not in str(caught.value)


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


def test_the_text_of_a_query_makes_its_features_unless_the_caller_has_some(engine: SonaEngine) -> None:
    decision = engine.route(unit(1), ["a", "b"], query="7 + 7 = ?")
    np.testing.assert_allclose(decision.features, [np.log(9), 2 / 9, 3 / 9], rtol=1e-6)
    own = engine.route(unit(1), ["a", "b"], query="7 + 7 = ?", features=[1.0])
    assert own.features.tolist() == [1.0]
    assert engine.route(unit(1), ["a", "b"]).features is None


def test_a_hard_query_is_recognised_by_its_text(engine: SonaEngine) -> None:
    rng = np.random.default_rng(0)
    texts = {True: "prove that for all n > 2 the sum of 17 squares 123 456 is even", False: "what is tea"}
    for turn in range(400):
        hard = bool(rng.integers(2))
        decision = engine.route(unit(turn), ["weak", "strong"], query=texts[hard])
        t = engine.begin_trajectory(unit(turn), decision=decision)
        engine.end_trajectory(t, quality=float(decision.route == ("strong" if hard else "weak")))
    engine.force_learn()
    for hard, better, worse in ((True, "strong", "weak"), (False, "weak", "strong")):
        scores = engine.route(unit(9999), ["weak", "strong"], query=texts[hard]).scores
        assert scores[better] > scores[worse]


def test_features_of_any_text_are_finite() -> None:
    for text in ("", " ", "7+7=", "\0", "ß" * 10_000):
        assert np.isfinite(query_features(text)).all()


def test_a_decision_is_stored_with_its_candidates_and_is_no_ranking(database_url: str, engine: SonaEngine) -> None:
    documents = np.stack([unit(7), unit(8)])
    engine.remember(["a", "b"], documents)  # routes that are candidates of rankings as well
    for turn in range(20):
        decision = engine.route(unit(turn), ["a", "b"] if turn % 2 else ["b", "c"])
        engine.end_trajectory(engine.begin_trajectory(unit(turn), decision=decision), 1.0)
    assert engine.force_learn().learned
    with psycopg.connect(database_url) as connection:
        stored = connection.execute(
            """SELECT DISTINCT s.candidate_ids FROM sona.trajectories t JOIN sona.candidate_sets s
               ON s.space_id = t.space_id AND s.set_id = t.candidate_set ORDER BY 1"""
        ).fetchall()
    assert stored == [(["a", "b"],), (["b", "c"],)]
    assert engine.rank(unit(1), documents, ids=["a", "b"]).scores == pytest.approx(documents @ unit(1), abs=1e-3)


@pytest.mark.parametrize("candidates", [[], ["a", "a"], [""], ["a\0"]])
def test_routes_that_cannot_be_ids_are_refused(engine: SonaEngine, candidates: list[str]) -> None:
    with pytest.raises(InvalidValue):
        engine.route(unit(1), candidates)


def test_a_budget_below_the_cheapest_route_is_refused_by_name(engine: SonaEngine) -> None:
    x = np.eye(DIM, dtype=np.float32)[0]
    costs = {"small": 0.2, "large": 1.0}
    with pytest.raises(InvalidValue, match=r"budget 0.1 cannot be kept: the cheapest route 'small' costs 0.2"):
        engine.route(x, list(costs), costs=costs, budget=0.1)
    assert engine.route(x, list(costs), costs=costs, budget=0.2).route in costs


def test_a_call_that_costs_more_than_the_mean_budget_is_served_where_others_cost_less(engine: SonaEngine) -> None:
    x = np.eye(DIM, dtype=np.float32)[0]
    for _ in range(20):
        engine.route(x, ["a", "b"], costs={"a": 0.1, "b": 0.2}, budget=0.3)
    assert engine.route(x, ["a", "b"], costs={"a": 0.5, "b": 0.9}, budget=0.3).route in "ab"

    def go_on() -> None:
        for _ in range(100):
            engine.route(x, ["a", "b"], costs={"a": 0.5, "b": 0.9}, budget=0.3)

    with pytest.raises(InvalidValue, match="cannot be kept"):
        go_on()


def test_a_server_remembers_the_spending_of_few_budgets(engine: SonaEngine) -> None:
    x = np.eye(DIM, dtype=np.float32)[0]
    for budget in np.linspace(1.0, 2.0, 200):
        engine.route(x, ["a"], costs={"a": 0.5}, budget=float(budget))
    pacers = engine._session.chooser._pacers
    assert len(pacers) == KEPT_PACERS
    assert 2.0 in pacers
