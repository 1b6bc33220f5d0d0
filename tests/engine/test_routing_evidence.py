"""Recent evidence in routes and patterns: a thumb counts with the next decision, everywhere, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

DIM = 16
ROUTES = ["small", "large"]
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
DEAF = SonaConfig(loops=LoopConfig(automatic=False, recent=0))
Open = Callable[..., SonaEngine]


@pytest.fixture
def opened(database_url: str) -> Iterator[Open]:
    engines: list[SonaEngine] = []

    def open_one(config: SonaConfig = QUIET) -> SonaEngine:
        engines.append(SonaEngine(DIM, database_url, config=config))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def asked(topic: int, seed: int = 0) -> NDArray[np.float32]:
    noise = 0.1 * np.random.default_rng(seed).standard_normal(DIM)
    return (np.eye(DIM)[topic] + noise).astype(np.float32)


def judge(engine: SonaEngine, query: NDArray[np.float32], quality: float | None, route: str = "large") -> str:
    """Decide until ``route`` is chosen, and say how good it was; return the trajectory's id."""
    for _ in range(200):
        decision = engine.route(query, ROUTES)
        if decision.route == route:
            break
    t = engine.begin_trajectory(query, decision=decision)
    engine.end_trajectory(t, quality)
    return str(t.id)


def lead(engine: SonaEngine, query: NDArray[np.float32]) -> float:
    scores = engine.route(query, ROUTES).scores
    return scores["large"] - scores["small"]


def test_a_thumb_on_a_route_counts_with_the_next_decision_about_queries_like_it(opened: Open) -> None:
    engine = opened()
    before = lead(engine, asked(0))
    judge(engine, asked(0), 0.0)
    near, far = lead(engine, asked(0, seed=1)), lead(engine, asked(7))
    assert near < before - 0.02
    assert near < far
    told = judge(engine, asked(0), None)
    engine.feedback(told, quality=1.0)
    assert lead(engine, asked(0, seed=1)) > near
    engine.feedback(told, retract=True)
    assert lead(engine, asked(0, seed=1)) == pytest.approx(near)


def test_servers_that_know_the_same_thumbs_decide_alike_and_a_cycle_reads_none_of_it(opened: Open) -> None:
    first, second, plain = opened(), opened(), opened(DEAF)
    for seed in range(80):
        judge(first, asked(seed % 3, seed), float(seed % 3 == 0), ROUTES[seed % 2])
    first.force_learn()
    told = [judge(first, asked(0, seed), float(seed % 2)) for seed in range(100, 106)]
    second.flush()
    judge(second, asked(1, 200), 1.0, "small")
    for engine in (second, first, second, plain):
        engine.flush()
        engine.refresh()
    third = opened()
    scores = [engine.route(asked(0), ROUTES).scores for engine in (first, second, third, plain)]
    assert scores[0] == scores[1] == scores[2] != scores[3]
    first.feedback(told[0], quality=0.5)
    assert first.route(asked(0), ROUTES).scores != scores[0]
    first.flush()
    second.force_learn()
    for engine in (first, third, plain):
        engine.refresh()
    scores = [engine.route(asked(0), ROUTES).scores for engine in (first, second, third, plain)]
    assert scores[0] == scores[1] == scores[2] == scores[3]
    assert first.rebuild().equal
    judge(plain, asked(0, 300), 0.0)  # on a decision that a version has learned, only the change counts
    first.feedback(told[1], quality=0.0)
    assert lead(first, asked(0)) < lead(plain, asked(0))


def test_a_thumb_changes_the_pattern_that_its_query_belongs_to(opened: Open) -> None:
    engine = opened()
    for seed in range(40):
        judge(engine, asked(seed % 2, seed), 1.0, ROUTES[seed % 2])
    engine.force_learn()
    [near], [other] = (engine.find_patterns(asked(topic), k=1) for topic in (0, 1))
    assert near.id != other.id
    told = judge(engine, asked(0), 0.0, "small")
    [now] = engine.find_patterns(asked(0), k=1)
    assert now.id == near.id
    assert now.quality < near.quality
    assert now.routes["small"].quality < near.routes["small"].quality
    assert engine.find_patterns(asked(1), k=1)[0].quality == other.quality
    assert not [pattern for pattern in engine.find_patterns(asked(0), k=5, min_quality=0.99) if pattern.id == near.id]
    engine.feedback(told, quality=1.0)
    assert engine.find_patterns(asked(0), k=1)[0].quality == pytest.approx(1.0)
