"""A space with learned routes, candidates and patterns, on the embedded Postgres."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from benchmarks.server import DIM
from sona_pg import SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.verdict import VerdictCounts
from sona_pg.store.database import Database
from sona_pg.text import CallableEmbedder

Floats = NDArray[np.float32]

CANDIDATES, ROUTES, DECISIONS, THUMBS = 1000, 20, 2000, 1500
CONFIG = SonaConfig(
    ingest=IngestConfig(capacity=400_000, buffer_bytes=1 << 30, flush_interval=60.0),
    loops=LoopConfig(automatic=False, seed=1),
    maintenance=MaintenanceConfig(automatic=False),
)
TEXTS = ("where is my parcel, and why does it take 12 days?", "what is tea", "7 + 7 = ?", "prove that √2 is irrational")
NAMES = tuple(f"document {place}" for place in range(CANDIDATES))
MODELS = tuple(f"model {place}" for place in range(ROUTES))


def unit_rows(rng: np.random.Generator, n: int) -> Floats:
    """Return (n, DIM) random unit vectors."""
    rows = rng.standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@contextmanager
def asked_space(url: str, patterns: int) -> Iterator[SonaEngine]:
    """Yield an engine on a space whose live version has ``patterns`` patterns, 20 routes and 1,000 candidates."""
    rng = np.random.default_rng(0)
    name = f"asked {patterns}"
    pool = list(unit_rows(rng, 512))
    embedder = CallableEmbedder(lambda texts: np.stack([pool[len(text) % 512] for text in texts]), DIM)
    with SonaEngine(DIM, url, name, config=CONFIG, embedder=embedder) as engine:
        _teach(engine, rng)
        _publish_patterns(engine, url, name, patterns, rng)
        assert engine.refresh() == 2
        assert len(engine.find_patterns(pool[0], k=patterns)) == patterns
        yield engine


def _teach(engine: SonaEngine, rng: np.random.Generator) -> None:
    documents = unit_rows(rng, CANDIDATES)
    engine.remember(NAMES, documents)
    for turn, query in enumerate(unit_rows(rng, DECISIONS)):
        decision = engine.route(query, MODELS, query=TEXTS[turn % len(TEXTS)])
        right = (query @ documents[MODELS.index(decision.route)] > 0) or rng.random() < 0.2
        engine.end_trajectory(engine.begin_trajectory(query, decision=decision), float(right))
    for turn in range(THUMBS):
        meant = turn % CANDIDATES
        query = documents[meant] + 0.05 * rng.standard_normal(DIM).astype(np.float32)
        ranking = engine.rank(query, ids=NAMES, k=5)
        trajectory = engine.begin_trajectory(query, ranking=ranking)
        engine.set_trajectory_route(trajectory, ranking.ids[0])
        engine.end_trajectory(trajectory, float(ranking.ids[0] == NAMES[meant]))
    result = engine.force_learn()
    assert result.trajectories == DECISIONS + THUMBS


def _publish_patterns(engine: SonaEngine, url: str, space: str, count: int, rng: np.random.Generator) -> None:
    """Publish a version with ``count`` synthetic patterns in place of the learned ones."""
    database = Database.at(url)
    try:
        with database.learning_unit(database.find_space(space), engine.server_id) as unit:
            assert unit is not None
            learned = unit.learned()
            assert learned is not None
            state = dataclasses.replace(learned.state, version=unit.next_version, parent=1, cycle_id=uuid7())
            unit.republish(state, [_pattern(rng, centroid) for centroid in unit_rows(rng, count)], [])
    finally:
        database.close()


def _pattern(rng: np.random.Generator, centroid: Floats) -> LearnedPattern:
    quality = float(rng.random())
    return LearnedPattern(
        id=uuid7(),
        centroid=centroid,
        size=20,
        weight=20.0,
        quality=quality,
        routes={name: RouteRecord(4, 4.0, quality) for name in MODELS[:5]},
        typical_queries=TEXTS,
        typical_similarities=(0.9, 0.8, 0.7, 0.6),
        created_version=1,
        updated_version=1,
        verdicts=VerdictCounts(10, 6, 2, 2),
    )
