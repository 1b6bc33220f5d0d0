"""The learner cache is bit-identical to the contents of the store, or is not used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.errors import DatabaseError
from sona_pg.learning.knowledge import Knowledge
from sona_pg.learning.step import replay_ids
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.rebuild import differences

DIM = 24
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=2), loops=LoopConfig(automatic=False, replay=50))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def live_a_day(engine: SonaEngine, day: int, seen: list) -> None:
    """Record rankings, routes with features of several widths, and feedback of all kinds, some of it late."""
    rng = np.random.default_rng(day)
    documents = np.random.default_rng(99).standard_normal((12, DIM)).astype(np.float32)
    ids = [f"d{index}" for index in range(12)]
    for index in range(40):
        meant = int(rng.integers(12))
        query = documents[meant] + 0.6 * rng.standard_normal(DIM).astype(np.float32)
        if index % 2:
            answer = {"ranking": engine.rank(query, documents, ids=ids)}
        else:
            width = index % 3 if day < 2 else 2  # once taught, the router refuses other widths
            features = rng.standard_normal(width) if width else None
            answer = {"decision": engine.route(query, ["small", "big"], features=features)}
        handle = engine.begin_trajectory(query, query=f"question {meant}", **answer)
        engine.add_step(handle, documents[meant], None, float(rng.random()))
        if index % 2:
            engine.set_trajectory_route(handle, answer["ranking"].ids[0])
        engine.end_trajectory(handle, quality=float(rng.random()) if index % 3 else None)
        if index % 5 == 0:
            engine.feedback(handle, correction=ids[meant], source="label")
        seen.append(handle.id)
    for late in seen[:: 5 + day]:
        engine.feedback(late, quality=float(rng.random()), source=f"late {day}")


def memory_of(engine: SonaEngine) -> LearnerCache | None:
    return engine._session._background.cache


def in_store(engine: SonaEngine) -> tuple[Knowledge, tuple]:
    session = engine._session
    with session.database.learning_unit(session.space, uuid7()) as unit:
        learned = unit.learned()
        knowledge = Knowledge(learned.state, learned.patterns, learned.fisher)
        return knowledge, unit.stored(replay_ids(learned.state, CONFIG))


def same(ours: object, theirs: object) -> bool:
    if isinstance(ours, np.ndarray):
        return ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
    return ours == theirs


def test_the_learner_cache_equals_the_store_exactly(engine):
    seen: list = []
    for day in range(4):
        live_a_day(engine, day, seen)
        assert engine.force_learn().learned
        memory = memory_of(engine)
        knowledge, (trajectories, outcomes) = in_store(engine)
        assert differences(memory.knowledge, knowledge) == []
        assert memory.knowledge.state.cycle_id == knowledge.state.cycle_id == memory.cycle_id
        for column in dataclasses.fields(trajectories):
            assert same(getattr(memory.trajectories, column.name), getattr(trajectories, column.name)), column.name
        assert list(memory.outcomes) == outcomes
    assert engine.rebuild().equal


def test_a_learner_that_remembers_reads_neither_knowledge_nor_replay(engine, monkeypatch):
    seen: list = []
    live_a_day(engine, 0, seen)
    engine.force_learn()
    for name in ("learned", "stored"):
        monkeypatch.setattr(LearningUnit, name, lambda *_: pytest.fail("read again"))
    live_a_day(engine, 1, seen)
    assert engine.force_learn().learned


def test_a_version_of_another_server_is_read(engine, database_url):
    seen: list = []
    with SonaEngine(DIM, database_url, config=CONFIG) as other:
        for day in range(4):
            learner = (engine, other)[day % 2]
            live_a_day(learner, day, seen)
            assert learner.force_learn().version == day + 1
    assert engine.rebuild().equal


def test_a_trajectory_that_was_deleted_is_not_learned_from_again(engine, database_url):
    seen: list = []
    live_a_day(engine, 0, seen)
    engine.force_learn()
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM sona.trajectories WHERE id = ANY(%s)", [seen[::3]])
    live_a_day(engine, 1, seen)
    engine.force_learn()
    gone = {identity.bytes for identity in seen[:40:3]}
    assert not gone & {row.tobytes() for row in memory_of(engine).trajectories.ids}


def test_a_version_that_was_not_committed_is_forgotten(engine, monkeypatch):
    seen: list = []
    live_a_day(engine, 0, seen)
    engine.force_learn()
    live_a_day(engine, 1, seen)

    def fail(*_: object) -> None:
        raise DatabaseError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(LearningUnit, "publish", fail)
        with pytest.raises(DatabaseError):
            engine.force_learn()
    assert memory_of(engine) is None
    assert engine.force_learn().version == 2
    assert engine.rebuild().equal


def test_a_version_of_the_same_number_that_another_server_made_is_read(engine):
    seen: list = []
    live_a_day(engine, 0, seen)
    engine.force_learn()
    session = engine._session
    of_store = len(engine.find_patterns(np.ones(DIM), 100))
    memory = memory_of(engine)
    session._background.cache = dataclasses.replace(
        memory, cycle_id=uuid7(), knowledge=dataclasses.replace(memory.knowledge, patterns=[])
    )
    assert len(session._read(1).patterns) == of_store > 0
