"""A step of learning through the store: facts read, learned, set aside and returned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, LoopConfig

DIM = 16
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=2), loops=LoopConfig(automatic=False))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def accuracy(engine: SonaEngine, queries: np.ndarray, right: np.ndarray, titles: np.ndarray) -> float:
    adapted = np.stack([engine.apply_base_lora(0, query) for query in queries])
    return float(np.mean(np.argmax(unit(adapted) @ titles.T, axis=1) == right))


@pytest.mark.parametrize("told", ["corrections", "thumbs"])
def test_the_base_adapter_learns_from_choices_among_candidates(engine, told):
    rng = np.random.default_rng(0)
    meant, titles = unit(rng.standard_normal((2, 6, DIM)))
    titles = unit(titles + meant)  # so that some first answers are right, and get a thumb up
    ids = [f"title {index}" for index in range(6)]

    def asked(n):
        right = rng.integers(0, 6, n)
        return unit(meant[right] + 0.35 * rng.standard_normal((n, DIM))), right

    test, right = asked(300)
    before = accuracy(engine, test, right, titles)
    for _ in range(3):
        for query, index in zip(*asked(150), strict=True):
            ranking = engine.rank(query, titles, ids=ids, k=1)
            handle = engine.begin_trajectory(query, ranking=ranking)
            engine.set_trajectory_route(handle, ranking.ids[0])
            thumb = float(ranking.ids[0] == ids[index])
            engine.end_trajectory(handle, quality=thumb if told == "thumbs" else None)
            if told == "corrections":
                engine.feedback(handle, correction=ids[index])
        engine.force_learn()
    assert accuracy(engine, test, right, titles) > before + 0.03


def test_a_poison_row_is_set_aside_with_its_reason_and_the_cycle_goes_on(engine, database_url):
    poison = None
    for index in range(10):
        handle = engine.begin_trajectory(np.eye(DIM)[index])
        engine.end_trajectory(handle, quality=0.9)
        poison = poison or handle.id
    engine.flush()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.trajectories SET embedding = '[1,2,3]' WHERE id = %s", [poison])
    result = engine.force_learn()
    assert (result.trajectories, result.set_aside) == (9, 1)
    assert result.learned
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT trajectory_id, reason FROM sona.set_aside").fetchall()
    assert rows == [(poison, "its embedding has 3 dimensions, the space 16")]
    assert engine.rebuild().equal


def test_zero_and_equal_embeddings_do_not_stop_a_cycle(engine):
    for embedding in [np.full(DIM, 1e-12)] * 5 + [np.ones(DIM)] * 40:
        handle = engine.begin_trajectory(embedding)  # half precision makes the small ones 0
        engine.add_step(handle, embedding, None, 1e6)
        engine.end_trajectory(handle, quality=0.5)
    assert engine.force_learn().learned
    assert np.isfinite(engine.apply_micro_lora(np.ones(DIM))).all()


def test_nothing_new_makes_no_version(engine):
    assert not engine.force_learn().learned
    assert engine.version == 0


def test_saved_adapters_are_served_again_until_a_new_version(engine, database_url, tmp_path):
    x = np.random.default_rng(3).standard_normal(DIM)
    for _ in range(20):
        handle = engine.begin_trajectory(x)
        engine.add_step(handle, np.eye(DIM)[0])
        engine.end_trajectory(handle, quality=0.9)
    engine.force_learn()
    engine.save(tmp_path / "a.safetensors")
    micro, base = engine.apply_micro_lora(x), engine.apply_base_lora(0, x)
    with SonaEngine(DIM, database_url, "another", config=CONFIG) as other:
        other.load(tmp_path / "a.safetensors")
        np.testing.assert_array_equal(other.apply_micro_lora(x), micro)
        np.testing.assert_array_equal(other.apply_base_lora(0, x), base)
        assert other.metrics()["adapters"].endswith("a.safetensors")
        handle = other.begin_trajectory(x)
        other.end_trajectory(handle, quality=0.9)
        other.force_learn()
        assert other.metrics()["adapters"] == "version 1"


def test_a_background_loop_exposes_its_knowledge(engine):
    loop = engine._session._background
    assert (loop.reasoning_bank.patterns, loop.ewc.task_count, loop.base_lora.num_layers) == ([], 0, 2)
    x = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
    for row in x:
        handle = engine.begin_trajectory(row)
        engine.add_step(handle, row[::-1].copy(), None, 1.0)
        engine.end_trajectory(handle, quality=0.9)
    engine.force_learn()
    remembered = loop.reasoning_bank, loop.base_lora.forward_layer(0, x[0]), loop.ewc.to_arrays()
    loop.cache = None  # as on a server that has not learned itself
    read = loop.reasoning_bank, loop.base_lora.forward_layer(0, x[0]), loop.ewc.to_arrays()
    assert [item.id for item in remembered[0].patterns] == [item.id for item in read[0].patterns]
    assert remembered[0].find(x[0], 1)[0].id == engine.find_patterns(x[0], 1)[0].id
    np.testing.assert_array_equal(remembered[1], engine.apply_base_lora(0, x[0]))
    np.testing.assert_array_equal(remembered[1], read[1])
    for name, values in read[2].items():
        np.testing.assert_array_equal(remembered[2][name], values)
