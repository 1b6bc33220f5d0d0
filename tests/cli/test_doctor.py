"""The doctor says what is wrong with a store and this machine, and what to do; its exit code tells."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.cli import doctor_command
from sona_pg.cli.commands import app
from sona_pg.config import LoopConfig
from sona_pg.errors import LearningError
from sona_pg.ingest.leftovers import left_over
from sona_pg.store import worker_sessions
from sona_pg.store.admin import health, held_locks, migrate, space_health
from sona_pg.store.admin.migrate import downgrade
from sona_pg.store.database import Database
from sona_pg.store.worker_sessions import PREFIX, connected_workers, own_name
from sona_pg.worker import background

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False))


def examined(url: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the worst finding of each check."""
    done = CliRunner().invoke(app, ["doctor", "--url", url])
    order = ("ok", "warning", "fault")
    worst: dict[str, dict[str, Any]] = {}
    for row in map(json.loads, done.stdout.splitlines()):
        if row["check"] not in worst or order.index(row["status"]) > order.index(worst[row["check"]]["status"]):
            worst[row["check"]] = row
    assert all(row["advice"] or row["status"] == "ok" for row in worst.values())
    return done.exit_code, worst


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' server is not durable, and the disk is small: as if they were well."""
    risky = ("fsync", "full_page_writes")
    monkeypatch.setattr(health, "SETTINGS", [known for known in health.SETTINGS if known[0] not in risky])
    monkeypatch.setattr(doctor_command, "LITTLE_DISK", (0, 0))


@pytest.mark.usefixtures("durable")
def test_a_store_that_is_well_has_nothing_to_be_done(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.force_learn()
        code, found = examined(database_url)
    assert {name: row for name, row in found.items() if row["status"] != "ok"} == {}
    assert code == 0
    assert {"database", "extension", "schema", "settings", "clocks", "pooler", "lag", "learning", "disk"} <= set(found)


def test_an_unreachable_database_and_an_old_schema_are_faults(database_url: str) -> None:
    code, found = examined("postgresql://nobody:hunter2@127.0.0.1:9/x")
    assert (code, found["database"]["status"]) == (2, "fault")
    assert "hunter2" not in str(found)
    downgrade(database_url, "0015")
    code, found = examined(database_url)
    assert (code, found["schema"]["status"]) == (2, "fault")
    assert "sona-pg db upgrade" in found["schema"]["found"]
    assert "learning" not in found


@pytest.mark.usefixtures("durable")
def test_a_locked_table_is_a_fault_that_names_the_session(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_locks, "WAIT", 50)
    with psycopg.connect(database_url, application_name="somebody") as holder:
        holder.execute("LOCK TABLE sona.spaces IN ACCESS EXCLUSIVE MODE")
        code, found = examined(database_url)
        pid = holder.info.backend_pid
    assert (code, found["locks"]["status"]) == (2, "fault")
    assert f"sona.spaces is locked by pid {pid} (somebody) in a transaction since 2" in found["locks"]["found"]
    assert str(pid) in found["locks"]["advice"]
    assert "locks" not in examined(database_url)[1]


@pytest.mark.usefixtures("durable")
def test_a_database_without_a_store_is_a_warning(empty_database_url: str) -> None:
    code, found = examined(empty_database_url)
    assert (code, found["schema"]["status"], found["extension"]["status"]) == (1, "warning", "warning")


@pytest.mark.parametrize(
    ("unfit", "check", "told"),
    [
        ({"server_number": 150_007}, "database", "runs Postgres 15, expected 16 or newer"),
        ({"pgvector": None, "pgvector_offered": None}, "extension", "has no pgvector: install"),
        ({"pgvector": None, "pgvector_offered": "0.7.4"}, "extension", "has pgvector 0.7.4, expected 0.8"),
    ],
)
def test_a_server_that_an_upgrade_would_refuse_is_a_fault(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, unfit: dict[str, Any], check: str, told: str
) -> None:
    found = dataclasses.replace(migrate.status(empty_database_url), **unfit)
    monkeypatch.setattr(migrate, "status", lambda _: found)
    code, worst = examined(empty_database_url)
    assert (code, worst[check]["status"]) == (2, "fault")
    assert told in worst[check]["found"]


@pytest.mark.usefixtures("durable")
def test_a_later_schema_that_serves_this_release_is_a_warning(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.schema_revision SET version_num = '9999'")
    code, found = examined(database_url)
    assert (code, found["schema"]["status"]) == (1, "warning")
    assert "revision 9999 is of a later release of sona-pg, which still serves this one" in found["schema"]["found"]
    assert "learning" in found


def test_settings_that_risk_data_are_faults(database_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        connection.execute(f"ALTER DATABASE \"{name}\" SET statement_timeout = '2s'")
    _, found = examined(database_url)
    assert found["settings"]["status"] == "fault"


@pytest.mark.usefixtures("durable")
def test_learning_that_fails_or_that_nobody_does_is_a_fault(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LearningError("no way on")

    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        for _ in range(100):
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.batches SET recorded_at = now() - interval '3 h'")
        code, found = examined(database_url)
        assert (code, found["learning"]["status"]) == (2, "fault")
        assert "nobody learns: default: 100 facts for 3.0 h" in found["learning"]["found"]
        assert "sona-pg worker" in found["learning"]["advice"]
        with monkeypatch.context() as patch:
            patch.setattr(background, "learn", fail)
            with pytest.raises(LearningError):
                engine.force_learn()
        told = examined(database_url)[1]["learning"]["found"]
        assert re.fullmatch(r"cycles fail in default since 2\S+ \S+ UTC, 1 in a row: LearningError: no way on", told)


@pytest.mark.usefixtures("durable")
def test_servers_that_lag_drop_or_have_wrong_clocks_are_named(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
        engine.force_learn()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.state_versions SET created_at = now() - interval '5 min'")
        connection.execute(
            """
            UPDATE sona.servers SET ended_at = NULL, seen_at = now(), started_at = now() - interval '1 h',
                serving_version = 0, dropped = 7, conflicting = 5, skew_ms = -90000
            """
        )
    code, found = examined(database_url)
    assert code == 2
    assert "1 behind" in found["lag"]["found"]
    assert "-90.0 s" in found["clocks"]["found"]
    assert found["ids"]["found"].endswith("not stored: default: 5")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.servers SET serving_version = 1")
    code, found = examined(database_url)
    assert (code, found["lag"]["status"]) == (1, "warning")


@pytest.mark.usefixtures("durable")
def test_feedback_given_in_another_space_than_its_record_is_told(database_url: str) -> None:
    """Nothing is learned from it, and no call refuses it: its trajectory may still be on its way."""
    with Store(database_url) as store:
        right, wrong = (store.space(name, hidden_dim=DIM, config=QUIET) for name in ("right", "wrong"))
        t = right.begin_trajectory(np.ones(DIM, np.float32))
        right.end_trajectory(t)
        right.feedback(t.id, quality=1.0)
        wrong.feedback(t.id, quality=1.0)
        for engine in (right, wrong):
            engine.flush()
    assert "feedback" not in examined(database_url)[1]
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.feedback SET recorded_at = recorded_at - interval '2 hours'")
    code, found = examined(database_url)
    assert (code, found["feedback"]["status"]) == (1, "warning")
    assert re.search(r"no record of: wrong: 1 since 2\S+ \S+ UTC$", found["feedback"]["found"])


@pytest.mark.usefixtures("durable")
def test_facts_that_wait_beyond_an_interval_are_a_fault(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        for _ in range(100):
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    for minutes, status in ((65, "ok"), (75, "fault")):
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.batches SET recorded_at = now() - %s * interval '1 min'", [minutes])
        assert examined(database_url)[1]["learning"]["status"] == status


@pytest.mark.usefixtures("durable")
def test_maintenance_and_dumps_that_have_stopped_are_warnings(database_url: str) -> None:
    found = examined(database_url)[1]
    assert found["maintenance"]["status"] == "ok"
    assert (found["dump"]["status"], "never" in found["dump"]["found"]) == ("ok", True)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.schema_revision SET maintained_at = now() - interval '9 days'")
        connection.execute("UPDATE sona.schema_revision SET dumped_at = now() - interval '3 days'")
    code, found = examined(database_url)
    assert (code, found["maintenance"]["status"], found["dump"]["status"]) == (1, "warning", "warning")
    assert "9.0 days ago" in found["maintenance"]["found"]


def test_workers_are_listed_while_they_are_connected(database_url: str) -> None:
    _, found = examined(database_url)
    assert found["workers"]["found"].startswith("none is connected")
    worker = Database.at(database_url, name=own_name())
    worker.prepare()
    worker.named_spaces()
    try:
        _, found = examined(database_url)
        assert f":{os.getpid()}: since 20" in found["workers"]["found"]
        listed = CliRunner().invoke(app, ["fleet", "--workers", "--url", database_url], catch_exceptions=False)
        assert json.loads(listed.output)["worker"].endswith(f":{os.getpid()}")
    finally:
        worker.close()


def test_a_worker_whose_times_are_hidden_from_the_role_is_listed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE blind_doctor LOGIN PASSWORD 'blind'")
        admin.execute("GRANT USAGE ON SCHEMA sona TO blind_doctor")
        try:
            with (
                psycopg.connect(database_url, application_name=own_name()),
                psycopg.connect(database_url, user="blind_doctor", password="blind") as blind,
            ):
                (found,) = connected_workers(blind)
                told = space_health._workers(blind)
        finally:
            admin.execute("DROP OWNED BY blind_doctor")
            admin.execute("DROP ROLE blind_doctor")
    assert found.connected_since is None
    assert f":{os.getpid()}: since when is hidden" in told.found


def test_a_session_that_a_pooler_kept_of_a_dead_worker_is_none(database_url: str, monkeypatch) -> None:
    monkeypatch.setattr(worker_sessions, "SILENCE", timedelta(0))
    with (
        psycopg.connect(database_url, application_name=own_name()) as kept,
        psycopg.connect(database_url, autocommit=True) as raw,
    ):
        kept.execute("SELECT 1")
        assert [one.worker for one in connected_workers(raw)] == [own_name().removeprefix(PREFIX)]  # in a transaction
        kept.commit()
        assert connected_workers(raw) == []


def test_records_of_killed_processes_are_found_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "1" / "1-2-3"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("000000000001 0000000000000010\n")
    (folder / "00000001").write_bytes(b"x" * 10)
    assert left_over(tmp_path / "spool") == ({}, 0)  # all of it is committed
    (folder / "00000001").write_bytes(b"x" * 25)
    assert left_over(tmp_path / "spool") == ({str(folder): 15}, 0)
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert left_over(tmp_path / "spool") == ({}, 0)
    (tmp_path / "spool" / "1" / "set-aside").mkdir()
    (tmp_path / "spool" / "1" / "set-aside" / "file").write_bytes(b"x")
    assert [row.status for row in doctor_command._leftovers(tmp_path)] == ["warning", "warning"]


def test_a_full_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_command, "LITTLE_DISK", (1 << 60, 2 << 60))
    assert [row.status for row in doctor_command._disk(tmp_path / "not" / "made")] == ["fault"]
