"""The rules that let the schema be distributed later (DESIGN section 11), read from the catalog."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from fix_ledger import NOW, Ledger, weeks_ago

from sona_pg.config import MaintenanceConfig
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

pytestmark = pytest.mark.every_server

REFERENCE = {"space_names", "schema_revision"}  # not distributed: names unique across spaces, and Alembic's own
LEDGER = {"trajectories", "steps", "feedback"}


@pytest.fixture
def catalog(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a schema with the partitions of two dimensions and some weeks."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT sona.ensure_dimension(256)")
        connection.execute("SELECT sona.ensure_dimension(3072)")
        connection.execute("SELECT sona.ensure_dimension(5000)")
        connection.execute("SELECT sona.ensure_partitions('2026-11-20', 3)")
        yield connection


def rows(connection: psycopg.Connection, query: str) -> list[tuple]:
    return connection.execute(query).fetchall()


def test_every_table_carries_the_space_with_one_type(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT c.relname, a.atttypid::regtype::text, a.attnotnull FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'space_id'
        WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p')
        """,
    )
    assert len(found) > 30
    assert {(kind, required) for name, kind, required in found if name not in REFERENCE} == {("integer", True)}


def test_every_primary_and_unique_key_begins_with_the_space(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT c.relname, a.attname FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'sona'::regnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indisunique
        """,
    )
    assert found
    assert {first for name, first in found if name not in REFERENCE} == {"space_id"}


def test_every_table_has_a_primary_key(catalog: psycopg.Connection) -> None:
    without = rows(
        catalog,
        """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
        """,
    )
    assert without == []


def test_every_foreign_key_begins_with_the_space_on_both_sides(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT k.conname, here.attname, there.attname FROM pg_constraint k
        JOIN pg_attribute here ON here.attrelid = k.conrelid AND here.attnum = k.conkey[1]
        JOIN pg_attribute there ON there.attrelid = k.confrelid AND there.attnum = k.confkey[1]
        WHERE k.contype = 'f' AND k.connamespace = 'sona'::regnamespace
        """,
    )
    assert found
    assert {(here, there) for _, here, there in found} == {("space_id", "space_id")}


def test_the_time_partitioned_tables_have_no_foreign_keys(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'sona'::regnamespace
        """,
    )
    touched = {name.removeprefix("sona.") for pair in found for name in pair}
    assert not touched & LEDGER


def test_there_is_one_level_of_partitioning_by_one_column(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT p.partrelid::regclass::text, p.partstrat, p.partnatts, c.relispartition
        FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
        """,
    )
    assert {(name.removeprefix("sona."), strategy) for name, strategy, _, _ in found} == {
        ("trajectories", "r"), ("steps", "r"), ("feedback", "r"), ("patterns", "l"), ("memory_nodes", "l"),
    }  # fmt: skip
    assert {(columns, nested) for _, _, columns, nested in found} == {(1, False)}


def test_there_are_no_triggers_and_no_unlogged_tables(catalog: psycopg.Connection) -> None:
    triggers = rows(
        catalog,
        """
        SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'sona'::regnamespace AND NOT t.tgisinternal
        """,
    )
    unlogged = rows(
        catalog, "SELECT relname FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relpersistence <> 'p'"
    )
    assert (triggers, unlogged) == ([], [])


def test_functions_are_plpgsql(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT proname, lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE pronamespace = 'sona'::regnamespace
        """,
    )
    assert {language for _, language in found} == {"plpgsql"}


def test_only_weeks_that_are_over_have_an_hnsw_index_on_the_ledger(ledger: Ledger) -> None:
    space = ledger.space("three weeks", 8)
    for ago in (0, 1, 2):
        ledger.ensure(weeks_ago(ago))
        ledger.fill(space, np.ones((3, 8), np.float32), weeks_ago(ago))
    list(Maintenance(ledger.database.engine, MaintenanceConfig(), lambda: NOW).run())
    over = {f"trajectories_w{day}_d8_hnsw": True for day in ("20261102", "20261109")}
    assert ledger.indexes() == over
    on_parents = ledger.rows(
        """
        SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
        WHERE c.relkind = 'p' AND a.amname = 'hnsw'
        """
    )
    assert on_parents == []  # an index there would be on every partition, the one being written among them


def test_there_is_one_hnsw_index_a_dimension_and_none_on_the_ledger(catalog: psycopg.Connection) -> None:
    found = rows(
        catalog,
        """
        SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'sona' AND indexdef LIKE '%USING hnsw%'
        """,
    )
    kinds = {name: definition.split("USING hnsw ")[1] for name, definition in found}
    assert set(kinds) == {f"{table}_d{dim}" for table in ("patterns", "memory_nodes") for dim in (256, 3072, 5000)}
    light = " WITH (m='8', ef_construction='32')"  # cycles write many rows of both
    assert kinds["patterns_d256"] == "(((centroid)::vector(256)) vector_cosine_ops)" + light
    assert kinds["patterns_d3072"] == "(((centroid)::halfvec(3072)) halfvec_cosine_ops)" + light
    assert kinds["memory_nodes_d256"] == "(((embedding)::vector(256)) vector_cosine_ops)" + light + " WHERE indexed"
    assert "bit_hamming_ops" in kinds["patterns_d5000"]


def test_every_table_view_and_function_has_a_comment(catalog: psycopg.Connection) -> None:
    silent = rows(
        catalog,
        """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
          AND obj_description(c.oid, 'pg_class') IS NULL AND c.relname <> 'schema_revision'
        UNION ALL
        SELECT proname FROM pg_proc p
        WHERE pronamespace = 'sona'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
        """,
    )
    assert silent == []


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("INSERT INTO sona.trajectories (space_id, id, batch, step_count, embedding, quality) "
         "VALUES (1, sona.uuid_floor('2026-11-20'), 1, 0, '[1,2]', 1.5)", "quality"),
        ("INSERT INTO sona.trajectories (space_id, id, batch, step_count, embedding) "
         "VALUES (1, sona.uuid_floor('2026-11-20'), 1, -1, '[1,2]')", "step_count"),
        ("INSERT INTO sona.feedback (space_id, trajectory_id, sequence, batch, recorded_at, source, quality) "
         "VALUES (1, sona.uuid_floor('2026-11-20'), 1, 1, '2026-11-20', 'user', -0.1)", "quality"),
        ("INSERT INTO sona.spaces (space_id, name, dim, created_at) VALUES (1, 'x', 16001, '2026-11-20')", "dim"),
    ],
)  # fmt: skip
def test_poison_is_kept_out(catalog: psycopg.Connection, statement: str, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        catalog.execute(statement)
    catalog.rollback()


def test_not_a_number_is_kept_out_of_vectors(catalog: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.DataException, match="NaN"):
        catalog.execute("SELECT '[NaN,1]'::halfvec")
    catalog.rollback()


def test_ids_tell_their_time(catalog: psycopg.Connection) -> None:
    ((there_and_back,),) = rows(
        catalog, "SELECT sona.uuid_time(sona.uuid_floor('2026-11-20 10:49:30.125+00')) = '2026-11-20 10:49:30.125+00'"
    )
    assert there_and_back


def test_opening_a_space_makes_its_partitions_once(database_url: str) -> None:
    from datetime import UTC, datetime

    database = Database.open(database_url)
    try:
        first = database.open_space("one", 8, datetime.now(UTC))
        again = database.open_space("one", 8, datetime.now(UTC))
        other = database.open_space("other", 8, datetime.now(UTC))
    finally:
        database.close()
    assert first == again
    assert first.space_id != other.space_id
    with psycopg.connect(database_url) as connection:
        weeks = rows(connection, "SELECT count(*) FROM pg_class WHERE relname LIKE 'trajectories_w%' AND relkind = 'r'")
    assert weeks == [(5,)]
