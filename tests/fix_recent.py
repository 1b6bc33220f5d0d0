"""Spaces of four candidates, asked and judged, for tests of recent evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

DIM = 16
IDS = ["red", "green", "blue", "grey"]
ROWS = np.eye(4, DIM, dtype=np.float32)
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
DEAF = SonaConfig(loops=LoopConfig(automatic=False, recent=0))
Open = Callable[..., SonaEngine]


@pytest.fixture
def opened(database_url: str) -> Iterator[Open]:
    engines: list[SonaEngine] = []

    def open_one(config: SonaConfig = QUIET, url: str = database_url) -> SonaEngine:
        engines.append(SonaEngine(DIM, url, config=config))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def asked(first: int, second: int, seed: int = 0) -> NDArray[np.float32]:
    """A query a little nearer to the first candidate than to the second."""
    noise = 0.15 * np.random.default_rng(seed).standard_normal(DIM)
    return (ROWS[first] + 0.9 * ROWS[second] + noise).astype(np.float32)


def judge(engine: SonaEngine, query: NDArray[np.float32], quality: float | None = None) -> UUID:
    """Show the best answer, and say how good it was if ``quality`` says so."""
    ranking = engine.rank(query, ROWS, ids=IDS)
    t = engine.begin_trajectory(query, ranking=ranking)
    engine.set_trajectory_route(t, ranking.ids[0])
    engine.end_trajectory(t, quality)
    return t.id


def scores(engine: SonaEngine, query: NDArray[np.float32]) -> dict[str, float]:
    ranking = engine.rank(query, ROWS, ids=IDS)
    return dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))


def lead(engine: SonaEngine, query: NDArray[np.float32], first: str = "red", second: str = "green") -> float:
    found = scores(engine, query)
    return found[first] - found[second]


def weighed(engine: SonaEngine) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    """Candidates, and what evidence adds to their weights and offsets."""
    session = engine._session
    found = session.ranker.evidence.of(session.serving)
    assert found is not None
    return list(found.rows), found.weights, found.offset
