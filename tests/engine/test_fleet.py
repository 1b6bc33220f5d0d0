"""The fleet: live, ended and deleted servers; feedback without a trajectory."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.store.database import Database
from sona_pg.worker.learner import Learner

pytestmark = pytest.mark.no_vectors

DIM = 8
X = np.ones(DIM, np.float32)
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=0.1), maintenance=MaintenanceConfig(automatic=False)
)  # fmt: skip


def states(url: str) -> dict[uuid.UUID, str]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT server_id, state FROM sona.fleet").fetchall())


def silence(url: str, server: uuid.UUID, ago: timedelta) -> None:
    """Backdate a server's last heartbeat."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE sona.servers SET seen_at = %s WHERE server_id = %s", [datetime.now(UTC) - ago, server]
        )  # fmt: skip


@pytest.mark.every_server
def test_a_server_is_live_then_ended_and_one_that_was_killed_is_gone(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as first, SonaEngine(DIM, database_url, config=QUIET) as second:
        first.refresh(), second.refresh()
        assert states(database_url) == {first.server_id: "live", second.server_id: "live"}
        assert first.metrics()["totals"]["servers"] == 2
        second.close()
        assert states(database_url) == {first.server_id: "live", second.server_id: "ended"}
        assert first.metrics()["totals"]["servers"] == 1
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.servers SET ended_at = NULL")  # as if it had been killed
    silence(database_url, first.server_id, timedelta(minutes=3))
    assert states(database_url)[first.server_id] == "gone"


def test_a_server_that_ends_before_its_next_heartbeat_has_told_the_version_that_it_served(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        session = engine._session
        for _ in range(20):
            engine.end_trajectory(engine.begin_trajectory(X), 1.0)
        engine.force_learn()
        assert session.serving.version == 1
        with psycopg.connect(database_url) as connection:  # as if it had served the version since the last heartbeat
            session.runtime.follower.leave(session)
            connection.execute("UPDATE sona.servers SET serving_version = 0")
    with psycopg.connect(database_url) as connection:
        told = connection.execute("SELECT state, serving_version, versions_behind FROM sona.fleet").fetchall()
    assert told == [("ended", 1, 0)]


def test_a_server_signs_off_though_its_last_cycle_took_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Nothing is heard of the database between the follower's end and the learner's: that is no outage."""
    remove = Learner.remove

    def slowly(learner: Learner, *told: Any) -> None:
        engine._session.runtime.follower.last_contact -= 3600
        remove(learner, *told)

    monkeypatch.setattr(Learner, "remove", slowly)
    patient = LoopConfig(automatic=False, poll_interval=60.0)
    with SonaEngine(DIM, database_url, config=QUIET.replace(loops=patient)) as engine:
        pass
    assert states(database_url) == {engine.server_id: "ended"}


def test_maintenance_deletes_old_servers_and_keeps_their_counters(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.end_trajectory(engine.begin_trajectory(X), quality=1.0)
        engine.feedback(uuid.uuid4(), quality=1.0)
    silence(database_url, engine.server_id, timedelta(days=8))
    with SonaEngine(DIM, database_url, config=QUIET) as later:
        database = Database.open(database_url)
        done = [each for each in database.maintenance(MaintenanceConfig()).run() if each.action == "forgot"]
        assert [(each.action, each.detail.split()[0]) for each in done] == [("forgot", "1")]
        assert not any(each.action == "forgot" for each in database.maintenance(MaintenanceConfig()).run())
        database.close()
        assert engine.server_id not in states(database_url)
        totals = later.metrics()["totals"]
        assert (totals["trajectories"], totals["feedback"]) == (1, 1)


def test_records_of_a_server_that_was_forgotten_count_before_its_next_heartbeat(database_url: str) -> None:
    deaf = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=600.0))
    with SonaEngine(DIM, database_url, config=deaf) as engine:
        with psycopg.connect(database_url) as connection:
            connection.execute("DELETE FROM sona.servers")
        for sequence in (None, 1):
            engine.end_trajectory(engine.begin_trajectory(X), quality=1.0)
            engine.feedback(uuid.uuid4(), quality=1.0, sequence=sequence)
            engine.flush()
        totals = engine.metrics()["totals"]
        assert (totals["trajectories"], totals["feedback"]) == (2, 2)
        engine.refresh()
        engine.end_trajectory(engine.begin_trajectory(X), quality=1.0)
        engine.flush()
        assert engine.metrics()["totals"]["trajectories"] == 3


def test_a_server_that_was_forgotten_while_it_slept_is_listed_again(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        with psycopg.connect(database_url) as connection:
            connection.execute("DELETE FROM sona.servers")
        engine.refresh()
        assert states(database_url) == {engine.server_id: "live"}


@pytest.mark.every_server
def test_feedback_waits_in_sight_until_its_trajectory_comes(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        late, lost = engine.begin_trajectory(X), uuid.uuid4()
        engine.feedback(late, quality=0.5)
        engine.feedback(lost, quality=0.0, source="user")
        engine.feedback(lost, quality=1.0, source="user")
        engine.feedback(lost, correction="d1", source="judge")
        engine.feedback(lost, retract=True, source="judge")
        engine.flush()
        assert engine.metrics()["waiting_feedback"]["facts"] == 5
        assert "waiting_feedback" in engine.get_stats()
        engine.end_trajectory(late)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            rows = connection.execute(
                "SELECT trajectory_id, source, quality, age FROM sona.waiting_feedback WHERE space = 'default'"
            ).fetchall()
        assert [row[:3] for row in rows] == [(lost, "user", 1.0)]
        assert timedelta(0) <= rows[0][3] < timedelta(minutes=5)
