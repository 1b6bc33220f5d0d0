"""Steps of distributing a store over the nodes of Citus, each of them a transaction.

All tables are hashed by ``space_id`` into the same shards, so that the rows of a space are on one node; the names of
spaces and the logins of row-level security are copied to every node. Rows that Citus has copied into shards are removed
from the table itself at the end. A run that was killed is repeated: it leaves out what is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from sona_pg.domain.act import WHOLE_STORE
from sona_pg.store import acts
from sona_pg.store.admin.row_security import drop_policies
from sona_pg.store.connect import CONNECT_TIMEOUT, driver_arguments, parse_url, read_times, translated
from sona_pg.store.schema import metadata, space_names, space_roles, spaces
from sona_pg.store.topology import Topology, read_topology

SHARDS = 32
REFERENCE_TABLES = (space_names.name, space_roles.name)

# Tables that others refer to come first.
HASHED_TABLES = (
    spaces.name,
    *(
        table.name
        for table in metadata.sorted_tables
        if table.name not in (*REFERENCE_TABLES, spaces.name)
    ),
)  # fmt: skip
TABLES = "SELECT relname::text FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind IN ('r', 'p')"
COPY_TABLE = "SELECT create_reference_table(%(table)s)"
FIRST_TABLE = (
    "SELECT create_distributed_table(%(table)s, 'space_id', shard_count => %(shards)s, colocate_with => 'none')"
)
NEXT_TABLE = "SELECT create_distributed_table(%(table)s, 'space_id', colocate_with => 'sona.spaces')"
ROWS = sql.SQL("SELECT count(*) FROM {table}")
# Rows that Citus has copied into shards stay in the table itself, out of sight, until they are removed.
LEFT_BEHIND = """
SELECT c.relname::text FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0
"""
LEFT_IN_PARTITION = """
SELECT DISTINCT parent.relname::text FROM pg_inherits i
JOIN pg_class child ON child.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
WHERE parent.relnamespace = 'sona'::regnamespace AND parent.relkind = 'p' AND pg_relation_size(child.oid) > 0
"""
CLEAR = "SELECT truncate_local_data_after_distributing_table(%(table)s)"
FUNCTIONS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'sona'::regnamespace AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_dist_object o WHERE o.classid = 'pg_proc'::regclass AND o.objid = p.oid)
ORDER BY 1
"""
SHARE_FUNCTION = "SELECT create_distributed_function(%(function)s)"
# A node that is sent a statement about a space calls functions that ask for rows of the same space: they are there.
# Functions of policies ask for no spread table.
NESTING = """
SELECT p.oid::regprocedure::text, p.prosrc LIKE '%SET LOCAL%' FROM pg_proc p
WHERE p.pronamespace = 'sona'::regnamespace AND p.provolatile <> 'i' AND p.prosrc LIKE '%sona.%'
  AND p.prosrc NOT LIKE '%sona.space\\_roles\\_%' AND coalesce(p.proconfig::text, '') NOT LIKE '%allow\\_nested%'
ORDER BY 1
"""
ALLOW_NESTING = sql.SQL("ALTER FUNCTION {function} SET citus.allow_nested_distributed_execution = on")
# Settings of a search, for the worker that searches; only within a transaction of several statements.
PASS_SETTINGS = sql.SQL("ALTER FUNCTION {function} SET citus.propagate_set_commands = 'local'")
WAIT_FOR_EVER = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
UNLIMITED = "SET LOCAL statement_timeout = 0"


@dataclass(frozen=True, slots=True)
class Spreading:
    """One step of distributing a store, once it is committed."""

    step: int
    steps: int
    action: str  # copied, distributed, cleared, shared; finished
    subject: str  # a table, or functions
    rows: int = 0
    seconds: float = 0.0


def renew(url: str, lock: int) -> tuple[Spreading, ...]:
    """Distribute the tables of an upgrade, where the store is distributed; ``lock`` is that of schema upgrades."""
    if not is_distributed(url):
        return ()
    with translated("distributing new tables", parse_url(url)), alone(url, lock) as raw:
        topology = read_topology(raw)
        return () if topology is None else tuple(spread(raw, topology, SHARDS))


def is_distributed(url: str) -> bool:
    """Return whether the store at ``url`` is distributed."""
    with translated("reading the topology", parse_url(url)), closing(connected(url)) as raw:
        topology = read_topology(raw)
        return topology is not None and topology.distributed


def spread(raw: psycopg.Connection[Any], topology: Topology, shards: int) -> Iterator[Spreading]:
    """Do what is left to do on the autocommit connection ``raw``; yield each step once it is committed."""
    there = {name for (name,) in raw.execute(TABLES)}  # an earlier release's schema lacks some
    copied = [name for name in REFERENCE_TABLES if name in there and name not in topology.copied]
    hashed = [name for name in HASHED_TABLES if name in there and name not in topology.tables]
    steps = len(copied) + len(hashed) + 2
    # The logins come last: tables that are not distributed yet have policies that read them.
    ordered = sorted([*copied, *hashed], key=lambda name: (name == space_roles.name, name in hashed))
    for done, name in enumerate(ordered, 1):
        if name in copied:
            yield _table(raw, name, "copied", COPY_TABLE, {}, done, steps)
        elif name == spaces.name:
            yield _table(raw, name, "distributed", FIRST_TABLE, {"shards": shards}, done, steps)
        else:
            yield _table(raw, name, "distributed", NEXT_TABLE, {}, done, steps)
    yield _share_functions(raw, steps - 1, steps)
    yield _clear(raw, steps, steps)
    if (copied or hashed) and "acts" in there:
        with raw.transaction():
            acts.note(raw, WHOLE_STORE, "store distributed", {"tables": len(copied) + len(hashed)})


def _table(
    raw: psycopg.Connection[Any], name: str, action: str, query: str, values: dict[str, object], step: int, steps: int
) -> Spreading:
    began = time.perf_counter()
    with raw.transaction():
        raw.execute(UNLIMITED)
        drop_policies(raw, name)
        counted = raw.execute(ROWS.format(table=sql.Identifier("sona", name))).fetchone()
        raw.execute(query, {"table": f"sona.{name}", **values})
    return Spreading(step, steps, action, name, 0 if counted is None else counted[0], _since(began))


def _share_functions(raw: psycopg.Connection[Any], step: int, steps: int) -> Spreading:
    """Make the functions known to every node, and let them ask for rows there: statements that are sent call them."""
    began = time.perf_counter()
    found = [name for (name,) in raw.execute(FUNCTIONS).fetchall()]
    for name in found:
        with raw.transaction():
            raw.execute(SHARE_FUNCTION, {"function": name})
    for name, sets in raw.execute(NESTING).fetchall():
        with raw.transaction():
            raw.execute(ALLOW_NESTING.format(function=sql.SQL(name)))
            if sets:
                raw.execute(PASS_SETTINGS.format(function=sql.SQL(name)))
    return Spreading(step, steps, "shared", "functions", len(found), _since(began))


def _clear(raw: psycopg.Connection[Any], step: int, steps: int) -> Spreading:
    began = time.perf_counter()
    left = {name for query in (LEFT_BEHIND, LEFT_IN_PARTITION) for (name,) in raw.execute(query).fetchall()}
    for name in reversed(HASHED_TABLES + REFERENCE_TABLES):  # referencing tables first
        if name in left:
            with raw.transaction():
                raw.execute(UNLIMITED)
                raw.execute(CLEAR, {"table": f"sona.{name}"})
    return Spreading(step, steps, "cleared", "rows left behind", len(left), _since(began))


@contextmanager
def alone(url: str, lock: int) -> Iterator[psycopg.Connection[Any]]:
    """Connect, while a second connection holds the lock of schema upgrades: also other runs wait for it."""
    with closing(connected(url)) as guard, closing(connected(url)) as raw, guard.transaction():
        guard.execute(WAIT_FOR_EVER)
        guard.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        yield raw


def connected(url: str) -> psycopg.Connection[Any]:
    """Connect, in autocommit mode."""
    common = {"autocommit": True, "connect_timeout": CONNECT_TIMEOUT, "prepare_threshold": None}
    raw = psycopg.connect(**{**driver_arguments(url), **common, "application_name": "sona-pg distribute"})
    try:
        read_times(raw)
    except BaseException:
        raw.close()
        raise
    return raw


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)
