"""Ways to the worker of Citus that has a space, so that its batches need not pass the coordinator.

The coordinator parses each row of a COPY to find its shard; all rows of a batch belong to one space, and so to one
shard of each table. The transaction locks the shard's metadata, as Citus's own do, and looks whether it is still there:
a move waits for it, or has been made before.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import Engine

from sona_pg.ingest.attempts import Attempts, described
from sona_pg.store.connect import connect
from sona_pg.store.topology import has_citus

log = logging.getLogger("sona_pg.ingest")

CONNECTIONS = 2  # to each worker: one for each thread that writes
AVOIDED_FOR = 60.0  # seconds for which a worker that cannot be used directly is left to the coordinator
SPREAD_MEANWHILE = 300.0  # seconds after which a store is looked at again that was not distributed
LOOK_AGAIN = 30.0  # seconds after the topology could not be read: the coordinator has enough attempts then
TABLES = ("spaces", "batches", "servers", "trajectories", "steps", "feedback")
NAMED = re.compile(rf"\bsona\.({'|'.join(TABLES)})\b")

PLACEMENT = """
SELECT n.nodename, n.nodeport, t.name, t.shard
FROM (
    SELECT name, get_shard_id_for_distribution_column(('sona.' || name)::regclass, %(space)s::int) AS shard
    FROM unnest(%(tables)s::text[]) AS listed (name)
    WHERE EXISTS (SELECT FROM pg_dist_partition d WHERE d.logicalrelid = ('sona.' || name)::regclass)
) AS t
JOIN pg_dist_placement p ON p.shardid = t.shard
JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary' AND n.isactive
"""
# The lock that Citus takes for a write (5: SHARE); whoever moves the shard takes EXCLUSIVE on every node.
LOCK_SHARD = "SELECT lock_shard_metadata(5, ARRAY[%(shard)s])"
IS_HERE = """
SELECT EXISTS (
    SELECT FROM pg_dist_placement p JOIN pg_dist_local_group g ON g.groupid = p.groupid WHERE p.shardid = %(shard)s)
"""


NO_SPACE = 0  # no space has this number


class Moved(Exception):
    """The shard of a space is on another node by now; nothing was written."""


@dataclass(frozen=True, slots=True)
class Way:
    """Connections to the worker of a space, and its shards by table."""

    node: str
    attempts: Attempts
    shards: Mapping[str, int]
    key: tuple[tuple[str, int], ...] = field(repr=False)

    def here(self, statement: str) -> str:
        """Return a statement on tables as one on the space's shards."""
        return _on_shards(statement, self.key)

    def lock(self, raw: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
        """Keep the shard from being moved until the transaction ends; ``require`` reads the result."""
        shard = {"shard": self.shards["trajectories"]}
        raw.execute(LOCK_SHARD, shard)
        return raw.execute(IS_HERE, shard)

    def require(self, found: psycopg.Cursor[Any]) -> None:
        """Raise ``Moved`` if the shard is on another node."""
        if found.fetchone() != (True,):
            raise Moved(self.node)


class OwnWorkers:
    """Ways to the workers of a process's spaces; safe from many threads."""

    def __init__(self, engine: Engine, stall_timeout: float) -> None:
        """Read the topology from ``engine``, the coordinator's; transactions may take ``stall_timeout`` seconds."""
        self._engine = engine
        self._stall_timeout = stall_timeout
        self._lock = threading.Lock()
        self._look_at = 0.0  # monotonic seconds, for the topology
        self._ways: dict[int, Way] = {}
        self._without: dict[int, float] = {}  # spaces that have none, until when; NO_SPACE: the whole store
        self._attempts: dict[str, Attempts] = {}
        self._engines: list[Engine] = []
        self._avoided: dict[str, float] = {}  # nodes, until when

    def way(self, coordinator: Attempts, space_id: int) -> Way | None:
        """Return the way to the worker of a space; None: write through the coordinator.

        Raises:
            psycopg.Error, SQLAlchemyError, OSError: the topology cannot be read.
        """
        found = self._ways.get(space_id)
        if found is None:
            found = self._look(coordinator, space_id)
        if found is None or self._avoided.get(found.node, 0.0) > time.monotonic():
            return None
        return found

    def forget(self, space_id: int) -> None:
        """Read the way again before the next batch of a space."""
        self._ways.pop(space_id, None)
        self._without.pop(space_id, None)

    def avoid(self, way: Way, exc: BaseException) -> None:
        """Leave a worker's spaces to the coordinator for a while."""
        if self._avoided.get(way.node, 0.0) <= time.monotonic():
            log.warning(
                "%s cannot be written to directly (%s): its spaces are written more slowly, through the coordinator",
                way.node,
                described(exc),
            )
        self._avoided[way.node] = time.monotonic() + AVOIDED_FOR

    def close(self) -> None:
        """Close the connections to workers."""
        for attempts in self._attempts.values():
            attempts.close()
        for engine in self._engines:
            engine.dispose()

    def _look(self, coordinator: Attempts, space_id: int) -> Way | None:
        now = time.monotonic()
        until = max(self._look_at, self._without.get(NO_SPACE, 0.0), self._without.get(space_id, 0.0))
        if now < until or coordinator.away_for:
            return None
        self._look_at = now + LOOK_AGAIN  # unless it succeeds
        with coordinator.connection() as (raw, _):
            spread = has_citus(raw)
            found = self._read(raw, space_id) if spread else None
        self._look_at = 0.0
        if found is None:
            self._without[space_id if spread else NO_SPACE] = now + SPREAD_MEANWHILE
        else:
            self._ways[space_id] = found
        return found

    def _read(self, raw: psycopg.Connection[Any], space_id: int) -> Way | None:
        rows = raw.execute(PLACEMENT, {"space": space_id, "tables": list(TABLES)}).fetchall()
        nodes = {(host, port) for host, port, _, _ in rows}
        if len(nodes) != 1 or len(rows) != len(TABLES):  # not distributed, or a placement in several places
            return None
        [(host, port)] = nodes
        shards = {name: shard for _, _, name, shard in rows}
        return Way(f"{host}:{port}", self._attempts_at(host, port), shards, tuple(sorted(shards.items())))

    def _attempts_at(self, host: str, port: int) -> Attempts:
        node = f"{host}:{port}"
        with self._lock:
            if node not in self._attempts:
                query = {name: value for name, value in self._engine.url.query.items() if name not in _OF_HOST}
                url = self._engine.url.set(host=host, port=port, query=query)
                engine = connect(url.render_as_string(hide_password=False), pool_size=CONNECTIONS, overflow=0)
                self._engines.append(engine)
                self._attempts[node] = Attempts(engine, self._stall_timeout)
            return self._attempts[node]


_OF_HOST = ("host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts")


@lru_cache(maxsize=4096)
def _on_shards(statement: str, shards: tuple[tuple[str, int], ...]) -> str:
    numbers = dict(shards)
    return NAMED.sub(lambda match: f"{match[0]}_{numbers[match[1]]}", statement)
