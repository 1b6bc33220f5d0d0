"""Corrections outlive a history longer than what a cycle replays: a stratum of their own beside the uniform sample."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.learning import replay
from sona_pg.learning.knowledge import ranker_of, reservoir_of
from sona_pg.learning.ranking.ranker import score
from sona_pg.learning.replay import Reservoir
from sona_pg.learning.vectors import unit

DIM, ITEMS, CORRECTED = 32, 12, 6
CONFIG = SonaConfig(
    hidden_dim=DIM, base=BaseConfig(rank=4, layers=1), loops=LoopConfig(automatic=False, replay=64)
)  # replays at most 8 corrections beside the 64
DOCUMENTS = unit(np.random.default_rng(1).standard_normal((ITEMS, DIM)).astype(np.float32))
IDS = [f"d{place:02}" for place in range(ITEMS)]
QUESTIONS = unit(DOCUMENTS[:CORRECTED] + 0.2 * np.random.default_rng(2).standard_normal((CORRECTED, DIM)))
ANSWERS = np.arange(CORRECTED) + CORRECTED  # unlike the most similar documents


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def asked(engine: SonaEngine, query: np.ndarray) -> tuple[UUID, str]:
    ranking = engine.rank(query, DOCUMENTS, ids=IDS)
    handle = engine.begin_trajectory(query, ranking=ranking)
    engine.set_trajectory_route(handle, ranking.ids[0])
    engine.end_trajectory(handle)
    return handle.id, ranking.ids[0]


def rated(engine: SonaEngine, count: int, seed: int) -> None:
    """Ask about all documents, rate the answers, and learn."""
    rng = np.random.default_rng(seed)
    for place in range(count):
        meant = place % ITEMS
        query = unit((DOCUMENTS[meant] + 0.1 * rng.standard_normal(DIM))[None]).astype(np.float32)[0]
        id_, shown = asked(engine, query)
        engine.feedback(id_, quality=float(shown == IDS[meant]))
    engine.force_learn()


def corrected(engine: SonaEngine) -> list[UUID]:
    """Ask the questions and correct their answers, without learning."""
    ids = []
    for query, answer in zip(QUESTIONS.astype(np.float32), ANSWERS, strict=True):
        id_, _ = asked(engine, query)
        engine.feedback(id_, correction=IDS[answer])
        ids.append(id_)
    return ids


def reservoir(engine: SonaEngine) -> Reservoir:
    return reservoir_of(knowledge(engine), CONFIG)


def knowledge(engine: SonaEngine):
    with engine._session.database.learning_unit(engine._session.space, uuid7()) as unit_:
        return unit_.learned().state


def holding(engine: SonaEngine) -> float:
    """Share of the questions that the corrected answer comes first for, by the version alone."""
    logits = score(ranker_of(knowledge(engine)), QUESTIONS.astype(np.float32), DOCUMENTS, np.arange(ITEMS))
    return float((logits.argmax(axis=1) == ANSWERS).mean())


def test_corrections_hold_in_a_history_longer_than_the_replay(engine):
    rated(engine, 180, 1)
    corrected(engine)
    found = []
    for cycle in range(4):
        rated(engine, 24, 2 + cycle)
        found.append(holding(engine))
    assert found == [1.0] * 4
    assert engine.rebuild().equal


def test_all_learners_but_the_ranker_read_the_uniform_sample_alone(engine, monkeypatch):
    rated(engine, 180, 1)
    corrected(engine)
    for cycle in range(3):
        rated(engine, 24, 2 + cycle)
    monkeypatch.setattr(replay, "MOST_CORRECTED", 0)
    assert set(engine.rebuild().differences) == {"ranker", "replay"}


def test_a_correction_taken_back_is_no_longer_kept(engine):
    rated(engine, 180, 1)
    ids = corrected(engine)
    rated(engine, 24, 2)
    assert [id_.tobytes() for id_ in reservoir(engine).corrected] == [id_.bytes for id_ in ids]
    engine.feedback(ids[1], retract=True)
    engine.feedback(ids[2], quality=1.0)
    engine.feedback(ids[0], correction=IDS[3])
    rated(engine, 24, 3)
    kept = [id_.tobytes() for id_ in reservoir(engine).corrected]
    assert kept == [id_.bytes for id_ in (ids[3], ids[4], ids[5], ids[0])]
    assert engine.rebuild().equal
