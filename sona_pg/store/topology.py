"""Topology of a store on Citus: its nodes, and where the rows of a space are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg

HAS_CITUS = "SELECT extversion FROM pg_extension WHERE extname = 'citus'"
OFFERED = """
SELECT default_version, strpos(coalesce(current_setting('shared_preload_libraries', true), ''), 'citus') > 0
FROM pg_available_extensions WHERE name = 'citus'
"""
# Nodes that hold shards; a coordinator alone may hold them as well.
WORKERS = """
SELECT nodename || ':' || nodeport FROM pg_dist_node
WHERE noderole = 'primary' AND isactive AND shouldhaveshards ORDER BY 1
"""
OF_TABLES = """
SELECT c.relname::text, p.partmethod::text FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
WHERE c.relnamespace = 'sona'::regnamespace AND NOT c.relispartition
"""
SHARDS = "SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = 'sona.spaces'::regclass"

IN_SEQUENCE = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"

REFERENCE, HASHED = "n", "h"  # pg_dist_partition.partmethod


FEW = 8  # spaces, of which a statement may name each table's without a cost
SAME_SPACE = re.compile(r"((?:\w+\.)?\bspace_id) = s\.space_id\b")


def narrowed(statement: str) -> str:
    """Return a statement on ``FEW`` spaces at most that names them for every table: Citus asks their nodes alone."""
    return SAME_SPACE.sub(r"\1 = s.space_id AND \1 = ANY(%(spaces)s::integer[])", statement)


@dataclass(frozen=True, slots=True)
class Topology:
    """Nodes of Citus, and the tables of the store that are spread over them."""

    version: str  # of the extension
    workers: tuple[str, ...]  # host:port of each node that holds shards
    tables: frozenset[str]  # hashed by space_id; partitions are not listed
    copied: frozenset[str]  # whole on every node
    shards: int  # of each table

    @property
    def spread(self) -> frozenset[str]:
        """Tables that Citus has spread or copied over the nodes; partitions are not listed."""
        return self.tables | self.copied

    @property
    def distributed(self) -> bool:
        """Whether the store was distributed, if perhaps not finished."""
        return "spaces" in self.tables


def read_topology(raw: psycopg.Connection[Any]) -> Topology | None:
    """Return the topology of a database with the extension; None without it."""
    installed = raw.execute(HAS_CITUS).fetchone()
    if installed is None:
        return None
    nodes = tuple(name for (name,) in raw.execute(WORKERS))
    spread: dict[str, str] = {}
    if raw.execute("SELECT to_regnamespace('sona')").fetchone() != (None,):
        spread = dict(raw.execute(OF_TABLES).fetchall())
    tables = frozenset(name for name, method in spread.items() if method == HASHED)
    counted = raw.execute(SHARDS).fetchone() if "spaces" in tables else None
    return Topology(
        version=installed[0],
        workers=nodes,
        tables=tables,
        copied=frozenset(name for name, method in spread.items() if method == REFERENCE),
        shards=0 if counted is None else counted[0],
    )


def has_citus(raw: psycopg.Connection[Any]) -> bool:
    """Return whether the database has the extension."""
    return raw.execute(HAS_CITUS).fetchone() is not None


def in_sequence(raw: psycopg.Connection[Any]) -> None:
    """Use one connection to each node of Citus: this transaction changes roles or tables after it has read rows."""
    if has_citus(raw):
        raw.execute(IN_SEQUENCE)


def describe(topology: Topology | None) -> str | None:
    """Return one line about the topology; None for a store that is not distributed."""
    if topology is None or not topology.distributed:
        return None
    return f"Citus {topology.version}, {topology.shards} shards a table on {len(topology.workers)} nodes"
