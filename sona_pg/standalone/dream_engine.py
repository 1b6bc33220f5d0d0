"""DreamEngine: a memory graph in memory, and dreams over it, without a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sona_pg.config.graph_parts import DreamConfig
from sona_pg.domain.memory import Dream, EdgeKind, MemoryEdge, MemoryNode
from sona_pg.errors import DimensionMismatch, InvalidValue, MemoryGraphError
from sona_pg.learning.graph.activation import PreparedGraph
from sona_pg.learning.graph.consolidation import EDGE_HALF_LIFE, MAX_DEGREE, Consolidated, consolidate
from sona_pg.learning.graph.dreams import Walk, connections, judged, network_of, proposed_edges, walks
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.integration import integration
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.graph.mixing import Mixing
from sona_pg.learning.vectors import unit


class DreamEngine:
    """Nodes, edges and dreams in memory. Moments are days since any fixed day, and ``now`` is set by the caller."""

    def __init__(
        self,
        dim: int = 256,
        config: DreamConfig | None = None,
        *,
        seed: int = 0,
        graph: MemoryGraph | None = None,
        now: float = 0.0,
    ) -> None:
        """Start with ``graph``, or with no node; the same calls with the same ``seed`` give the same dreams."""
        self.dim = dim
        self.config = config or DreamConfig()
        self.now = now
        self._seed = seed
        self._dreamt = 0  # dreams so far: each has a number of its own
        self._graph = graph or MemoryGraph.empty(dim)
        self._added: list[MemoryNode] = []
        self._rows = {name: row for row, name in enumerate(self._graph.ids)}
        self._prepared: PreparedGraph | None = None

    @property
    def node_count(self) -> int:
        """The number of nodes."""
        return len(self._rows)

    @property
    def edge_count(self) -> int:
        """The number of edges, symmetric ones counted once."""
        return len(self.edges())

    @property
    def graph(self) -> MemoryGraph:
        """The graph as arrays."""
        if self._added:
            self._graph, self._added = self._graph.extended(self._added), []
        return self._graph

    def add_memory_node(
        self, embedding: ArrayLike, *, id: str | None = None, importance: float = 0.5, group: str | None = None
    ) -> str:
        """Add one node, and return its id; a ``group`` keeps the order in which its nodes are added.

        Raises:
            DimensionMismatch: the embedding is not of this engine's dimension.
            InvalidValue: the embedding has no direction, or the importance is not in [0, 1].
            MemoryGraphError: the id is taken.
        """
        vector = np.array(embedding, np.float32)
        if vector.shape != (self.dim,):
            raise DimensionMismatch(self.dim, int(vector.size))
        if not np.isfinite(vector).all() or not vector.any():
            raise InvalidValue("the embedding has no direction: expected finite numbers that are not all 0")
        if not 0 <= importance <= 1:
            raise InvalidValue(f"importance={importance!r} is out of range: expected a number in [0, 1]")
        name = id if id is not None else f"node-{len(self._rows)}"
        if name in self._rows:
            raise MemoryGraphError(f"node {name!r} is there already: give every node an id of its own")
        self._added.append(MemoryNode(name, vector, importance, group=group, last_accessed=self.now))
        self._rows[name] = len(self._rows)
        self._prepared = None
        return name

    def connect(self, source: str, target: str, weight: float = 0.5, kind: EdgeKind = EdgeKind.CO_ACTIVATION) -> None:
        """Join two nodes; an edge that is there keeps the heavier weight.

        Raises:
            MemoryGraphError: a node is not known, or it is one and the same.
            InvalidValue: the weight is not in [0, 1].
        """
        if not 0 <= weight <= 1:
            raise InvalidValue(f"weight={weight!r} is out of range: expected a number in [0, 1]")
        first, second = self._row(source), self._row(target)
        if first == second:
            raise MemoryGraphError(f"node {source!r} cannot be joined to itself")
        ends = np.array([first], np.int32), np.array([second], np.int32)
        added = GraphEdges.of(len(self.graph), *ends, kind, np.array([weight], np.float32), self.now)
        self._adopt(self.graph.edges.united(added))

    def link_similar(self) -> int:
        """Join every node to its nearest ones, and the nodes of each group in their order; return the edges added."""
        before = len(self.graph.edges)
        made = self.graph.similarity_edges(self.now).united(self.graph.sequence_edges(self.now))
        self._adopt(self.graph.edges.united(made))
        return len(self.graph.edges) - before

    def strengthen(self, used: Sequence[str]) -> None:
        """Reinforce the edges between nodes that were used together, and count the uses (SONA's edge update)."""
        self._use(used, up=True)

    def weaken(self, unused: Sequence[str]) -> None:
        """Weaken the edges between nodes that were retrieved together in vain."""
        self._use(unused, up=False)

    def edges(self) -> list[MemoryEdge]:
        """Return all edges with their weights as of now."""
        return self.graph.listed(self.now, EDGE_HALF_LIFE)

    def recall(self, query: ArrayLike, k: int = 10, *, context: Sequence[ArrayLike] = ()) -> list[MemoryNode]:
        """Return the ``k`` nodes that a query activates most, also over the edges; most activated first."""
        if not self._rows:
            return []
        before = unit(np.array(context, np.float32).reshape(len(context), self.dim)) if len(context) else None
        x = unit(np.asarray(query, np.float32).reshape(self.dim))
        active = self._prepare().activate(np.asarray(self.graph.embeddings) @ x, before)
        best = np.argsort(-Mixing.initial().scores(active.features), kind="stable")[:k]
        return [self.graph.node(row) for row in active.rows[best].tolist()]

    def generate_dream(self, start: str | None = None) -> Dream | None:
        """Return one dream, from ``start`` or from a node drawn by importance; None without nodes.

        Raises:
            MemoryGraphError: ``start`` is not known.
        """
        if not self._rows:
            return None
        row = None if start is None else self._row(start)
        return self._dreams(1, row)[0]

    def generate_dreams(self, count: int | None = None) -> list[Dream]:
        """Return ``count`` dreams, by default as many as the configuration says, the best first."""
        wanted = self.config.count if count is None else count
        return sorted(self._dreams(wanted), key=lambda dream: -dream.quality) if self._rows else []

    def measure_integration(self, dream: Dream) -> Dream:
        """Return the dream with its Φ: how much its nodes hang together, by edges and by likeness."""
        network = network_of(self.graph, self._prepare().weights, self._walked(dream))
        return dataclasses.replace(dream, integration=integration(network))

    def integrate_dream(self, dream: Dream) -> bool:
        """Add a dream's connections as weak edges if it passes the thresholds of quality and Φ; say whether it did."""
        measured = dream if dream.integration is not None else self.measure_integration(dream)
        assert measured.integration is not None
        passes = dream.quality >= self.config.least_quality and measured.integration >= self.config.least_integration
        walked = self._walked(dream)
        if not passes or not connections(walked):
            return False
        proposed = proposed_edges(self.graph, walked, self.config.edge_weight, self.now)
        self._adopt(self.graph.edges.united(proposed).capped(MAX_DEGREE, self.now, EDGE_HALF_LIFE))
        return True

    def consolidate(self) -> Consolidated:
        """Strengthen, weaken, prune and merge nodes, and remove weak edges, as of now."""
        self._graph, done = consolidate(self.graph, self.now)
        self._rows = {name: row for row, name in enumerate(self._graph.ids)}
        self._prepared = None
        return done

    def _use(self, names: Sequence[str], *, up: bool) -> None:
        rows = np.array([self._row(name) for name in dict.fromkeys(names)], np.int32)
        first, second = np.triu_indices(len(rows), 1)
        ends = rows[first], rows[second]
        edges = self.graph.edges.reinforced_by(*ends, EdgeKind.CO_ACTIVATION, self.now, EDGE_HALF_LIFE, up=up)
        if up:
            self._graph = self.graph.used(rows, self.now)
        self._adopt(edges.capped(MAX_DEGREE, self.now, EDGE_HALF_LIFE))

    def _dreams(self, count: int, home: int | None = None) -> list[Dream]:
        graph, first = self.graph, self._dreamt
        self._dreamt += count
        walked = walks(graph, self.config, self.now, EDGE_HALF_LIFE, self._seed, count, first=first, home=home)
        return [judged(graph, one, self.config) for one in walked]

    def _walked(self, dream: Dream) -> Walk:
        return Walk(tuple(self._row(name) for name in dream.path), dream.jumps)

    def _adopt(self, edges: GraphEdges) -> None:
        self._graph, self._prepared = self.graph.with_edges(edges), None

    def _prepare(self) -> PreparedGraph:
        if self._prepared is None:
            self._prepared = PreparedGraph.of(self.graph, self.now, EDGE_HALF_LIFE)
        return self._prepared

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is None:
            raise MemoryGraphError(f"there is no node {name!r} in this graph")
        return row
