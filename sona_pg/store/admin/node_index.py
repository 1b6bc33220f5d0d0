"""Nodes of the memory graph that the HNSW index does not have yet: adds them, a few in each transaction.

An insertion takes .6 ms, which is too long for the transaction that publishes a version: 7 s at 10,000 nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

ROWS = 500  # of one transaction: a third of a second
LIMIT = 30.0  # seconds of one run; the next one goes on

WAITING = "SELECT DISTINCT n.space_id FROM sona.memory_nodes n WHERE NOT n.indexed ORDER BY 1"
# Rows that a version being published holds are left to the next run.
ADD = """
UPDATE sona.memory_nodes SET indexed = true
FROM (
    SELECT n.dim, n.node_id FROM sona.memory_nodes n WHERE n.space_id = %(space)s AND NOT n.indexed
    LIMIT %(rows)s FOR UPDATE SKIP LOCKED
) waiting
WHERE sona.memory_nodes.space_id = %(space)s AND sona.memory_nodes.dim = waiting.dim
    AND sona.memory_nodes.node_id = waiting.node_id
"""


class IndexedNodes(NamedTuple):
    """Nodes of a space that were added to the index."""

    space_id: int
    nodes: int
    seconds: float


def add_waiting(raw: psycopg.Connection[Any]) -> Iterator[IndexedNodes]:
    """Add the waiting nodes of all spaces; yield each space once its part is committed.

    Args:
        raw: an autocommit connection.
    """
    until = time.monotonic() + LIMIT
    for (space,) in raw.execute(WAITING).fetchall():
        began, nodes, last = time.perf_counter(), 0, ROWS
        while last == ROWS and time.monotonic() < until:
            last = raw.execute(ADD, {"space": space, "rows": ROWS}).rowcount
            nodes += last
        if nodes:
            yield IndexedNodes(space, nodes, time.perf_counter() - began)
