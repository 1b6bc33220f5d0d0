"""Ten thousand attempts of one space's logins to reach another find nothing: no row, no text, no sign that it exists.

The attempts are made from the catalog, so a table, a view, a function or a partition that is added later is tried as
well. Where an answer could tell by its form that something is there, the same statement about a space that does not
exist must be answered alike.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
from fix_attempts import KINDS, OTHER_ID, OWN_ID, TRY, Attempt, Catalog, nothing_is_found
from fix_servers import Server
from fix_tenants import DIM, GROUPS, OTHER, QUIET, SECRET, Tenants
from psycopg import sql

from sona_pg import SonaEngine
from sona_pg.store import states
from sona_pg.store.admin import row_security

ATTEMPTS = 10_000
ATTEMPTS_ON_CITUS = 1_600  # each asks every node


@pytest.fixture(scope="module", params=GROUPS)
def login(request: pytest.FixtureRequest, tenants: Tenants) -> Iterator[tuple[str, psycopg.Connection, list[str]]]:
    """A connection of each login of the first space, and the notices that it receives."""
    notices: list[str] = []
    with psycopg.connect(tenants.as_login(request.param), autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        connection.execute(TRY.encode())
        connection.execute("SET enable_seqscan = off")
        yield request.param, connection, notices


def test_ten_thousand_attempts_find_nothing(
    login: tuple[str, psycopg.Connection, list[str]], catalog: Catalog, postgres_server: Server
) -> None:
    capability, connection, notices = login
    wanted = ATTEMPTS_ON_CITUS if postgres_server.name == "citus" else ATTEMPTS
    rng = random.Random(capability)
    makers, weights = list(KINDS), list(KINDS.values())
    attempts = [rng.choices(makers, weights)[0](rng, catalog) for _ in range(wanted // len(GROUPS))]
    statements = [text for attempt in attempts for text in (attempt.statement, attempt.twin) if text is not None]
    rows = iter(connection.execute("SELECT * FROM pg_temp.try(%s)", [statements]).fetchall())
    crossed = []
    states: Counter[str] = Counter()
    for attempt in attempts:
        answer = next(rows)
        twin = next(rows) if attempt.twin is not None else None
        states[answer[0]] += 1
        if not nothing_is_found(attempt, answer, twin):
            crossed.append((attempt, answer, twin))
    assert crossed[:1] == []
    assert [words for words in notices if SECRET in words] == []
    assert states["ZZ000"] > 0.3 * len(attempts)  # that many were not even refused
    # The function that peeks does see the own rows; a worker of Citus has none in pg_temp, and refuses.
    assert postgres_server.name == "citus" or any("acme-own" in words for words in notices)


def test_an_attempt_would_find_a_table_without_its_policy(
    login: tuple[str, psycopg.Connection, list[str]], tenants: Tenants, catalog: Catalog
) -> None:
    """Control: the attempts of the test above are such that they find what is open."""
    attempt = Attempt(f"SELECT t.* FROM sona.candidates t WHERE t.space_id = {OTHER_ID}")
    query = "SELECT * FROM pg_temp.try(%s)"
    with psycopg.connect(tenants.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE sona.candidates DISABLE ROW LEVEL SECURITY")
        try:
            (open_,) = login[1].execute(query, [[attempt.statement]]).fetchall()
        finally:
            owner.execute("ALTER TABLE sona.candidates ENABLE ROW LEVEL SECURITY")
    (closed,) = login[1].execute(query, [[attempt.statement]]).fetchall()
    assert (nothing_is_found(attempt, open_, None), nothing_is_found(attempt, closed, None)) == (False, True)


def test_neither_settings_nor_roles_nor_definitions_give_a_way_out(
    login: tuple[str, psycopg.Connection, list[str]], tenants: Tenants
) -> None:
    connection = login[1]
    with psycopg.connect(tenants.url) as connected:
        owner = connected.info.user
    for statement in (
        f'SET ROLE "{owner}"',
        f'SET ROLE "{tenants.prefix}_{OTHER}_recorder"',
        f'SET SESSION AUTHORIZATION "{tenants.prefix}_{OTHER}_recorder"',
        f'GRANT "{tenants.prefix}_{OTHER}_recorder" TO current_user',
        f"INSERT INTO sona.space_roles VALUES ({OTHER_ID}, current_user, now())",
        f"UPDATE sona.space_roles SET space_id = {OTHER_ID}",
        "DELETE FROM sona.space_roles",
        "ALTER TABLE sona.trajectories DISABLE ROW LEVEL SECURITY",
        "DROP POLICY by_space ON sona.trajectories",
        "CREATE POLICY mine ON sona.trajectories USING (true)",
        "ALTER VIEW sona.outcomes SET (security_invoker = false)",
        "CREATE FUNCTION sona.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW sona.mine AS SELECT * FROM sona.trajectories",
        "ALTER ROLE current_user BYPASSRLS",
        "TRUNCATE sona.trajectories",
        "COPY sona.trajectories TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT nextval('sona.space_names_space_id_seq')",
        "SELECT last_value FROM sona.space_names_space_id_seq",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    connection.execute("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        connection.execute("SELECT * FROM sona.trajectories")
    connection.execute("RESET row_security")
    connection.execute(f"SET sona.space = '{OTHER_ID}'".encode())
    assert connection.execute("SELECT DISTINCT space_id FROM sona.trajectories").fetchall() == [(OWN_ID,)]


def test_copies_and_catalogs_hold_nothing_of_the_other_space(
    login: tuple[str, psycopg.Connection, list[str]], tenants: Tenants, catalog: Catalog
) -> None:
    connection = login[1]
    with psycopg.connect(tenants.url) as owner:
        owner.execute("ANALYZE")
        owner.execute(f"SELECT '{SECRET}'".encode())
        told = []
        for table in sorted(catalog.tables):
            copied = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier("sona", table))
            try:
                with connection.cursor().copy(copied) as copy:
                    told += [bytes(block).decode() for block in copy]
            except psycopg.errors.InsufficientPrivilege:
                pass
        for view in (
            "pg_stats",
            "pg_stats_ext_exprs",
            "pg_stat_activity",
            "pg_locks",
            "pg_prepared_statements",
            "pg_cursors",
        ):
            told += [str(row) for row in connection.execute(f"TABLE {view}".encode()).fetchall()]
    assert len(told) > 100
    assert [words for words in told if SECRET in words] == []
    # The planner's statistics of texts would show in estimates, which are of all rows.
    secret = [f"{table}.{column}" for table, columns in row_security.SECRETS.items() for column in columns]
    with psycopg.connect(tenants.url) as owner:
        kept = owner.execute(
            "SELECT tablename FROM pg_stats WHERE schemaname = 'sona' "
            "AND (regexp_replace(tablename, '_(w[0-9]+|rest)$', '') || '.' || attname = ANY (%s) "
            "OR tablename = 'spaces_by_name')",
            [secret],
        ).fetchall()
    assert kept == []


def test_notices_are_numbers(tenants: Tenants) -> None:
    with psycopg.connect(tenants.as_login("reader"), autocommit=True) as listener:
        for channel in (states.CHANNEL, states.JUDGED):
            listener.execute(f"LISTEN {channel}".encode())
        with SonaEngine(DIM, tenants.url, OTHER, config=QUIET) as engine:
            engine.remember([f"{SECRET}-new"], [[1.0] * DIM])
            trajectory = engine.begin_trajectory([1.0] * DIM, query=SECRET)
            engine.end_trajectory(trajectory, 0.5)
            engine.feedback(trajectory, 1.0, source=SECRET)
            engine.flush()
            engine.force_learn()
        told = [notice.payload for notice in listener.notifies(timeout=60, stop_after=3)]
    assert [words for words in told if not re.fullmatch(rf"{OTHER_ID} (\d+|candidates)", words)] == []
