"""Off-policy evaluation end to end: recorded by one engine, estimated from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from sona_pg import InvalidValue, LearningError, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.cli.estimate_notes import estimate_notes
from sona_pg.config import LoopConfig
from sona_pg.domain.answer import Decision
from sona_pg.domain.ids import uuid7
from sona_pg.domain.policy_estimate import PolicyEstimate

DIM = 8
COSTS = {"weak": 0.1, "strong": 0.9}


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as opened:
        yield opened


class Calls:
    """Queries, half of which need the strong route, sent to either with a known probability."""

    def __init__(self, engine: SonaEngine, n: int, strong: float = 0.5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.truth: dict[object, dict[str, float]] = {}
        for _ in range(n):
            x = rng.standard_normal(DIM).astype(np.float32)
            hard = x[0] > 0
            chance = {"weak": 0.2 if hard else 0.8, "strong": 0.85}
            route = "strong" if rng.random() < strong else "weak"
            seen = engine.route(x, ["weak", "strong"], costs=COSTS)
            decision = Decision(
                route, strong if route == "strong" else 1 - strong, {}, engine.version, "test",
                seen.candidate_set, COSTS[route],
            )  # fmt: skip
            handle = engine.begin_trajectory(x, decision=decision)
            engine.end_trajectory(handle, float(rng.random() < chance[route]))
            self.truth[handle.id] = chance

    def value(self, judged: object, estimate: PolicyEstimate) -> float:
        """True value of a policy on its evaluated decisions."""
        ids = [judged.trajectories[row] for row in estimate.rows]  # type: ignore[attr-defined]
        chances = np.array([[self.truth[of][route] for route in judged.routes] for of in ids])  # type: ignore[attr-defined]
        return float((estimate.probabilities * chances).sum(axis=1).mean())


def test_estimates_agree_with_the_truth(engine: SonaEngine) -> None:
    calls = Calls(engine, 2500)
    engine.force_learn()
    later = Calls(engine, 800, seed=1)
    calls.truth.update(later.truth)
    engine.flush()
    judged = engine.evaluate_policies(budgets=[0.5], versions=[1])
    assert set(judged.routes) == {"weak", "strong"}
    assert (judged.learned_from, len(judged.trajectories), judged.left_out) == (660, 2640, 0)
    names = [estimate.policy for estimate in judged]
    assert names[0] == "logged"
    assert {"always weak", "always strong", "router, learning as it goes", "router, budget 0.5"} < set(names)
    assert {"version 1 (live)", "version 1 (live), budget 0.5"} < set(names)
    for estimate in judged:
        assert estimate.refused == ""
        truth = calls.value(judged, estimate)
        half = (estimate.high - estimate.low) / 2
        assert abs(estimate.quality - truth) < 1.6 * half, estimate.policy  # about three standard errors
        assert estimate.low < estimate.quality < estimate.high
    assert judged.of("always strong").cost == pytest.approx(0.9, rel=1e-12)
    assert judged.of("router, budget 0.5").cost == pytest.approx(0.5, abs=1e-6)
    assert judged.of("version 1 (live)").decisions == 800
    assert calls.value(judged, judged.of("router, budget 0.5")) > calls.value(judged, judged.of("logged")) + 0.05
    with pytest.raises(KeyError, match="always weak"):
        judged.of("always right")


def test_left_out_are_those_of_the_period(engine: SonaEngine) -> None:
    now = datetime.now(UTC)
    for turn in range(400):
        at = now - timedelta(days=20 if turn < 150 else 1, seconds=-turn)
        decision = Decision("weak" if turn % 2 else "strong", 0.5, {}, 0)
        x = np.eye(DIM, dtype=np.float32)[turn % DIM]
        handle = engine.begin_trajectory(x, decision=decision, id=uuid7(int(1000 * at.timestamp())))
        engine.end_trajectory(handle, None if turn < 100 or turn >= 390 else float(turn % 2))
    engine.flush()
    assert engine.evaluate_policies(days=7).left_out == 10  # 100 more are older
    assert engine.evaluate_policies(days=30).left_out == 110


def test_late_feedback_counts_and_unrated_decisions_are_left_out(engine: SonaEngine) -> None:
    handles = []
    for turn in range(300):
        x = np.eye(DIM, dtype=np.float32)[turn % DIM]
        decision = Decision("weak" if turn % 2 else "strong", 0.5, {}, 0)
        handles.append(engine.begin_trajectory(x, decision=decision))
        engine.end_trajectory(handles[-1])
    for turn, handle in enumerate(handles[:240]):
        engine.feedback(handle, quality=float(turn % 2))
    engine.flush()
    judged = engine.evaluate_policies()
    assert judged.left_out == 60
    assert judged.learned_from + len(judged.trajectories) == 240
    assert judged.of("always weak").quality == pytest.approx(1.0, abs=0.02)
    assert judged.of("always strong").quality == pytest.approx(0.0, abs=0.02)
    assert np.isnan(judged.of("always weak").cost)
    with pytest.raises(InvalidValue, match="costs"):
        engine.evaluate_policies(budgets=[0.5])
    assert engine.evaluate_policies(budgets=[0.5], costs={"weak": 0, "strong": 1}).of("always strong").cost == 1


@pytest.mark.parametrize("seed", range(3))
def test_an_interval_allows_for_what_the_log_never_tried(engine: SonaEngine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(800):  # hard questions go to the strong route, as by a router that has learned
        x = rng.standard_normal(DIM).astype(np.float32)
        hard = x[0] > 0
        strong = 0.999999 if hard else 0.5
        route = "strong" if rng.random() < strong else "weak"
        decision = Decision(route, strong if route == "strong" else 1 - strong, {}, 0, cost=COSTS[route])
        chance = {"weak": 0.2 if hard else 0.8, "strong": 0.85}
        engine.end_trajectory(engine.begin_trajectory(x, decision=decision), float(rng.random() < chance[route]))
    engine.flush()
    judged = engine.evaluate_policies()
    weak, strongest = judged.of("always weak"), judged.of("always strong")
    assert weak.low < 0.5 < weak.high
    assert strongest.low < 0.85 < strongest.high
    assert strongest.high - strongest.low < 0.2
    assert 0.2 < weak.uncovered < 0.6
    assert judged.of("logged").uncovered == 0
    assert any("always weak: at" in note for note in estimate_notes(judged))


def test_costs_are_those_of_the_evaluated_decisions(engine: SonaEngine) -> None:
    rng = np.random.default_rng(0)
    for days in (40, 2):  # the price of the strong route has doubled since
        for turn in range(300):
            route = "strong" if turn % 2 else "weak"
            decision = Decision(route, 0.5, {}, 0, cost=COSTS[route])
            x, at = rng.standard_normal(DIM), datetime.now(UTC) - timedelta(days=days, seconds=-turn)
            handle = engine.begin_trajectory(x.astype(np.float32), decision=decision, started_at=at)
            cost = COSTS[route] * (2 if days == 2 and route == "strong" else 1)
            engine.end_trajectory(handle, float(rng.random() < 0.5), cost=cost)
    engine.flush()
    judged = engine.evaluate_policies(days=30, budget_shares=[0.5])
    assert judged.learned_from == 300
    assert judged.of("logged").cost == pytest.approx((0.1 + 1.8) / 2)
    assert judged.of("always strong").cost == pytest.approx(1.8)
    assert judged.of("router, budget 0.475").cost <= 0.475 + 1e-9
    assert engine.evaluate_policies(days=60).of("always strong").cost == pytest.approx((0.9 * 90 + 1.8 * 150) / 240)


def test_a_policy_with_too_little_support_has_no_estimate_but_a_reason(engine: SonaEngine) -> None:
    Calls(engine, 600, strong=0.02)
    engine.flush()
    found = engine.evaluate_policies().of("always strong")
    assert np.isnan(found.quality)
    assert found.refused.startswith("too little overlap with the logged policy: worth ")
    assert found.as_dict()["quality"] is None


def test_a_version_is_not_evaluated_on_decisions_it_learned_from(engine: SonaEngine) -> None:
    Calls(engine, 400)
    engine.force_learn()
    found = engine.evaluate_policies().of("version 1 (live)")
    assert found.decisions == 0
    assert "not learned from" in found.refused


def test_candidates_that_were_not_offered_are_not_taken(engine: SonaEngine) -> None:
    rng = np.random.default_rng(0)
    for turn in range(400):
        x = rng.standard_normal(DIM).astype(np.float32)
        decision = engine.route(x, ["a", "b"] if turn % 2 else ["a", "b", "c"])
        engine.end_trajectory(engine.begin_trajectory(x, decision=decision), float(decision.route == "a"))
    engine.flush()
    judged = engine.evaluate_policies()
    assert set(judged.routes) == {"a", "b", "c"}
    assert judged.of("always c").decisions == len(judged.trajectories) // 2
    assert judged.of("always a").decisions == len(judged.trajectories)


def test_without_decisions_the_error_names_what_is_missing(engine: SonaEngine, database_url: str) -> None:
    engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 1.0)
    engine.flush()
    with pytest.raises(LearningError, match=r"no judged decision since .* begin trajectories with the decision"):
        engine.evaluate_policies()
    done = CliRunner().invoke(app, ["evaluate", "--url", database_url])
    assert done.exit_code == 1
    assert isinstance(done.exception, LearningError)


def test_on_the_command_line_it_is_json_in_a_pipe_and_a_table_on_a_terminal(
    engine: SonaEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calls(engine, 400)
    engine.flush()
    wanted = ["evaluate", "--url", database_url, "--budget", "0.5", "--cost", "weak=0", "--cost", "strong=1"]
    done = CliRunner().invoke(app, wanted)
    assert done.exit_code == 0, done.output
    rows = {row["policy"]: row for row in map(json.loads, done.output.splitlines())}
    assert {"logged", "always weak", "always strong", "router, budget 0.5"} <= rows.keys()
    assert {"quality", "low", "high", "cost", "effective_size", "refused"} <= rows["logged"].keys()
    assert rows["router, budget 0.5"]["cost"] == pytest.approx(0.5)
    shown: list[tuple[list[str], str]] = []
    monkeypatch.setattr(
        "sona_pg.cli.commands.show_rows",
        lambda rows, title, hide: shown.append(([row["policy"] for row in rows], title)),
    )
    CliRunner().invoke(app, wanted)
    assert "quality per decision in space 'default', 320 decisions" in shown[0][1]
    assert CliRunner().invoke(app, [*wanted, "--cost", "strong"]).exit_code == 1


def test_commands_do_not_learn_unasked(engine: SonaEngine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Calls(engine, 100)
    engine.flush()
    automatic: list[bool] = []
    judge = SonaEngine.evaluate_policies
    monkeypatch.setattr(
        SonaEngine,
        "evaluate_policies",
        lambda self, **wanted: automatic.append(self.config.loops.automatic) or judge(self, **wanted),
    )
    done = CliRunner().invoke(app, ["evaluate", "--url", database_url])
    assert done.exit_code == 0, done.output
    assert automatic == [False]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"budgets": [float("nan")]}, "budget is nan"),
        ({"budgets": ["cheap"]}, "budget is 'cheap'"),
        ({"budgets": [-1.0]}, "budget is -1.0"),
        ({"budget_shares": [-0.5]}, "budget_shares is -0.5"),
        ({"costs": {"weak": 0.1, "strong": float("nan")}}, r"costs\['strong'\] is nan"),
    ],
)
def test_amounts_that_make_no_sense_are_refused_by_name(engine: SonaEngine, asked: dict, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        engine.evaluate_policies(**asked)


def test_what_was_really_paid_is_told_beside_the_given_prices(engine: SonaEngine) -> None:
    """Each policy's cost is by the prices, so that they compare; the logged row's looked like money spent."""
    for turn in range(300):
        route = ("weak", "strong")[turn % 2]
        decision = Decision(route, 0.5, {}, 0, cost=COSTS[route])
        handle = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[turn % DIM], decision=decision)
        engine.end_trajectory(handle, float(turn % 2), cost=2 * COSTS[route] if turn % 3 else None)
    engine.flush()
    judged = engine.evaluate_policies(costs=COSTS)
    assert (judged.of("logged").cost, judged.paid) == (pytest.approx(0.5), pytest.approx(1.0))
    note = "by them a logged decision cost 0.5; 1 was really paid"
    assert [told for told in estimate_notes(judged) if told.endswith(note)]
    by_spending = engine.evaluate_policies(costs={name: 2 * price for name, price in COSTS.items()})
    assert (by_spending.of("logged").cost, by_spending.paid) == (pytest.approx(1.0), pytest.approx(1.0))
    assert not [told for told in estimate_notes(by_spending) if "really paid" in told]
