"""Bounded reads for people who look at a space: samples of outcomes, facts, and the memory graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from sona_pg.domain.overview_figures import PlacedEdge, SampledOutcome, ToldFact
from sona_pg.domain.space import Space
from sona_pg.store import leases, outcome_samples
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_samples import FoundFact, TimeSpan
from sona_pg.store.transactions import BRIEF, reading, snapshot

NODES = """
SELECT node_id, kind, weight, visits, pattern_id, embedding::real[] FROM sona.memory_nodes
WHERE space_id = %(space)s AND dim = %(dim)s ORDER BY weight DESC, node_id LIMIT %(most)s
"""
EDGES = """
SELECT e.source_id, e.target_id, e.kind, e.weight FROM sona.memory_edges e
WHERE e.space_id = %(space)s AND e.source_id = ANY(%(ids)s) AND e.target_id = ANY(%(ids)s)
ORDER BY e.weight DESC, e.source_id, e.target_id LIMIT %(most)s
"""
GRAPH_SIZE = """
SELECT (SELECT count(*) FROM sona.memory_nodes n WHERE n.space_id = %(space)s AND n.dim = %(dim)s), count(*),
       count(*) FILTER (WHERE e.kind = 'dream')
FROM sona.memory_edges e WHERE e.space_id = %(space)s
"""
LEARNING = """
SELECT live_version, learned_at, waiting_facts, waiting_since, failed_cycles, last_error, learner, lease_expires_at
FROM sona.learning WHERE space_id = %(space)s
"""


class StoredNode(NamedTuple):
    """Node of the memory graph as it is stored."""

    id: UUID
    kind: str
    weight: float
    visits: int
    pattern_id: UUID | None


class StoredGraph(NamedTuple):
    """The heaviest part of a memory graph."""

    nodes: Sequence[StoredNode]
    embeddings: NDArray[np.float32]  # (n, dim)
    edges: Sequence[PlacedEdge]
    all_nodes: int
    all_edges: int
    dream_edges: int


class OverviewStore:
    """Reads what people look at; each call is bounded, whatever the space holds."""

    def __init__(self, engine: Engine) -> None:
        """Read from the database of ``engine``."""
        self._engine = engine

    def bounds(self, space: Space, since: datetime) -> TimeSpan | None:
        """Return the times of the oldest trajectory since ``since`` and of the newest; None without any."""
        with reading(self._engine, "looking for trajectories", BRIEF) as connection:
            return outcome_samples.read_bounds(connection, space.space_id, since)

    def samples(self, space: Space, spans: Sequence[TimeSpan], each: int) -> list[SampledOutcome]:
        """Return the outcomes of the first ``each`` trajectories of each span of time."""
        with reading(self._engine, "sampling outcomes", BRIEF) as connection:
            return outcome_samples.read_samples(connection, space.space_id, spans, each)

    def facts(self, space: Space, trajectories: int, most: int) -> list[ToldFact]:
        """Return the latest facts about the newest trajectories, latest first."""
        with reading(self._engine, "reading feedback", BRIEF) as connection:
            return outcome_samples.read_facts(connection, space.space_id, trajectories, most)

    def learned_by(self, space: Space, ids: Sequence[UUID]) -> Mapping[UUID, FoundFact]:
        """Return which versions have learned each trajectory and its feedback."""
        with reading(self._engine, "reading what was learned", BRIEF) as connection:
            return outcome_samples.read_learned_by(connection, space.space_id, ids)

    def learning(self, space: Space) -> dict[str, Any]:
        """Return the row of ``sona.learning`` of a space, and the database's time."""
        with reading(self._engine, "reading sona.learning", BRIEF) as connection:
            cursor = driver_connection(connection).execute(LEARNING, {"space": space.space_id})
            row = cursor.fetchone()
            names = [column.name for column in cursor.description or ()]
            return {**dict(zip(names, row or [None] * len(names), strict=True)), "now": leases.now(connection)}

    def graph(self, space: Space, most: int) -> StoredGraph:
        """Return the ``most`` heaviest nodes of the memory graph, and at most four times as many edges among them."""
        asked = {"space": space.space_id, "dim": space.dim, "most": most}
        with snapshot(self._engine, "reading the memory graph", BRIEF) as connection:
            raw = driver_connection(connection)
            rows = raw.execute(NODES, asked).fetchall()
            wanted = {"space": space.space_id, "ids": [row[0] for row in rows], "most": 4 * most}
            edges = [PlacedEdge(*row) for row in raw.execute(EDGES, wanted)]
            size = raw.execute(GRAPH_SIZE, asked).fetchone()
        assert size is not None
        embeddings = np.array([row[5] for row in rows], np.float32).reshape(len(rows), space.dim)
        return StoredGraph([StoredNode(*row[:5]) for row in rows], embeddings, edges, *map(int, size))
