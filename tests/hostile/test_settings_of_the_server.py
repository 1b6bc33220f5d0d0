"""Settings of an administrator for a role or a database: supported, or refused with a clear error."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from sqlalchemy import make_url

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin import migrate
from sona_pg.store.database import Database

DIM = 8
CONFIG = SonaConfig(
    loops=LoopConfig(automatic=True, shortest_interval=0.0, min_trajectories=5, poll_interval=60.0),
    maintenance=MaintenanceConfig(automatic=False),
)


def with_path(url: str, path: str) -> str:
    options = {"options": f"-c search_path={path}"}
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


def test_a_search_path_without_pgvector_is_refused_by_name(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute('CREATE SCHEMA "Extensions"; ALTER EXTENSION vector SET SCHEMA "Extensions"')
    with pytest.raises(DatabaseError, match=r'ALTER ROLE .* SET search_path = .*, "Extensions"'):
        SonaEngine(DIM, database_url, config=CONFIG)
    with pytest.raises(DatabaseError, match='pgvector is in schema "Extensions"'):
        migrate.upgrade(database_url)
    with SonaEngine(DIM, with_path(database_url, 'public,"Extensions"'), config=CONFIG) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.flush()


@pytest.mark.parametrize("style", ["German", "SQL, DMY"])
def test_all_goes_on_whatever_the_date_style(database_url: str, style: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET datestyle = '{style}'")
        connection.execute(f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'")
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        for _ in range(5):
            trajectory = engine.begin_trajectory(np.ones(DIM, np.float32))
            engine.end_trajectory(trajectory, 0.5)
            engine.feedback(trajectory, 1.0)
            engine.feedback(trajectory, 1.0, sequence=7, source="other")
        engine.flush()
        for _ in range(2):  # the second reads when the first one was
            result = engine.tick()
            for _ in range(5):
                engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
            engine.flush()
            assert result is not None
            assert result.learned
        since = datetime.now(UTC) - timedelta(hours=1)
        assert len(engine.search(np.ones(DIM, np.float32), 3, since=since)) == 3
        assert json.loads(engine.get_stats())["database"] == "answers"
        assert engine.metrics()["waiting_feedback"]["facts"] == 0
    database = Database.open(database_url)
    try:
        assert not [done for done in database.maintenance(MaintenanceConfig()).run() if done.action == "later"]
    finally:
        database.close()


def test_texts_are_utf8_whatever_the_environment_says(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with SonaEngine(2, database_url) as engine:
        engine.end_trajectory(engine.begin_trajectory([1.0, 0.0], query="\u2603 snow"), 1.0)
        engine.flush()
    with psycopg.connect(database_url, client_encoding="utf8") as connection:
        assert connection.execute("SELECT query FROM sona.trajectories").fetchone() == ("\u2603 snow",)
