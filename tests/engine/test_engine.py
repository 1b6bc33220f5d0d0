"""The engine on real Postgres: record, learn, query, share."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.answer import Context
from sona_pg.errors import InvalidValue

DIM = 16


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url) as opened:
        yield opened


def unit(seed: int, dim: int = DIM) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


def record(engine: SonaEngine, seed: int, quality: float | None = None, route: str | None = None) -> uuid.UUID:
    t = engine.begin_trajectory(unit(seed))
    engine.add_step(t, unit(seed + 1000), np.ones(4, np.float32), 0.5)
    if route is not None:
        engine.set_trajectory_route(t, route)
    engine.end_trajectory(t, quality)
    return t.id


@pytest.mark.every_server
def test_the_calls_of_the_readme_work_as_written(database_url: str) -> None:
    embedding = x = unit(1, 256)
    activations, attention_weights, reward = unit(2, 256), np.ones(64, np.float32), 0.5
    with SonaEngine(hidden_dim=256, url=database_url) as engine:
        t = engine.begin_trajectory(embedding)
        engine.add_step(t, activations, attention_weights, reward)
        engine.set_trajectory_route(t, "small-model")
        engine.add_trajectory_context(t, "user:42")
        engine.end_trajectory(t, quality=0.85)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            stored = connection.execute(
                "SELECT id, route, context, quality, step_count FROM sona.trajectories"
            ).fetchall()
        assert stored == [(t.id, "small-model", ["user:42"], pytest.approx(0.85), 1)]
        engine.feedback(t.id, quality=0.2, source="user")
        result = engine.force_learn()
        assert (result.trajectories, result.feedback, result.version) == (1, 1, 1)
        y = engine.apply_micro_lora(x)
        assert y.dtype == np.float32
        assert not np.array_equal(y, x)
        (pattern,) = engine.find_patterns(x, k=5)
        assert pattern.similarity == pytest.approx(1.0, abs=1e-3)
        assert pattern.quality == pytest.approx(0.2)
        assert pattern.routes["small-model"].size == 1
        stats = json.loads(engine.get_stats())
        assert stats["totals"] == {"servers": 1, "trajectories": 1, "feedback": 1, "dropped": 0, "waiting": 0}


def test_a_builder_opens_the_same_engine(database_url: str) -> None:
    builder = SonaEngine.builder().hidden_dim(DIM).config(SonaConfig.max_quality()).url(database_url).space("built")
    with builder.build() as engine:
        assert (engine.dim, engine.config.base.rank) == (DIM, 16)
        assert json.loads(engine.get_stats())["space"] == "built"


def test_counters_survive_a_restart(database_url: str) -> None:
    for expected in (3, 6):
        with SonaEngine(DIM, database_url) as engine:
            for seed in range(3):
                record(engine, seed)
            engine.flush()
            assert engine.metrics()["totals"]["trajectories"] == expected


def test_learning_twice_folds_a_trajectory_once(engine: SonaEngine) -> None:
    record(engine, 1, 0.9, "a")
    first = engine.force_learn()
    second = engine.force_learn()
    assert (first.learned, first.trajectories) == (True, 1)
    assert (second.learned, second.trajectories, second.version) == (False, 0, first.version)
    assert engine.find_patterns(unit(1))[0].size == 1


def test_feedback_may_come_before_its_trajectory_again_and_be_taken_back(engine: SonaEngine) -> None:
    t = engine.begin_trajectory(unit(1))
    engine.set_trajectory_route(t, "a")
    engine.feedback(t, quality=0.4)
    early = engine.force_learn()
    assert (early.feedback, early.learned) == (1, False)
    engine.end_trajectory(t, quality=0.9)
    engine.force_learn()
    assert engine.find_patterns(unit(1))[0].quality == pytest.approx(0.4)
    engine.feedback(t, quality=0.6)
    assert engine.force_learn().revised == 1
    assert engine.find_patterns(unit(1))[0].quality == pytest.approx(0.6)
    engine.feedback(t, quality=1.0, source="judge")
    engine.force_learn()
    assert engine.find_patterns(unit(1))[0].quality == pytest.approx(0.8)
    for source in ("user", "judge"):
        engine.feedback(t, retract=True, source=source)
    engine.force_learn()
    pattern = engine.find_patterns(unit(1))[0]
    assert pattern.quality == pytest.approx(0.9)
    assert (pattern.size, pattern.weight, pattern.routes["a"].size) == (1, pytest.approx(1.0), 1)


def test_the_learner_and_the_view_agree_on_outcomes(database_url: str, engine: SonaEngine) -> None:
    for seed in range(6):
        trajectory = record(engine, seed, 0.1 * seed, "a")
        engine.feedback(trajectory, quality=0.9, source="user") if seed % 2 else None
    engine.feedback(trajectory, correction="b", source="judge")
    engine.force_learn()
    with psycopg.connect(database_url) as connection:
        ((viewed,),) = connection.execute("SELECT avg(quality) FROM sona.outcomes").fetchall()
        ((learned,),) = connection.execute("SELECT quality FROM sona.route_statistics WHERE route = 'a'").fetchall()
    assert learned == pytest.approx(viewed)


def test_a_second_server_serves_the_version_of_the_first(database_url: str, engine: SonaEngine) -> None:
    config = SonaConfig(hidden_dim=DIM, loops=LoopConfig(poll_interval=0.2))
    with SonaEngine(DIM, database_url, config=config) as other:
        for seed in range(20):
            record(engine, seed, 0.9, "a")
        published = engine.force_learn().version
        while other.version != published:
            assert other.refresh() >= 0
        x = unit(3)
        assert np.array_equal(other.apply_micro_lora(x), engine.apply_micro_lora(x))
        assert np.array_equal(other.apply_base_lora(0, x), engine.apply_base_lora(0, x))
        assert [p.id for p in other.find_patterns(x)] == [p.id for p in engine.find_patterns(x)]


def test_another_process_sees_the_same_patterns_and_applies_the_same_adapter(
    database_url: str, engine: SonaEngine
) -> None:
    for seed in range(20):
        record(engine, seed, 0.9 if seed % 2 else 0.1, "a")
    engine.force_learn()
    script = f"""
import sys, json, numpy as np
from sona_pg import SonaEngine
x = np.array(json.loads(sys.stdin.read()), np.float32)
with SonaEngine({DIM}, {database_url!r}) as engine:
    print(json.dumps([engine.version, engine.apply_micro_lora(x).tolist(), str(engine.find_patterns(x)[0].id)]))
"""
    x = unit(3)
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(x.tolist()), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [
        engine.version, engine.apply_micro_lora(x).tolist(), str(engine.find_patterns(x)[0].id)
    ]  # fmt: skip


def test_spaces_do_not_see_each_other(database_url: str, engine: SonaEngine) -> None:
    record(engine, 1, 0.9, "a")
    engine.force_learn()
    with SonaEngine(DIM, database_url, "elsewhere") as other:
        assert other.find_patterns(unit(1)) == []
        assert other.force_learn().trajectories == 0


def test_patterns_can_be_filtered(engine: SonaEngine) -> None:
    for seed in range(60):
        good = seed % 2 == 0
        t = engine.begin_trajectory(unit(1 if good else 2) + 0.01 * unit(seed), query="why does it fail?")
        engine.set_trajectory_route(t, "good" if good else "bad")
        engine.end_trajectory(t, 0.9 if good else 0.1)
    engine.force_learn()
    near_bad = unit(2)
    assert engine.find_patterns(near_bad, 1)[0].quality == pytest.approx(0.1, abs=0.01)
    assert engine.find_patterns(near_bad, 1, min_quality=0.5)[0].quality == pytest.approx(0.9, abs=0.01)
    assert engine.find_patterns(near_bad, 1, route="good")[0].routes.keys() == {"good"}
    assert engine.find_patterns(near_bad, 5, route="neither") == []
    assert {p.kind for p in engine.find_patterns(near_bad, 9, kind="reasoning")} == {"reasoning"}
    for graph in (False, True):
        with pytest.raises(InvalidValue, match="k=0: expected a whole number from 1"):
            engine.find_patterns(near_bad, 0, graph=graph)


def test_ranking_learns_from_thumbs(engine: SonaEngine) -> None:
    ids = [f"doc-{row}" for row in range(4)]
    documents = np.stack([unit(100 + row) for row in range(4)])
    asked = [unit(200 + row) for row in range(4)]
    for turn in range(30):
        row = turn % 4
        ranking = engine.rank(asked[row], documents, ids=ids, exploration=1.0)
        t = engine.begin_trajectory(asked[row], ranking=ranking)
        engine.set_trajectory_route(t, ranking.ids[0])
        engine.end_trajectory(t, quality=float(ranking.ids[0] == ids[row]))
        engine.feedback(t, correction=ids[row]) if turn < 4 else None
        if turn % 5 == 4:
            engine.force_learn()
    assert [engine.rank(query, documents, ids=ids).ids[0] for query in asked] == ids
    assert engine.rank(asked[2]).ids[0] == ids[2]  # the store keeps the candidates


def test_a_candidate_that_is_remembered_again_gets_the_new_embedding(database_url: str, engine: SonaEngine) -> None:
    engine.remember(["a", "b"], np.stack([unit(1), unit(2)]))
    engine.remember(["a"], unit(3)[None])  # in the same transaction, it may be
    engine.flush()
    assert stored_candidates(database_url) == {
        "a": pytest.approx(unit(3), abs=1e-3),
        "b": pytest.approx(unit(2), abs=1e-3),
    }
    engine.remember(["b"], unit(4)[None])
    engine.flush()
    assert stored_candidates(database_url)["b"] == pytest.approx(unit(4), abs=1e-3)


def stored_candidates(url: str) -> dict[str, list[float]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT candidate_id, embedding::text FROM sona.candidates").fetchall()
    return {name: json.loads(text) for name, text in rows}


def test_routing_prefers_good_routes_and_logs_its_propensity(database_url: str, engine: SonaEngine) -> None:
    for turn in range(200):
        x = unit(turn)
        decision = engine.route(x, ["weak", "strong"], costs={"weak": 0.0, "strong": 1.0})
        t = engine.begin_trajectory(x, decision=decision)
        engine.end_trajectory(t, quality=1.0 if decision.route == "strong" else 0.0)
        if turn % 50 == 49:
            engine.force_learn()
    decisions = [engine.route(unit(1000 + turn), ["weak", "strong"]) for turn in range(50)]
    assert sum(decision.scores["strong"] > decision.scores["weak"] for decision in decisions) >= 45
    for decision in decisions:  # better routes are likelier, and none is impossible
        likely = decision.propensity > 0.5
        assert 0 < decision.propensity < 1
        assert likely == (decision.route == max(decision.scores, key=decision.scores.__getitem__))
    with psycopg.connect(database_url) as connection:
        ((known, least, most),) = connection.execute(
            "SELECT count(propensity), min(propensity), max(propensity) FROM sona.trajectories"
        ).fetchall()
    assert known == 200
    assert 0 < least <= most <= 1


def test_process_embeds_records_and_answers(database_url: str) -> None:
    with SonaEngine(256, database_url) as engine:
        for _ in range(8):
            handle = engine.begin_trajectory(engine.embed(["how do I write a loop in python"])[0], query="a loop?")
            engine.set_trajectory_route(handle, "coder")
            engine.end_trajectory(handle, 0.9)
        engine.force_learn()
        response = engine.process("a python loop, please", ["user:7"])
        assert (response.route, response.version) == ("coder", 1)
        assert response.quality == pytest.approx(0.9)
        assert response.embedding.shape == response.adapted.shape == (256,)
        engine.feedback(response.trajectory_id, quality=1.0)
        assert engine.force_learn().trajectories == 1


def test_process_books_the_outcome_on_the_callers_route_alone(database_url: str) -> None:
    question = "how do I write a loop in python"
    with SonaEngine(256, database_url) as engine:
        engine.process(question, route="coder", quality=0.9)
        engine.force_learn()
        for _ in range(20):
            response = engine.process(question)
            assert response.route == "coder"
            assert response.confidence == pytest.approx(0.5, abs=0.05)  # one outcome, of the same query
            engine.feedback(response.trajectory_id, quality=0.0)
        engine.force_learn()
        assert engine.metrics()["routes"] == {"coder": 1}
        record = engine.find_patterns(response.embedding, 1)[0].routes["coder"]
        assert record.quality == pytest.approx(0.9)
        assert engine.process(question, route="never tried").quality is None
        context = Context(("beta",), user="42", session="7")
        response = engine.process(question, context, end=False)
        engine.set_trajectory_route(response.trajectory_id, "other")
        engine.end_trajectory(response.trajectory_id, 1.0)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            query = "SELECT route, quality, context FROM sona.trajectories WHERE id = %s"
            row = connection.execute(query, [response.trajectory_id]).fetchone()
        assert row == ("other", 1.0, ["beta", "user:42", "session:7"])
        with pytest.raises(InvalidValue, match="end=False"):
            engine.process(question, quality=1.0, end=False)


def test_metrics_are_json_and_one_dimension_is_a_space(database_url: str) -> None:
    with SonaEngine(1, database_url, "one") as engine:
        for number in range(100):
            x = np.array([1.0 if number % 2 else -1.0])
            handle = engine.begin_trajectory(x, decision=engine.route(x, ["a", "b"], query="why?"))
            engine.add_step(handle, x)
            engine.end_trajectory(handle.id, float(number % 2))
        assert engine.force_learn().learned
        assert json.loads(json.dumps(engine.metrics()))["version"] == 1


def test_a_disabled_engine_records_nothing(engine: SonaEngine) -> None:
    engine.set_enabled(False)
    record(engine, 1, 0.5)
    engine.set_enabled(True)
    record(engine, 2, 0.5)
    engine.flush()
    assert engine.metrics()["totals"]["trajectories"] == 1


def test_a_due_loop_runs_by_itself(database_url: str) -> None:
    loops = LoopConfig(background_interval=0.2, min_trajectories=5, poll_interval=0.1)
    with SonaEngine(DIM, database_url, config=SonaConfig(hidden_dim=DIM, loops=loops)) as engine:
        for seed in range(10):
            record(engine, seed, 0.9, "a")
        engine.flush()
        while engine.version == 0:
            engine.tick()
        assert engine.find_patterns(unit(1))


def test_closing_writes_the_unwritten_records_and_is_idempotent(database_url: str) -> None:
    engine = SonaEngine(DIM, database_url)
    for seed in range(100):
        record(engine, seed)
    engine.close()
    engine.close()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (100,)


def test_a_space_of_one_dimension_learns_as_any_other(database_url):
    with SonaEngine(1, database_url) as engine:
        for number in range(30):
            x = np.array([1.0 if number % 2 else -1.0])
            handle = engine.begin_trajectory(x, ranking=engine.rank(x, [[1.0], [-1.0]], ids=["up", "down"]))
            engine.add_step(handle, x, None, 0.5)
            engine.set_trajectory_route(handle, "up")
            engine.end_trajectory(handle, float(number % 2))
        assert engine.force_learn().patterns == 2
        assert engine.rank([1.0], ids=["up", "down"]).ids[0] == "up"
        assert engine.rebuild().equal


def test_metrics_are_json(database_url):
    with SonaEngine(4, database_url) as engine:
        engine.feedback(uuid.uuid4(), quality=1.0)
        engine.flush()
        told = json.loads(json.dumps(engine.metrics()))
    assert told["waiting_feedback"]["facts"] == 1
    assert datetime.fromisoformat(told["server"]["writer"]["last_commit"]).tzinfo is not None
