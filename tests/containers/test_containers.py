"""Postgres in Docker, as users run it: over TCP, with a password, from the image they pull.

The folder is not called `docker`: that would be a package of this name on pytest's path.
"""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from fix_servers import Server

from sona_pg import SonaEngine

pytestmark = pytest.mark.docker
DIM = 16


def test_the_image_is_postgres_with_pgvector(postgres_server: Server) -> None:
    assert postgres_server.version.startswith("Postgres 1")
    assert "pgvector 0." in postgres_server.version
    assert postgres_server.url.startswith("postgresql://sona:sona@")


def test_one_engine_reads_the_records_of_another(database_url: str) -> None:
    rng = np.random.default_rng(0)
    good, bad = np.eye(2, DIM, dtype=np.float32)
    with SonaEngine(hidden_dim=DIM, url=database_url, space="docker") as engine:
        for index in range(40):
            centre = good if index % 2 else bad
            trajectory = engine.begin_trajectory(centre + 0.05 * rng.standard_normal(DIM).astype(np.float32))
            engine.set_trajectory_route(trajectory, "large" if index % 2 else "small")
            engine.end_trajectory(trajectory, quality=0.9 if index % 2 else 0.4)
        engine.flush()
        engine.force_learn()

    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (40,)

    with SonaEngine(hidden_dim=DIM, url=database_url, space="docker") as other:
        nearest = other.find_patterns(good, k=1)[0]
        assert nearest.size == 20
        assert nearest.quality == pytest.approx(0.9, abs=0.01)
        assert json.loads(other.get_stats())
