"""Accidents of applications: dropped handles, embeddings close to 0, feedback while recording is off."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import psycopg
import pytest
from fix_ingest import DIM, Space
from numpy.typing import NDArray

from sona_pg import InvalidValue, SonaEngine
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath, keep_directions

OpenWriter = Callable[..., Writer]
ONE = np.ones(DIM, np.float32)


def test_handles_that_are_never_ended_are_counted() -> None:
    hot = HotPath(DIM, 10, 1 << 16)
    for _ in range(3):
        hot.add_step(hot.begin_trajectory(ONE), reward=1.0)
    hot.end_trajectory(hot.begin_trajectory(ONE))
    with pytest.raises(InvalidValue):
        hot.begin_trajectory(np.zeros(DIM, np.float32))  # was never begun
    open_one = hot.begin_trajectory(ONE)
    assert hot.abandoned_count == 3
    del open_one
    assert (hot.abandoned_count, hot.recorded_count) == (4, 1)


def test_an_engine_tells_how_many_were_abandoned(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        engine.begin_trajectory(ONE)
        assert engine.metrics()["server"]["abandoned"] == 1


def test_while_recording_is_off_feedback_is_checked_and_forgotten(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        t = engine.begin_trajectory(ONE)
        engine.end_trajectory(t)
        engine.set_enabled(False)
        assert engine.feedback(t, 1.0) > 0
        with pytest.raises(InvalidValue):
            engine.feedback(t, 2.0)
        engine.set_enabled(True)
        engine.feedback(t, 0.5)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT quality FROM sona.feedback").fetchall() == [(0.5,)]


def turned(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the sine of the angle between two vectors, by the longer way, which is exact for small ones."""
    a, b = (np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64)) for x in (first, second))
    return float(np.linalg.norm(a - b))


@pytest.mark.parametrize("dim", [1, 3, 16, 256, 16_000])
@pytest.mark.parametrize("length", [1e-38, 1e-12, 1e-6, 1e-4, 1e-2, 1.0, 100.0])
def test_half_precision_turns_no_embedding_by_more_than_its_rounding(dim: int, length: float) -> None:
    rng = np.random.default_rng(dim)
    values = rng.standard_normal((4, dim))
    rows = (values / np.linalg.norm(values, axis=1, keepdims=True) * length).astype(np.float32)
    kept = rows.copy()
    keep_directions(kept)
    for row, stored in zip(rows, kept.astype(np.float16), strict=True):
        assert turned(row, stored.astype(np.float32)) <= 2**-10 if length > 1e-30 else np.abs(stored).max() > 0.1
    if length >= 1.0:
        assert np.array_equal(kept, rows)


def test_a_tiny_embedding_is_stored_with_its_direction(space: Space, open_writer: OpenWriter, hot: HotPath) -> None:
    writer = open_writer(hot)
    tiny = np.linspace(1, 2, DIM).astype(np.float32) * np.float32(1e-12)
    hot.end_trajectory(hot.begin_trajectory(tiny))
    writer.enqueue_candidates(["a"], tiny[None, :])
    writer.flush(10)
    for query in ("SELECT embedding::text FROM sona.trajectories", "SELECT embedding::text FROM sona.candidates"):
        [(text,)] = space.rows(query)
        assert turned(tiny, np.array(text.strip("[]").split(","), np.float32)) < 2**-10


def test_ids_do_not_follow_the_seeds_of_the_application() -> None:
    import random

    ids: set[uuid.UUID] = set()
    for _ in range(100):
        random.seed(0)
        np.random.seed(0)
        ids.add(HotPath(DIM, 1, 1 << 16).begin_trajectory(ONE).id)
    assert len({name.int & (2**62 - 1) for name in ids}) == 100
