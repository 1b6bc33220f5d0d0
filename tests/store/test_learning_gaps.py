"""Times in which facts waited and no cycle ran are told after they have ended."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine.overview import Overview
from sona_pg.store.admin.space_health import _learning

DIM = 4
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
NIGHT = timedelta(hours=7)
GAPS = "SELECT waited_from, waited_until, waited, version, failed_cycles FROM sona.learning_gaps ORDER BY waited_from"
# In UTC without a zone: Citus refuses functions of columns that are not immutable in an UPDATE.
EARLIER = """
UPDATE sona.batches SET recorded_at = (recorded_at AT TIME ZONE 'UTC' - %(by)s) AT TIME ZONE 'UTC'
WHERE cycle_id IS NOT DISTINCT FROM %(cycle)s
"""
CYCLE_EARLIER = """
UPDATE sona.cycles SET started_at = (started_at AT TIME ZONE 'UTC' - %(by)s) AT TIME ZONE 'UTC',
    finished_at = (finished_at AT TIME ZONE 'UTC' - %(by)s) AT TIME ZONE 'UTC'
"""


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        yield engine


@pytest.fixture
def raw(database_url):
    with psycopg.connect(database_url, autocommit=True) as raw:
        yield raw


def record(engine):
    engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    engine.flush()


def last_cycle(raw):
    return raw.execute("SELECT cycle_id, started_at FROM sona.cycles ORDER BY started_at DESC LIMIT 1").fetchone()


def test_a_night_without_a_learner_is_told_after_it_has_ended(engine, raw):
    record(engine)
    engine.force_learn()
    first, _ = last_cycle(raw)
    raw.execute(EARLIER, {"by": 2 * NIGHT, "cycle": first})
    raw.execute(CYCLE_EARLIER, {"by": 2 * NIGHT})
    record(engine)
    raw.execute(EARLIER, {"by": NIGHT, "cycle": None})
    ((since, until, waited, version, failed),) = raw.execute(GAPS).fetchall()[1:]
    assert (until, version, failed) == (None, None, 0)
    assert waited >= NIGHT
    engine.force_learn()
    _, began = last_cycle(raw)
    ((told_since, until, waited, version, _),) = raw.execute(GAPS).fetchall()[1:]
    assert (told_since, until, version) == (since, began, 2)
    assert NIGHT <= waited < NIGHT + timedelta(hours=1)
    (day,) = [one for one in Overview(engine).fleet()["waits"] if one["seconds"] >= NIGHT.total_seconds()]
    assert (day["waited_from"], day["waited_until"], day["cycles"] >= 1) == (since, began, True)
    (told,) = [one.found for one in _learning(raw) if one.check == "waits"]
    assert "7.0 h in default" in told


def test_what_came_while_a_cycle_ran_waits_from_its_end(engine, raw):
    record(engine)
    engine.force_learn()
    record(engine)
    began, ended = raw.execute(
        "UPDATE sona.cycles SET started_at = (started_at AT TIME ZONE 'UTC' - interval '2 hours') AT TIME ZONE 'UTC', "
        "finished_at = (finished_at AT TIME ZONE 'UTC' - interval '1 hour') AT TIME ZONE 'UTC' "
        "RETURNING started_at, finished_at"
    ).fetchone()
    raw.execute("UPDATE sona.batches SET recorded_at = %s WHERE cycle_id IS NULL", [began + timedelta(minutes=5)])
    assert raw.execute(GAPS).fetchall()[-1][0] == ended


def test_failed_cycles_do_not_end_a_wait(engine, raw):
    record(engine)
    engine.force_learn()
    cycle, _ = last_cycle(raw)
    record(engine)
    raw.execute(EARLIER, {"by": NIGHT, "cycle": None})
    raw.execute(EARLIER, {"by": 2 * NIGHT, "cycle": cycle})
    raw.execute(CYCLE_EARLIER, {"by": 2 * NIGHT})
    raw.execute(
        "INSERT INTO sona.cycles (space_id, cycle_id, loop, server_id, base_version, version, started_at, finished_at, "
        "trajectories, feedback, set_aside, patterns, error) SELECT space_id, gen_random_uuid(), loop, server_id, 1, "
        "1, now() - interval '1 hour', now(), 0, 0, 0, 0, 'poison' FROM sona.cycles"
    )
    engine.force_learn()
    assert [row[3:] for row in raw.execute(GAPS)] == [(1, 0), (2, 1)]


def test_a_space_that_has_learned_everything_waits_for_nothing(engine, raw):
    assert raw.execute(GAPS).fetchall() == []
    record(engine)
    engine.force_learn()
    (gap,) = raw.execute(GAPS).fetchall()
    assert gap[1] is not None
