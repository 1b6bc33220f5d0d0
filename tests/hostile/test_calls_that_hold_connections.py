"""Calls of the application that hold every connection: records are committed all the same."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg
import pytest
from sqlalchemy import QueuePool

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine.process_runtime import runtimes

DIM = 8
OURS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_the_writer_has_connections_of_its_own(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    config = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False))
    with SonaEngine(DIM, database_url, config=config) as engine, ExitStack() as held:
        runtime = runtimes.take(database_url, tmp_path)
        held.callback(runtimes.release, runtime)
        pool = runtime.database.engine.pool
        assert isinstance(pool, QueuePool)
        for _ in range(pool.size()):
            held.enter_context(runtime.database.engine.connect())
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.flush(5)
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (1,)
            assert connection.execute(OURS).fetchone()[0] <= 8  # type: ignore[index]
