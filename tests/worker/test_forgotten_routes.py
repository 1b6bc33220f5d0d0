"""Feedback on what a router has forgotten, retracted or revised: nothing else comes back, and a rebuild agrees."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig

DIM = 16
KINDS = np.eye(DIM, dtype=np.float32)[:2]
BEFORE, BROKEN = np.array([[0.9, 0.5], [0.5, 0.9]]), np.array([[0.0, 0.5], [0.5, 0.9]])
CYCLE = 100


class Call(NamedTuple):
    id: UUID
    kind: int
    route: str
    quality: float


def used(engine: SonaEngine, rng: np.random.Generator, count: int, chance: np.ndarray) -> list[Call]:
    """Record and learn judged calls of both kinds and routes."""
    calls = []
    for place in range(count):
        kind, route = rng.integers(0, 2, 2).tolist()
        query = KINDS[kind] + 0.1 * rng.standard_normal(DIM).astype(np.float32)
        handle = engine.begin_trajectory(query / np.linalg.norm(query))
        engine.set_trajectory_route(handle, "ab"[route])
        engine.end_trajectory(handle)
        quality = float(rng.random() < chance[kind, route])
        engine.feedback(handle.id, quality=quality, source="judge")
        calls.append(Call(handle.id, kind, "ab"[route], quality))
        if place % CYCLE == CYCLE - 1:
            engine.force_learn()
    return calls


def score(engine: SonaEngine) -> float:
    return engine.route(KINDS[0], ["a", "b"]).scores["a"]


@pytest.mark.parametrize("replay", [64, 2048])
def test_a_retraction_or_revision_brings_back_nothing_that_was_forgotten(database_url, replay):
    loops = LoopConfig(automatic=False, replay=replay)
    config = SonaConfig(hidden_dim=DIM, loops=loops, maintenance=MaintenanceConfig(automatic=False))
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=config) as engine:
        calls = used(engine, rng, 800, BEFORE)
        assert score(engine) > 0.8
        since = used(engine, rng, 200, BROKEN)
        assert score(engine) < 0.2
        other = next(call for call in calls if (call.kind, call.route) == (1, "b"))
        engine.feedback(other.id, source="judge", retract=True)
        engine.force_learn()
        assert score(engine) < 0.2
        for call in calls:
            if (call.kind, call.route, call.quality) == (0, "a", 1.0):
                engine.feedback(call.id, quality=0.0, source="judge")
        engine.force_learn()
        assert -0.1 < score(engine) < 0.2
        for call in since:
            if (call.kind, call.route) == (0, "a"):
                engine.feedback(call.id, source="judge", retract=True)
        engine.force_learn()
        assert engine.rebuild().equal


@pytest.mark.parametrize(
    ("order", "replay"), [("at once", 8192), ("oldest first", 8192), ("mixed", 8192), ("mixed", 64)]
)
def test_after_everything_is_retracted_the_router_is_as_if_nothing_had_been_said(database_url, order, replay):
    loops = LoopConfig(automatic=False, replay=replay)
    config = SonaConfig(hidden_dim=DIM, loops=loops, maintenance=MaintenanceConfig(automatic=False))
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=config) as engine:
        before = engine.route(KINDS[0], ["a", "b"]).scores
        calls = used(engine, rng, 800, BEFORE)
        calls += used(engine, rng, 200, BROKEN)
        assert score(engine) < 0.2
        if order == "mixed":
            calls = [calls[place] for place in rng.permutation(len(calls))]
        pieces = {"at once": [1000], "oldest first": [800, 200], "mixed": [200] * 5}[order]
        for count in pieces:
            for call in calls[:count]:
                engine.feedback(call.id, source="judge", retract=True)
            calls = calls[count:]
            engine.force_learn()
            assert all(-0.5 < value < 1.5 for value in engine.route(KINDS[0], ["a", "b"]).scores.values())
        assert engine.route(KINDS[0], ["a", "b"]).scores == before
        assert engine.rebuild().equal
