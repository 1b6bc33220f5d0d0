"""Rows inserted by the benchmark of cycles equal those of the writer."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import psycopg  # noqa: E402

from benchmarks.cycles_fill import Filler, Queries, ids_from  # noqa: E402
from benchmarks.server import DIM  # noqa: E402
from sona_pg import SonaConfig, SonaEngine  # noqa: E402
from sona_pg.config import LoopConfig  # noqa: E402


def test_ids_ascend_and_are_version_7() -> None:
    ids = ids_from(1_790_000_000_000, 3000, np.random.default_rng(0))
    keys = [row.tobytes() for row in ids]
    assert keys == sorted(keys)
    assert {row[6] >> 4 for row in keys} == {7}
    assert {row[8] >> 6 for row in keys} == {2}


def test_a_cycle_learns_from_them(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False, slice=60))) as engine:
        queries = Queries(0)
        with psycopg.connect(database_url) as connection:
            (space_id,) = connection.execute("SELECT space_id FROM sona.spaces").fetchone()  # type: ignore[misc]
        for seed in range(2):  # fillers do not collide
            filler = Filler(database_url, space_id, seed)
            names = filler.candidates(20 * seed, queries.draw(20))
            filler.trajectories(queries, 70, 10, ["a", "b"], names)
        result = engine.force_learn()
        assert (result.trajectories, result.feedback, result.candidates, result.set_aside) == (140, 140, 40, 0)
        assert result.cycles == 5
        assert engine.rebuild().equal
