"""Distribution of a store over the nodes of Citus by ``space_id``: ``sona-pg distribute``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

from sona_pg.errors import ConfigError
from sona_pg.store.admin import migrate, roles
from sona_pg.store.admin.spreading import SHARDS, Spreading, alone, connected, spread
from sona_pg.store.connect import masked, parse_url, translated
from sona_pg.store.topology import OFFERED, Topology, read_topology

MIN_CITUS = (12, 1)  # the first that synchronises metadata of partitions and roles as is needed here


def distribute(url: str, shards: int = SHARDS) -> Iterator[Spreading]:
    """Distribute the store at ``url``, a coordinator of Citus, by space; yield each step once it is committed.

    What is done already is left out. Transactions of servers wait for the table that is being distributed, and are
    tried again. Under row-level security a table is closed to all but the owner until the last step is done.

    Raises:
        ConfigError: Citus is missing or has no workers, or the login is not the owner.
        SchemaError: the schema is not this release's.
        DatabaseError: Postgres is away, or refuses.
    """
    found = migrate.status(url)
    migrate.refuse_newer(found)
    migrate.refuse_older(found)
    with translated("distributing the store", parse_url(url)), alone(url, migrate.LOCK) as raw:
        yield from spread(raw, require_fit(raw, url), shards)
    roles.renew(url)


def topology_at(url: str) -> Topology | None:
    """Return the topology of the database at ``url``; None without Citus."""
    with translated("reading the topology", parse_url(url)), closing(connected(url)) as raw:
        return read_topology(raw)


def require_fit(raw: psycopg.Connection[Any], url: str) -> Topology:
    """Return the topology; ConfigError, with what to do, if the store cannot be distributed there."""
    where = masked(url)
    topology = read_topology(raw)
    if topology is None:
        offered = raw.execute(OFFERED).fetchone()
        if offered is None:
            raise ConfigError(
                f"{where} has no Citus: install Citus 12.1 or newer on this server and its workers "
                "(docs/citus.md), or go on without: nothing else needs it"
            )
        loaded = "" if offered[1] else "set shared_preload_libraries = 'citus', restart, then "
        raise ConfigError(
            f"{where} has Citus {offered[0]}, and this database does not use it: {loaded}CREATE EXTENSION citus here "
            "and in this database of every worker, then citus_set_coordinator_host and citus_add_node (docs/citus.md)"
        )
    if tuple(int(part) for part in topology.version.split("-")[0].split(".")[:2]) < MIN_CITUS:
        raise ConfigError(f"{where} has Citus {topology.version}, expected 12.1 or newer: ALTER EXTENSION citus UPDATE")
    if raw.execute("SELECT citus_is_coordinator()").fetchone() != (True,):
        raise ConfigError(f"{where} is a worker of Citus: give the address of its coordinator")
    if not topology.workers:
        raise ConfigError(
            f"{where} has no node that may hold shards: SELECT citus_add_node('host', 5432) for each worker, "
            "after CREATE EXTENSION citus there"
        )
    row = raw.execute("SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'sona'").fetchone()
    if row is None or not row[0]:
        raise ConfigError("a store is distributed by its schema's owner, or a superuser")
    return topology
