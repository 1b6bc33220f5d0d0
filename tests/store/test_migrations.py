"""Migrations: up and down, empty and populated, one at a time, and equal to the SQLAlchemy metadata."""

from __future__ import annotations

import threading
from importlib.resources import files

import numpy as np
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sona_pg import SonaEngine
from sona_pg.errors import ConfigError, DatabaseUnavailable, SchemaError
from sona_pg.store.admin import migrate
from sona_pg.store.connect import connect
from sona_pg.store.database import Database
from sona_pg.store.schema import metadata

FLOOR = "CREATE OR REPLACE FUNCTION sona.serves_from() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN '{}'; END $$"


@pytest.mark.every_server
def test_upgrade_makes_the_schema_once(empty_database_url: str) -> None:
    assert migrate.status(empty_database_url).revision is None
    first = migrate.upgrade(empty_database_url)
    assert first.current
    assert first == migrate.upgrade(empty_database_url) == migrate.status(empty_database_url)


@pytest.mark.every_server
def test_down_and_up_again_leaves_the_same_schema(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    before = columns_of(empty_database_url)
    migrate.downgrade(empty_database_url)
    assert columns_of(empty_database_url) == []
    migrate.upgrade(empty_database_url)
    assert columns_of(empty_database_url) == before


def test_a_populated_database_goes_down_and_up(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO sona.space_names (name) VALUES ('old')")
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (1, 'old', 8, '2026-11-20')"
        )
        connection.execute("SELECT sona.ensure_dimension(8)")
        connection.execute("SELECT sona.ensure_partitions('2026-11-20', 2)")
    assert migrate.downgrade(database_url).revision is None
    assert migrate.upgrade(database_url).current


def test_fisher_snapshots_of_before_are_diagonal_and_sketches_do_not_survive_going_back(
    empty_database_url: str,
) -> None:
    insert = (
        "INSERT INTO sona.fisher_snapshots (space_id, task, layer, version, created_at, fisher, optimum{}) VALUES {}"
    )
    migrate.upgrade(empty_database_url, "0001")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO sona.space_names (name) VALUES ('old')")
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (1, 'old', 8, '2026-11-20')"
        )
        connection.execute(insert.format("", "(1, 0, 0, 1, '2026-11-20', 'abcd', 'abcd')"))
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            insert.format("", "(1, 1, 0, 2, '2026-11-20', 'abcd', 'abcd')")
        )  # as the release before does
        connection.execute(insert.format(", kind", "(1, 2, 0, 3, '2026-11-20', 'abcdefgh', 'abcd', 'kronecker')"))
        kinds = connection.execute("SELECT kind FROM sona.fisher_snapshots ORDER BY task").fetchall()
        assert kinds == [("diagonal",), ("diagonal",), ("kronecker",)]
    migrate.downgrade(empty_database_url, "0001")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT task FROM sona.fisher_snapshots ORDER BY task").fetchall() == [(0,), (1,)]


def test_routes_that_were_let_in_before_are_brought_into_bounds(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0002")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO sona.space_names (name) VALUES ('old')")
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (1, 'old', 2, '2026-11-20')"
        )
        connection.cursor().executemany(
            "INSERT INTO sona.trajectories (space_id, id, batch, step_count, route, embedding)"
            " VALUES (1, gen_random_uuid(), 1, 0, %s, '[1,0]')",
            [("",), ("ö" * 700,), ("gpt",), (None,)],
        )
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        routes = connection.execute("SELECT route FROM sona.trajectories ORDER BY route NULLS LAST").fetchall()
        assert routes == [("gpt",), ("ö" * 250,), (None,), (None,)]
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("UPDATE sona.trajectories SET route = ''")


def test_the_index_of_existing_patterns_is_rebuilt(empty_database_url: str) -> None:
    def parameters(connection: psycopg.Connection) -> list[str] | None:
        found = connection.execute("SELECT reloptions FROM pg_class WHERE relname = 'patterns_d8_hnsw'").fetchone()
        return found and found[0]

    migrate.upgrade(empty_database_url, "0003")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("SELECT sona.ensure_dimension(8)")
        assert parameters(connection) is None
        migrate.upgrade(empty_database_url)
        assert parameters(connection) == ["m=8", "ef_construction=32"]


def test_concurrent_upgrades_wait_for_one_another(empty_database_url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate.upgrade(empty_database_url)
        except BaseException as exc:  # noqa: BLE001 - handed to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrate.status(empty_database_url).current


def test_the_migrated_schema_equals_the_metadata(database_url: str) -> None:
    engine = connect(database_url)
    try:
        with engine.connect() as connection:
            connection.dialect.default_schema_name = "public"  # even for a role that is called sona
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "version_table": "schema_revision",
                    "version_table_schema": "sona",
                    "compare_type": True,
                    "compare_server_default": True,
                    "include_name": lambda name, kind, _: kind != "schema" or name == "sona",
                    "include_object": lambda item, name, kind, reflected, other: (
                        not (kind == "table" and reflected and name.endswith("_rest"))
                    ),
                },
            )
            differences = flat(compare_metadata(context, metadata))
    finally:
        engine.dispose()
    assert [change for change in differences if "comment" not in change[0]] == []


def test_revisions_are_named_as_alembic_knows_them(database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("sona_pg.migrations")))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == migrate.status(database_url).head


def test_a_newer_schema_is_refused_with_what_to_do(database_url: str) -> None:
    head = migrate.status(database_url).head
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.schema_revision SET version_num = '9999'")
        connection.execute(FLOOR.format("9999"))
    for action in (Database.open, migrate.upgrade):
        with pytest.raises(SchemaError, match=rf"revision 9999.*knows up to {head}.*upgrade sona-pg"):
            action(database_url)


def test_a_release_is_started_on_a_later_schema_that_serves_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a rolling upgrade, when a server of the earlier release crashes after the schema has moved on."""
    head = migrate.status(database_url).head
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.schema_revision SET version_num = '9999'")
        connection.execute(FLOOR.format(head))
    for policy in ("auto", "check"):
        with SonaEngine(4, database_url, migrate=policy) as engine:
            engine.end_trajectory(engine.begin_trajectory(np.ones(4, np.float32)), 0.9)
            assert engine.force_learn().trajectories == 1
    assert f"9999, of a later release of sona-pg than this one ({head})" in caplog.text
    assert migrate.status(database_url).revision == "9999"
    with pytest.raises(SchemaError, match="upgrade sona-pg"):  # it changes nothing that it does not know
        migrate.upgrade(database_url)


def test_an_address_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:9/nowhere") as caught:
        migrate.status("postgresql://someone:secret@127.0.0.1:9/nowhere")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/x", "not a url", ""])
def test_an_invalid_postgres_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://"):
        migrate.status(url)


def columns_of(url: str) -> list[tuple[str, str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT table_name, column_name, udt_name FROM information_schema.columns
            WHERE table_schema = 'sona' AND table_name <> 'schema_revision' ORDER BY 1, 2
            """
        ).fetchall()


def flat(changes: list) -> list[tuple]:
    return [change for item in changes for change in (flat(item) if isinstance(item, list) else [item])]


def test_an_upgrade_that_was_cut_short_goes_on_where_it_was(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_database_url, "0004")
    step = migrate._step

    def cut(connection: Connection, **rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "_step", cut)
    with pytest.raises(KeyboardInterrupt):
        migrate.upgrade(empty_database_url)
    assert migrate.status(empty_database_url).revision == "0004"
    monkeypatch.setattr(migrate, "_step", step)
    assert migrate.upgrade(empty_database_url).current
    at_once = columns_of(empty_database_url)
    migrate.downgrade(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert columns_of(empty_database_url) == at_once
