"""The engine searches the ledger and keeps its tables in shape by itself."""

from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.errors import InvalidValue

pytestmark = pytest.mark.no_vectors

DIM = 16


def test_a_search_finds_recorded_trajectories(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        ids = []
        for row in np.eye(DIM, dtype=np.float32):
            t = engine.begin_trajectory(row, query="q")
            engine.end_trajectory(t, 0.5)
            ids.append(t.id)
        engine.flush()
        found = engine.search(2 * np.eye(DIM)[1], 3)
        assert found[0].id == ids[1]
        assert (len(found), found.complete, found[0].quality) == (3, True, 0.5)
        for nonsense in ({"k": 0}, {"min_quality": 2.0}, {"since": datetime(2026, 1, 1)}):
            with pytest.raises(InvalidValue):
                engine.search(np.ones(DIM), **nonsense)
        with pytest.raises(InvalidValue, match="length 0"):
            engine.search(np.zeros(DIM))


def test_an_engine_maintains_the_store_by_itself(database_url: str) -> None:
    config = SonaConfig(maintenance=MaintenanceConfig(interval=0.05, weeks_ahead=6))
    with SonaEngine.with_config(config.replace(hidden_dim=DIM), url=database_url):
        deadline = time.monotonic() + 20
        while weeks_of(database_url) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert weeks_of(database_url) == 8


def weeks_of(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^trajectories_w[0-9]+$'").fetchone()
    return 0 if found is None else int(found[0])
