"""Rebuild: reproduces the live state from the ledger, to the bit, and unlearns deleted trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from threadpoolctl import threadpool_info

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, EwcConfig, LoopConfig
from sona_pg.domain.verdict import VERDICTS
from sona_pg.learning import step
from sona_pg.learning.step import learn

DIM = 24
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=2), loops=LoopConfig(automatic=False, replay=50))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def live_some_days(engine: SonaEngine, cycles: int = 3) -> list:
    """Record everything that a ledger can hold, in several cycles, with late and revised feedback."""
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((12, DIM)).astype(np.float32)
    ids = [f"d{index}" for index in range(12)]
    seen = []
    for day in range(cycles):
        known = 6 + 3 * day  # new candidates come with every cycle
        for index in range(40):
            meant = int(rng.integers(known))
            query = documents[meant] + 0.6 * rng.standard_normal(DIM).astype(np.float32)
            shown = rng.choice(known, 4, replace=False)
            ranking = engine.rank(query, documents[shown], ids=[ids[row] for row in shown]) if index % 2 else None
            handle = engine.begin_trajectory(query, query=f"question {meant}", ranking=ranking)
            engine.add_step(handle, documents[meant], None, float(rng.random()) - 0.2)
            if index % 3:
                engine.set_trajectory_parameters(handle, {"temperature": float(rng.random()), "top_k": index})
            engine.set_trajectory_route(handle, ranking.ids[0] if ranking else ("small", "big")[index % 4 == 0])
            engine.end_trajectory(handle, quality=float(rng.random()) if index % 3 else None)
            for source in ("judge", "user")[: index % 3]:
                engine.feedback(handle, quality=float(rng.random()), source=source)
            if ranking and index % 5 == 0:
                engine.feedback(handle, correction=ids[meant], source="label")
            seen.append(handle.id)
        for late in seen[:: 7 - day]:
            engine.feedback(late, quality=float(rng.random()), source="late")
        assert engine.force_learn().learned
    return seen


def test_the_rebuilt_state_equals_the_live_state_exactly(engine):
    live_some_days(engine)
    patterns = engine.find_patterns(np.ones(DIM), 100)
    assert {verdict for item in patterns for verdict in VERDICTS if item.verdicts.of(verdict)} == set(VERDICTS)
    assert any("top_k" in item.parameters for item in patterns)
    result = engine.rebuild(publish=True)
    assert result.differences == ()
    assert result.equal
    assert not result.published  # there is nothing to replace
    assert (result.cycles, result.trajectories, result.version) == (3, 120, 3)


def test_parts_that_learn_beside_each_other_learn_what_they_learn_one_after_the_other(engine, monkeypatch):
    live_some_days(engine, cycles=2)
    monkeypatch.setattr(step, "WORTH_THREADS", 0)
    assert engine.rebuild().differences == ()


def test_alternating_learners_produce_the_same_state_as_one(engine, database_url):
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=CONFIG) as other:
        for turn in range(5):
            for query in rng.standard_normal((60, DIM)).astype(np.float32):
                handle = engine.begin_trajectory(query, decision=engine.route(query, ["small", "big"]))
                engine.end_trajectory(handle, quality=float(rng.random()))
            engine.flush()
            (engine, other)[turn % 2].force_learn()
        result = engine.rebuild()  # as if one learner had made every version
        assert result.equal, result.differences


def test_feedback_of_the_next_cycle_does_not_count_yet(engine):
    seen = live_some_days(engine)
    for trajectory in seen:
        engine.feedback(trajectory, quality=0.0, source="afterwards")
    assert engine.rebuild().equal


def test_a_space_that_never_learned_is_rebuilt_to_nothing(engine):
    result = engine.rebuild(publish=True)
    assert result.equal
    assert (result.version, result.cycles) == (0, 0)


def test_deleted_trajectories_are_unlearned_and_learning_goes_on(engine, database_url):
    seen = live_some_days(engine)
    with psycopg.connect(database_url) as connection:
        for table, key in (("trajectories", "id"), ("steps", "trajectory_id"), ("feedback", "trajectory_id")):
            connection.execute(f"DELETE FROM sona.{table} WHERE {key} = ANY(%s)", [seen[::3]])
    assert not engine.rebuild().equal
    result = engine.rebuild(publish=True)
    assert result.published
    assert engine.version == result.version == 4
    assert engine.rebuild().equal
    handle = engine.begin_trajectory(np.ones(DIM))
    engine.end_trajectory(handle, quality=1.0)
    assert engine.force_learn().version == 5
    assert engine.rebuild().equal


def test_a_rebuild_with_other_settings_names_the_parts_that_differ(engine, database_url):
    live_some_days(engine, 1)
    with psycopg.connect(database_url) as connection:  # directly, because the store would record the change
        changed = "UPDATE sona.spaces SET settings = settings || '{\"base.learning_rate\": 0.01}'"
        connection.execute(changed)
    assert "base adapters" in engine.rebuild().differences


@pytest.mark.parametrize(("fisher", "kept"), [("kronecker", range(1, 6)), ("diagonal", range(6))])
def test_the_fisher_information_of_a_task_is_stored_and_rebuilt(database_url, fisher, kept):
    rng = np.random.default_rng(1)
    config = CONFIG.replace(ewc=EwcConfig(fisher=fisher, max_tasks=1))
    with SonaEngine(DIM, database_url, config=config) as engine:
        for centre in rng.standard_normal((7, DIM)).astype(np.float32):  # each cycle another task
            for _ in range(40):
                query = centre + 0.2 * rng.standard_normal(DIM).astype(np.float32)
                handle = engine.begin_trajectory(query)
                engine.add_step(handle, np.roll(query, 1), None, float(rng.random()))
                engine.end_trajectory(handle, quality=float(rng.random()))
            assert engine.force_learn().learned
        with psycopg.connect(database_url) as connection:
            stored = connection.execute("SELECT task, kind FROM sona.fisher_snapshots ORDER BY task").fetchall()
        assert stored == [(task, fisher) for task in kept]
        assert engine.rebuild().equal
    with SonaEngine(DIM, database_url, config=config) as again:  # a new learner adopts them
        handle = again.begin_trajectory(np.ones(DIM))
        again.add_step(handle, np.ones(DIM), None, 1.0)
        again.end_trajectory(handle, quality=1.0)
        assert again.force_learn().learned
        assert again.rebuild().equal


def test_learning_again_keeps_to_one_thread_as_learning_does(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def watched(*arguments: Any) -> Any:
        threads.append({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})
        return learn(*arguments)

    monkeypatch.setattr("sona_pg.worker.background.learn", watched)
    monkeypatch.setattr("sona_pg.worker.past_learning.learn", watched)
    live_some_days(engine, cycles=1)
    assert engine.rebuild().equal
    assert threads == [{1}, {1}]


@pytest.mark.parametrize(
    ("stored", "told"), [('detail || \'{"release": "9.9"}\'', "9.9"), ("detail - 'release'", "before 0.1.0")]
)
def test_a_rebuild_names_other_releases_that_have_learned(engine, database_url, caplog, stored, told):
    live_some_days(engine, 2)
    assert engine.rebuild().other_releases == ()
    with psycopg.connect(database_url) as connection:
        connection.execute(f"UPDATE sona.cycles SET detail = {stored} WHERE version = 1")
    result = engine.rebuild()
    assert (result.equal, result.other_releases, result.as_dict()["other_releases"]) == (True, (told,), [told])
    assert caplog.messages == []
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.spaces SET settings = settings || '{\"base.learning_rate\": 0.01}'")
    assert not engine.rebuild().equal
    assert f"releases {told} have learned some of its versions" in caplog.text
