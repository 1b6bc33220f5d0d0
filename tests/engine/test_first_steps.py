"""SONA's first tutorial, and loop A between a cycle's claim and the server's adoption of its version."""

from __future__ import annotations

import numpy as np

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig

DIM = 32
MANUAL = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def learn_step(engine: SonaEngine, query: np.ndarray, step: np.ndarray, quality: float) -> None:
    handle = engine.begin_trajectory(query)
    engine.add_step(handle, step)
    engine.end_trajectory(handle, quality)


def turned(output: np.ndarray, query: np.ndarray, step: np.ndarray) -> float:
    return float((unit(output) - query) @ step)


def test_a_hundred_queries_and_a_tick_show_their_change(database_url):
    query, step = unit(np.random.default_rng(0).standard_normal((2, DIM)))
    with SonaEngine(DIM, database_url, config=MANUAL) as engine:
        for _ in range(100):
            learn_step(engine, query, step, 0.9)
        result = engine.tick()
        assert result is not None
        assert (result.trajectories, engine.version) == (100, 1)
        assert turned(engine.apply_micro_lora(query), query, step) > 0.02
        assert turned(engine.apply_base_lora(0, query), query, step) > 0.02
        assert engine.find_patterns(query, 1)[0].quality > 0.8
        assert engine.tick() is None  # nothing waits


def test_a_tick_after_a_few_queries_shows_the_effect_of_loop_a(database_url):
    query, step = unit(np.random.default_rng(0).standard_normal((2, DIM)))
    with SonaEngine(DIM, database_url, config=MANUAL) as engine:
        for _ in range(5):
            learn_step(engine, query, step, 0.9)
        assert engine.tick() is None
        assert turned(engine.apply_micro_lora(query), query, step) > 0.01


def test_loop_a_keeps_its_learning_since_a_cycles_claim_under_the_new_version(database_url):
    (first, second), (one, other) = unit(np.random.default_rng(1).standard_normal((2, 2, DIM)))
    with SonaEngine(DIM, database_url, config=MANUAL) as engine, SonaEngine(DIM, database_url, config=MANUAL) as worker:
        learn_step(engine, first, one, 1.0)
        engine.flush()
        worker.force_learn()
        learn_step(engine, second, other, 1.0)
        engine.flush()
        before = turned(engine.apply_micro_lora(second), second, other)
        assert before > 0.005
        assert engine.refresh() == 1
        after = turned(engine.apply_micro_lora(second), second, other)
        assert abs(after - before) < 0.3 * before
        worker.force_learn()
        assert engine.refresh() == 2  # the version has learned both: the same on either server
        np.testing.assert_array_equal(engine.apply_micro_lora(second), worker.apply_micro_lora(second))
