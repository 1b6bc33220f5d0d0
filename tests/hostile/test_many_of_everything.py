"""No statement binds a parameter per row: learning is not limited to 65,535 of anything."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.store import candidates, learned, pattern_rows
from sona_pg.store.database import Database

DIM = 4
MANY = 66_000
QUIET = SonaConfig(loops=LoopConfig(automatic=False, replay=50))


def test_more_batches_than_a_statement_has_parameters(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "INSERT INTO sona.batches (space_id, batch, server_id, trajectories, steps, feedback, recorded_at)"
                " SELECT 1, n, gen_random_uuid(), 0, 0, 0, now() FROM generate_series(1, %s) n",
                [MANY],
            )
        assert engine.force_learn().trajectories == 1
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL").fetchone() == (0,)
        assert engine.rebuild().equal


def test_more_sets_and_patterns_than_a_statement_has_parameters(database_url):
    database = Database.open(database_url)
    space = database.open_space("default", DIM, database.now())
    with database.engine.begin() as connection:
        assert candidates.read_sets(connection, space.space_id, list(range(MANY))) == {}
        pattern_rows.write_patterns(connection, space.space_id, [], [uuid7() for _ in range(MANY)], database.now())
    database.close()


def test_a_hundred_thousand_candidates_get_their_slots_in_one_statement(database_url):
    database = Database.open(database_url)
    space = database.open_space("default", DIM, database.now())
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)"
            f" SELECT {space.space_id}, 'c' || n, now(), '[1,0,0,0]' FROM generate_series(1, {MANY}) n"
        )
        assert candidates.assign_slots(connection, space.space_id) == MANY
        catalog = candidates.read_catalog(connection, space.space_id, DIM)
    assert catalog.ids == sorted(f"c{n}" for n in range(1, MANY + 1))
    database.close()


@pytest.mark.parametrize("words", [40_000])
def test_long_texts_are_cut_where_they_are_learned_from(database_url, words):
    text = "why if " * words  # 280 kB
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        for number in range(30):
            handle = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[number % DIM], query=f"{number} {text}")
            engine.end_trajectory(handle, 0.5)
        assert engine.force_learn().trajectories == 30
        kept = [query for pattern in engine.find_patterns(np.ones(DIM), 10) for query in pattern.typical_queries]
        assert kept
        assert max(map(len, kept)) == 300
        assert engine.rebuild().equal


def test_a_pattern_that_has_merged_an_older_one_is_stored_as_old_as_that(database_url):
    """Patterns are ordered by it: alternating learners, and a rebuild, would continue from different orders."""
    database = Database.open(database_url)
    space = database.open_space("default", DIM, database.now())
    older, younger = (
        LearnedPattern(uuid7(), np.eye(DIM, dtype=np.float32)[0], size, 1.0, 0.5, created_version=version)
        for size, version in ((5, 3), (9, 7))
    )
    with database.engine.begin() as connection:
        pattern_rows.write_patterns(connection, space.space_id, [older, younger], [], database.now())
        merged = younger.merge(older)
        pattern_rows.write_patterns(connection, space.space_id, [merged], [older.id], database.now())
        [stored] = learned.read_live_patterns(connection, space.space_id)
    assert stored.created_version == merged.created_version == 3
    database.close()


def test_routes_of_any_name_come_back_as_they_were(database_url):
    """They travel in COPY's text format, whose separators and escapes are letters of names, too."""
    database = Database.open(database_url)
    space = database.open_space("default", DIM, database.now())
    names = ["a\tb", "a\nb", "a\rb", "a\\b", "\\N", "\\.", "é\u2028", "'", '"', " ", "%s", "{}"]
    routes = {name: RouteRecord(place + 1, 1 / 3 + place, 0.1) for place, name in enumerate(names)}
    pattern = LearnedPattern(uuid7(), np.eye(DIM, dtype=np.float32)[0], 9, 1.0, 0.5, created_version=1, routes=routes)
    with database.engine.begin() as connection:
        pattern_rows.write_patterns(connection, space.space_id, [pattern], [], database.now())
        [stored] = learned.read_live_patterns(connection, space.space_id)
        assert stored.routes == routes
        pattern_rows.write_patterns(connection, space.space_id, [pattern.decay(0.5)], [], database.now())
        [stored] = learned.read_live_patterns(connection, space.space_id)
        assert stored.routes == pattern.decay(0.5).routes
    database.close()
