"""The stored memory graph: to arrays and back, opened with embeddings and names, closed again, to the bit."""

from __future__ import annotations

import dataclasses
import uuid

import numpy as np
import pytest

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ids import made_at, uuid7
from sona_pg.domain.memory import EdgeKind, MemoryNode, NodeKind, days_of
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.errors import MemoryGraphError
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.knowledge import Knowledge, graph_of
from sona_pg.learning.ranking.relocation import relocated

DIM = 4
CATALOG = Catalog.of(["a/b", "c", "d"], np.eye(3, DIM, dtype=np.float32))
PATTERN = LearnedPattern(
    id=uuid.UUID(int=5), centroid=np.array([0, 0, 0, 1], np.float32), size=1, weight=1.0, quality=1.0
)
QUERY = uuid7()


def opened() -> MemoryGraph:
    own = np.array([0.6, 0.8, 0, 0], np.float32)
    nodes = [
        MemoryNode(f"pattern/{PATTERN.id}", PATTERN.centroid, kind=NodeKind.PATTERN, access_count=3),
        MemoryNode("candidate/a/b", np.eye(DIM, dtype=np.float32)[0]),
        MemoryNode(f"query/{QUERY}", own, importance=0.7, kind=NodeKind.TRAJECTORY),
        MemoryNode("candidate/d", np.eye(DIM, dtype=np.float32)[2], last_accessed=days_of(made_at(QUERY))),
    ]
    graph = MemoryGraph.of(nodes, DIM)
    pairs = np.array([0, 1, 2], np.int32), np.array([1, 2, 3], np.int32)
    edges = GraphEdges.of(4, *pairs, EdgeKind.CO_ACTIVATION, np.full(3, 0.3, np.float32), 2.5)
    return graph.with_edges(edges.united(GraphEdges.of(4, *pairs, EdgeKind.SEQUENCE, np.full(3, 0.1, np.float32), 1.0)))


def same(one, other) -> None:
    for name, values in one.items():
        assert values.dtype == other[name].dtype, name
        assert np.array_equal(values, other[name]), name


def test_a_graph_is_stored_opened_and_closed_to_the_bit():
    graph = LearnedGraph.closed(opened(), CATALOG, 7, LearnedGraph.empty(DIM))
    graph = dataclasses.replace(graph, communities=np.array([2, 0, 1, 2], np.int32))
    stored = graph.to_arrays()
    back = LearnedGraph.from_arrays(stored)
    same(stored, back.to_arrays())
    assert np.array_equal(back.edges.source, graph.edges.source)
    again = back.opened([PATTERN], CATALOG)
    assert again.ids == opened().ids
    assert again.embeddings == pytest.approx(opened().embeddings, abs=1e-3)
    closed = LearnedGraph.closed(again, CATALOG, 8, back)
    same(stored, closed.to_arrays())
    assert set(closed.created.tolist()) == {7}, "a node keeps the version that created it"
    without = {name: values for name, values in stored.items() if name != "communities"}
    assert not LearnedGraph.from_arrays(without).communities.any(), "a version from before there were any"
    assert back.now == pytest.approx(days_of(made_at(QUERY)))


def test_nodes_of_unknown_sources_are_named():
    for name in ("candidate/nobody", "pattern/17", "thing/1", "x"):
        graph = MemoryGraph.of([MemoryNode(name, np.ones(DIM, np.float32))], DIM)
        with pytest.raises(MemoryGraphError, match="names no source"):
            LearnedGraph.closed(graph, CATALOG, 1, LearnedGraph.empty(DIM))


def test_a_graph_moves_with_its_candidates_to_another_catalog():
    graph = LearnedGraph.closed(opened(), CATALOG, 7, LearnedGraph.empty(DIM))
    state = Knowledge.initial(DIM, SonaConfig(hidden_dim=DIM)).state
    assert len(graph_of(state)) == 0
    state = dataclasses.replace(state, arrays={"graph": graph.to_arrays()})
    elsewhere = Catalog.of(["new", "d", "c", "a/b"], np.eye(4, DIM, dtype=np.float32))
    moved: LearnedState = relocated(state, elsewhere.slots(CATALOG.ids))
    assert graph_of(moved).names(elsewhere) == list(opened().ids)
    assert relocated(state, np.arange(3, dtype=np.int32)) is state
