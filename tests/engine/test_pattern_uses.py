"""Patterns tell when they were made, how often they were found on all servers, and when last."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.database import Database

DIM = 8
CONFIG = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False), patterns=PatternConfig(clusters=2, min_size=2))
ONE, OTHER = np.eye(DIM, dtype=np.float32)[:2]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        for query in (ONE, OTHER):
            for _ in range(5):
                opened.end_trajectory(opened.begin_trajectory(query), 0.9)
        opened.force_learn()
        yield opened


def uses(engine: SonaEngine) -> dict[int, tuple[int, bool]]:
    return {
        int(np.argmax(pattern.centroid)): (pattern.access_count, pattern.last_accessed is not None)
        for pattern in engine.find_patterns(ONE, 9)
    }


def test_patterns_that_were_found_are_counted_on_all_servers_and_no_version_holds_it(engine, database_url):
    assert uses(engine) == {0: (0, False), 1: (0, False)}  # the first access of each
    for _ in range(3):
        engine.find_patterns(OTHER, 1)
        engine.find_patterns(OTHER, 1, min_quality=0.5)
    with SonaEngine(DIM, database_url, config=CONFIG) as beside:
        beside.find_patterns(ONE, 1)
    engine.refresh()
    assert uses(engine) == {0: (2, True), 1: (7, True)}
    assert engine.rebuild().equal
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT access_count, last_accessed, created_at FROM sona.pattern_summary").fetchall()
        (now,) = connection.execute("SELECT now()").fetchone()
    assert sorted(count for count, *_ in rows) == [3, 8]  # that of the line above, too: rebuild refreshes
    assert all(timedelta() <= now - at < timedelta(minutes=1) for _, *times in rows for at in times)
    found = engine.find_patterns(ONE, 1)
    assert pickle.loads(pickle.dumps(found))[0].created_at == found[0].created_at is not None


def test_the_age_and_the_uses_of_a_pattern_outlive_its_versions_and_its_servers(engine, database_url):
    engine.find_patterns(ONE, 1)
    made = engine.find_patterns(ONE, 1)[0].created_at
    engine.end_trajectory(engine.begin_trajectory(ONE), 0.1)
    engine.force_learn()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO sona.pattern_uses (space_id, pattern_id, access_count) SELECT space_id, gen_random_uuid(), 1 "
            "FROM sona.spaces"
        )
    database = Database.open(database_url, "check")
    done = list(database.maintenance(MaintenanceConfig(keep_versions=1)).run())
    database.close()
    assert "1 uses of patterns" in [action.detail for action in done]
    with SonaEngine(DIM, database_url, config=CONFIG) as later:
        found = later.find_patterns(ONE, 1)[0]
    assert found.created_at == made is not None
    assert found.access_count == 2


def test_accesses_that_could_not_be_sent_are_sent_later(engine, monkeypatch):
    engine.refresh()
    engine.find_patterns(ONE, 1)
    session = engine._session
    with monkeypatch.context() as patched:
        patched.setattr(type(session.database), "count_found", _away)
        with pytest.raises(DatabaseUnavailable):
            session.uses.send(session.space)
    session.uses.send(session.space)
    assert engine.find_patterns(ONE, 1)[0].access_count == 1


def _away(*_: object) -> None:
    raise DatabaseUnavailable("away")
