"""Policies of row-level security, on plain Postgres and on Citus.

They compare ``space_id`` with two bounds, as conditions that every index takes: rows of other spaces are not read, so
neither time nor EXPLAIN tells how many there are. Citus refuses subqueries in policies of tables that it has spread,
and statements on tables in functions that a node calls for a shard: there the bounds are functions that read the copy
of ``sona.space_roles`` that each node has, by the name of its only shard.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import psycopg
from psycopg import sql

from sona_pg.errors import DatabaseError

log = logging.getLogger(__name__)

FIRST = "SELECT max(r.space_id) FROM sona.space_roles r WHERE r.role_name = current_user::text"
LAST = """
SELECT min(CASE r.space_id WHEN 0 THEN 2147483647 ELSE r.space_id END) FROM sona.space_roles r
    WHERE r.role_name = current_user::text
"""
SEES = f"space_id >= ({FIRST}) AND space_id <= ({LAST})"
SEES_OVER_NODES = "space_id >= sona.first_space_seen() AND space_id <= sona.last_space_seen()"
# Whoever calls them chooses the search_path: every operator, function and type is named with its schema.
BOUND = """
CREATE OR REPLACE FUNCTION sona.{name}() RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$ BEGIN
    RETURN (
        SELECT {value} FROM sona.space_roles_{shard} r
        WHERE r.role_name OPERATOR(pg_catalog.=) current_user::pg_catalog.text);
END $$
"""
BOUNDS = {
    "first_space_seen": "pg_catalog.max(r.space_id)",
    "last_space_seen": """pg_catalog.min(
            CASE WHEN r.space_id OPERATOR(pg_catalog.=) 0 THEN 2147483647 ELSE r.space_id END)""",
}
SHARD = "SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'sona.space_roles'::regclass"

OWN_ROWS = "CREATE POLICY own_rows ON {table} FOR SELECT USING (role_name = current_user::text)"
BY_SPACE = "CREATE POLICY by_space ON {table} USING ({sees})"
# Nobody records an act as another login's.
OF_ACTS = "CREATE POLICY by_space ON {table} USING ({sees}) WITH CHECK ({sees} AND login = session_user::text)"

# Statistics of a column tell whoever runs EXPLAIN which values are frequent in all spaces together.
SECRETS = {
    "spaces": ("name",), "space_names": ("name",), "trajectories": ("query",), "feedback": ("correction",),
    "set_aside": ("reason",), "api_keys": ("name",), "idempotent_requests": ("key",), "cycles": ("error",),
    "servers": ("host",), "imported_ids": ("imported_id",),
}  # fmt: skip
PARTITION = re.compile(r"_(w\d{8}|rest)$")
NO_STATISTICS = "ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0"
STATISTICS = "SELECT tablename, attname, inherited FROM pg_stats WHERE schemaname = 'sona'"
FIRST_TO_CLEAR = 180000  # of pg_clear_attribute_stats
CLEAR = "SELECT pg_clear_attribute_stats('sona', %(name)s, %(column)s, %(inherited)s)"
IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
DELETE_STATISTICS = """
DELETE FROM pg_statistic s USING pg_attribute a
WHERE s.starelid = format('sona.%%I', %(name)s::text)::regclass AND s.stainherit = %(inherited)s
  AND a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attname = %(column)s
"""
ON_SHARDS = """
SELECT result FROM run_command_on_shards(%(table)s::regclass, %(command)s) WHERE NOT success LIMIT 1
"""
THIS_NODE_ALONE = "SET LOCAL citus.enable_ddl_propagation = off"
POLICIES = "SELECT p.polname FROM pg_policy p WHERE p.polrelid = %(table)s::regclass"


def policy(name: str, over_nodes: bool) -> sql.Composed:
    """Return the statement that makes the policy of a table; ``over_nodes``: Citus has spread it."""
    form = {"space_roles": OWN_ROWS, "acts": OF_ACTS}.get(name, BY_SPACE)
    sees = sql.SQL(SEES_OVER_NODES if over_nodes else SEES)
    return sql.SQL(form).format(table=sql.Identifier("sona", name), sees=sees)


def make_bounds(raw: psycopg.Connection[Any]) -> None:
    """Make the functions that policies of spread tables call, on every node."""
    found = raw.execute(SHARD).fetchone()
    if found is None:
        raise DatabaseError("sona.space_roles is not on every node: run sona-pg distribute again")
    for name, value in BOUNDS.items():
        raw.execute(BOUND.format(name=name, value=value, shard=int(found[0])).encode())


def secrets_of(name: str) -> tuple[str, ...]:
    """Return the columns of a table, or of a partition, of which no statistics are kept."""
    return SECRETS.get(PARTITION.sub("", name), ())


def without_statistics(name: str, column: str) -> sql.Composed:
    """Return the statement that keeps no statistics of a column from the next ANALYZE on."""
    return sql.SQL(NO_STATISTICS).format(table=sql.Identifier("sona", name), column=sql.Identifier(column))


def forget_statistics(raw: psycopg.Connection[Any]) -> None:
    """Drop the statistics that an earlier ANALYZE, such as autovacuum's, has left of secret columns.

    Later ones skip these columns, but leave what is there.
    """
    for name, column, inherited in raw.execute(STATISTICS).fetchall():
        if column not in secrets_of(name) and name != "spaces_by_name":
            continue
        row = {"name": name, "column": column, "inherited": inherited}
        if raw.info.server_version >= FIRST_TO_CLEAR:
            raw.execute(CLEAR, row)
        elif raw.execute(IS_SUPERUSER).fetchone() == (True,):
            raw.execute(DELETE_STATISTICS, row)
        else:
            log.warning("sona.%s.%s keeps statistics of before: have a superuser run roles install", name, column)


def end_statistics_of_shards(raw: psycopg.Connection[Any], name: str) -> None:
    """Keep no statistics of a spread table's secret columns: Citus does not pass this command on to shards.

    The table itself, of which later shards are copies, gets the setting as well; ``raw`` is in autocommit mode.
    """
    for column in secrets_of(name):
        command = sql.SQL("ALTER TABLE %s ALTER COLUMN {} SET STATISTICS 0").format(sql.Identifier(column))
        values = {"table": f"sona.{name}", "command": command.as_string(raw)}
        refused = raw.execute(ON_SHARDS, values).fetchone()
        if refused is not None:
            raise DatabaseError(f"a shard of sona.{name} keeps statistics of {column}: {refused[0]}")
        with raw.transaction():
            raw.execute(THIS_NODE_ALONE)
            raw.execute(without_statistics(name, column))


def drop_policies(raw: psycopg.Connection[Any], name: str) -> None:
    """Drop a table's policies, before Citus spreads it: until it has new ones, only its owner sees rows."""
    table = sql.Identifier("sona", name)
    for (found,) in raw.execute(POLICIES, {"table": f"sona.{name}"}).fetchall():
        raw.execute(sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(found), table))
