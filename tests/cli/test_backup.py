"""A space travels as one file into another version of Postgres; a store as a dump that is whole or refused."""

from __future__ import annotations

import json
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from fix_homes import temporary_home
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.errors import ConfigError, DatabaseError, SchemaError, SpaceExists, StorageError
from sona_pg.store.admin import dumping
from sona_pg.store.admin.embedded import start_embedded
from sona_pg.store.admin.health import examine

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False))
HELD = """
SELECT count(*) FROM pg_locks WHERE relation = 'sona.spaces'::regclass AND mode = 'ExclusiveLock' AND granted
"""
X = np.linspace(-1, 1, DIM).astype(np.float32)


def told(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def record(engine: SonaEngine, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    documents = np.eye(DIM, dtype=np.float32)
    for row in range(n):
        x = rng.standard_normal(DIM).astype(np.float32)
        ranking = engine.rank(x, documents, ids=[f"d{number}" for number in range(DIM)])
        t = engine.begin_trajectory(x, query=f"question {row % 3}", ranking=ranking)
        engine.add_step(t, documents[row % DIM], None, 0.5)
        engine.add_trajectory_context(t, "user:7")
        engine.set_trajectory_route(t, ranking.ids[0])
        engine.end_trajectory(t, float(rng.random()))
        if row % 4 == 0:
            engine.feedback(t, quality=float(rng.random()), source="judge")
    engine.flush()


def answers(engine: SonaEngine) -> list[Any]:
    documents = engine.rank(X, k=DIM)
    return [
        documents.ids, documents.scores.tolist(), engine.apply_micro_lora(X).tolist(),
        engine.apply_base_lora(0, X).tolist(), [pattern.id for pattern in engine.find_patterns(X)],
        [row.id for row in engine.search(X)], engine.version, engine.metrics()["totals"]["trajectories"],
    ]  # fmt: skip


@pytest.fixture
def taught(database_url: str) -> str:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 60, 0)
        engine.force_learn()
        record(engine, 30, 1)
        engine.force_learn()
        record(engine, 5, 2)
        engine.stage()
    return database_url


@pytest.fixture
def older_url() -> Iterator[str]:
    with temporary_home() as home, start_embedded(home, version=16) as server:
        yield server.url


def test_a_space_travels_into_an_older_postgres_and_learns_on_there(
    taught: str, older_url: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "default.sona")
    written = told("space", "archive", "default", file, "--url", taught)
    read = told("space", "unarchive", file, "--name", "moved", "--url", older_url)
    assert (read["space"], read["dim"], read["rows"]) == ("moved", DIM, written["rows"])
    with psycopg.connect(older_url) as connection:
        assert connection.info.server_version // 10_000 == 16
    with (
        SonaEngine(DIM, taught, config=QUIET, create=False) as here,
        SonaEngine(DIM, older_url, "moved", config=QUIET, create=False) as there,
    ):
        assert answers(there) == answers(here)
        assert there.rebuild().equal
        assert [(v.version, v.status) for v in there.versions()] == [(v.version, v.status) for v in here.versions()]
        assert there.promote(3) == here.promote(3)
        record(there, 5, 3)
        assert there.force_learn().trajectories == 5
        assert there.rebuild().equal


def test_an_archive_that_is_damaged_or_not_one_leaves_nothing_behind(taught: str, tmp_path: Path) -> None:
    file, other = tmp_path / "default.sona", tmp_path / "other.sona"
    told("space", "archive", "default", str(file), "--url", taught)
    whole = file.read_bytes()

    def refused(content: bytes, error: type[Exception], name: str = "copy") -> None:
        other.write_bytes(content)
        done = CliRunner().invoke(app, ["space", "unarchive", str(other), "--name", name, "--url", taught])
        assert isinstance(done.exception, error), done.output

    refused(whole[: len(whole) // 2], StorageError)
    for at in range(50, len(whole) - 50, len(whole) // 12):  # rows, names of tables, manifest, directory
        refused(whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 50]) + whole[at + 50 :], StorageError)
    refused(b"", StorageError)
    refused(whole, SpaceExists, "default")
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        parts = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    for change in ({"format": 99}, {"revision": "9999"}, {"tables": {"unheard_of": {"columns": [], "rows": 0}}}):
        with zipfile.ZipFile(other, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
            archive.writestr("manifest.json", json.dumps(manifest | change))
        refused(other.read_bytes(), SchemaError)
    with psycopg.connect(taught) as connection:
        assert connection.execute("SELECT name FROM sona.space_names").fetchall() == [("default",)]
    assert not list(tmp_path.glob("*~"))


def test_an_archive_carries_what_was_spent_of_the_budget(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "budget.sona")
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.set_budget(10.0, per="day")
        for _ in range(3):
            decision = engine.route(X, ["a", "b"], costs={"a": 1.0, "b": 1.0})
            engine.end_trajectory(engine.begin_trajectory(X, decision=decision), quality=1.0, cost=1.0)
        engine.flush()
        before = engine.budget()
    assert before is not None
    assert before.spent > 0
    told("space", "archive", "default", file, "--url", database_url)
    told("space", "unarchive", file, "--name", "back", "--url", empty_database_url)
    with SonaEngine(DIM, empty_database_url, "back", config=QUIET, create=False) as engine:
        after = engine.budget()
    assert after is not None
    assert (after.spent, after.requests, after.set_at) == (before.spent, before.requests, before.set_at)
    with psycopg.connect(empty_database_url) as connection:
        day = "SELECT budget_day, budget_day_spent, budget_day_requests FROM sona.servers WHERE budget_day IS NOT NULL"
        assert (before.spent, before.requests) in {row[1:] for row in connection.execute(day)}


def test_a_store_is_dumped_and_restored(
    taught: str, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "store.dump")
    assert told("dump", file, "--url", taught)["pg_dump"] == 18
    assert told("restore", file, "--url", empty_database_url)["restored"] is True
    with (
        SonaEngine(DIM, taught, config=QUIET, create=False) as here,
        SonaEngine(DIM, empty_database_url, config=QUIET, create=False) as there,
    ):
        assert answers(there) == answers(here)
        assert there.rebuild().equal
    again = CliRunner().invoke(app, ["restore", file, "--url", empty_database_url])
    assert "there is a store in this database already" in str(again.exception)
    asked = CliRunner().invoke(app, ["restore", file, "--replace", "--url", empty_database_url])
    assert isinstance(asked.exception, ConfigError)
    assert told("restore", file, "--replace", "--yes", "--url", empty_database_url)["restored"] is True
    with monkeypatch.context() as patch:
        patch.setattr(dumping, "_listing", lambda *_: "Dumped from database version: 18")
        patch.setattr(dumping, "_require_whole", lambda *_: 0)
        (tmp_path / "cut.dump").write_bytes(Path(file).read_bytes()[:-5000])
        with pytest.raises(StorageError):
            dumping.restore(empty_database_url, tmp_path / "cut.dump", replace=True)
    with SonaEngine(DIM, empty_database_url, config=QUIET, create=False) as there:
        assert there.version == 2  # the store of before


def test_a_dump_is_noted_also_in_the_figures_of_the_store(taught: str, tmp_path: Path) -> None:
    dumped = "SELECT dumped_at > now() - interval '1 day' FROM sona.schema_revision"
    with psycopg.connect(taught, autocommit=True) as raw:
        assert raw.execute(dumped).fetchone() == (None,)
        told("dump", str(tmp_path / "store.dump"), "--url", taught)
        assert raw.execute(dumped).fetchone() == (True,)
        raw.execute("ALTER TABLE sona.schema_revision DROP COLUMN dumped_at")  # as before an upgrade
        told("dump", str(tmp_path / "older.dump"), "--url", taught)


def test_a_restore_leaves_the_watch_over_dumps_on_and_names_who_is_at_work(taught: str, tmp_path: Path) -> None:
    file = str(tmp_path / "store.dump")
    told("dump", file, "--url", taught)
    noted = "SELECT round(extract(epoch FROM now() - dumped_at)) FROM sona.schema_revision"
    arguments = ["restore", file, "--replace", "--yes", "--url", taught]
    with SonaEngine(DIM, taught, config=QUIET, create=False):
        done = CliRunner().invoke(app, arguments, env={"TZ": "Pacific/Chatham"}, catch_exceptions=False)
    assert f"server {socket.gethostname()}:{os.getpid()}" in done.stderr
    with psycopg.connect(taught) as raw:
        (age,) = raw.execute(noted).fetchone() or (None,)
        assert age is not None
        assert 0 <= age < 600
    assert "At work" not in CliRunner().invoke(app, arguments, catch_exceptions=False).stderr


def schemas(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        named = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'sona%'"
        return {name for (name,) in connection.execute(named)}


def test_a_restore_that_is_ended_midway_leaves_the_store_where_it_is(taught: str, tmp_path: Path) -> None:
    file = tmp_path / "store.dump"
    told("dump", str(file), "--url", taught)

    class EndedError(Exception):
        pass

    def end(done: int, total: int) -> None:
        """Stop feeding psql, as the end of this process does; until then others see the store of before."""
        if done > total // 2:
            with psycopg.connect(taught, autocommit=True) as other:
                while other.execute(HELD).fetchone() == (0,):  # psql has not come so far
                    threading.Event().wait(0.01)
                assert other.execute("SELECT count(*) > 0 FROM sona.trajectories").fetchone() == (True,)
                other.execute("SET lock_timeout = '10ms'")
                with pytest.raises(psycopg.errors.LockNotAvailable):  # records wait
                    other.execute("SELECT FROM sona.spaces FOR KEY SHARE")
            raise EndedError

    with pytest.raises(EndedError):
        dumping.restore(taught, file, replace=True, progress=end)
    assert schemas(taught) == {"sona"}
    with SonaEngine(DIM, taught, config=QUIET, create=False) as engine:
        assert engine.version == 2
    assert dumping.restore(taught, file, replace=True) == []
    assert schemas(taught) == {"sona"}


def test_no_store_is_made_beside_one_that_an_earlier_release_has_moved_away(taught: str, tmp_path: Path) -> None:
    with psycopg.connect(taught) as connection:
        connection.execute("ALTER SCHEMA sona RENAME TO sona_before_restore")
    for open_store in (lambda: SonaEngine(DIM, taught, config=QUIET), lambda: told("space", "list", "--url", taught)):
        with pytest.raises(DatabaseError, match="ALTER SCHEMA sona_before_restore RENAME TO sona puts it back"):
            open_store()
    assert schemas(taught) == {"sona_before_restore"}
    assert [found.status for found in examine(taught) if found.check == "restore"] == ["fault"]


def test_a_dump_that_was_cut_short_changes_nothing(taught: str, empty_database_url: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "store.dump", tmp_path / "cut.dump"
    told("dump", str(whole), "--url", taught)
    content = whole.read_bytes()
    for length in (len(content) - 10, len(content) // 2, 4, 0):
        cut.write_bytes(content[:length])
        done = CliRunner().invoke(app, ["restore", str(cut), "--url", empty_database_url])
        assert isinstance(done.exception, StorageError), length
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('sona')").fetchone() == (None,)


def test_a_role_that_sees_a_part_of_the_rows_cannot_dump(taught: str, tmp_path: Path) -> None:
    role = "dump_test_role"
    with psycopg.connect(taught, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"DROP ROLE IF EXISTS {role}")
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            connection.execute(f"GRANT USAGE ON SCHEMA sona TO {role}")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA sona TO {role}")
            connection.execute("ALTER TABLE sona.batches ENABLE ROW LEVEL SECURITY")
            host = connection.info.host
            with pytest.raises(DatabaseError, match=r"only a part of 1 tables, such as sona\.batches"):
                dumping.dump(f"postgresql://{role}@/{name}?host={host}", tmp_path / "x.dump")
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")
    assert not list(tmp_path.iterdir())


def test_there_must_be_a_pg_dump_for_the_server(empty_database_url: str, tmp_path: Path) -> None:
    assert dumping.programs_for(16).major == 16
    assert dumping.programs_for(18).major == 18
    with pytest.raises(ConfigError, match="postgresql-client-99"):
        dumping.programs_for(99)
    with pytest.raises(DatabaseError, match="no store"):
        dumping.dump(empty_database_url, tmp_path / "x.dump")
