"""Communities of the memory graph: label propagation, numbers that stay, and new nodes that find theirs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.learning.graph import communities
from sona_pg.learning.graph.communities import adopted, grouped, numbered, propagated
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.graph_nodes import selected
from sona_pg.learning.graph.learned_graph import LearnedGraph

NOW, HALF_LIFE = 100.0, 30.0


def random_edges(rng: np.random.Generator, nodes: int, pairs: int) -> GraphEdges:
    """Return pairs of each kind, of several ages."""
    edges = GraphEdges.empty(nodes)
    for kind in EdgeKind:
        ends = rng.integers(0, nodes, (2, pairs)).astype(np.int32)
        weight = rng.random(pairs).astype(np.float32)
        edges = edges.united(GraphEdges.of(nodes, *ends, kind, weight, NOW - float(rng.integers(0, 90))))
    return edges


def graph_with(edges: GraphEdges, dim: int = 2) -> LearnedGraph:
    count = edges.nodes
    return dataclasses.replace(
        LearnedGraph.empty(dim),
        kinds=np.full(count, NodeKind.PATTERN, np.uint8),
        keys=np.arange(16 * count).reshape(-1, 16).astype(np.uint8),
        slots=np.full(count, -1, np.int32),
        importance=np.ones(count, np.float32),
        accesses=np.zeros(count, np.int64),
        accessed=np.full(count, NOW),
        created=np.ones(count, np.int64),
        communities=np.zeros(count, np.int32),
        edges=edges,
    )


def cliques(*sizes: int, bridges: float = 0.05) -> GraphEdges:
    """Return cliques one after the other, each joined to the next by a weak edge."""
    count, edges, first = sum(sizes), GraphEdges.empty(sum(sizes)), 0
    for size in sizes:
        pairs = np.array([(a, b) for a in range(first, first + size) for b in range(a) if b >= first], np.int32).T
        edges = edges.united(
            GraphEdges.of(count, *pairs, EdgeKind.CO_ACTIVATION, np.full(pairs.shape[1], 0.5, np.float32), NOW)
        )
        if first:
            bridge = np.array([first - 1], np.int32), np.array([first], np.int32)
            edges = edges.united(GraphEdges.of(count, *bridge, EdgeKind.DREAM, np.full(1, bridges, np.float32), NOW))
        first += size
    return edges


def reference(edges: GraphEdges, weights: np.ndarray, rounds: int) -> list[int]:
    """Return the label of each node, computed over a dense matrix."""
    dense = np.zeros((edges.nodes, edges.nodes))
    np.add.at(dense, (edges.source, edges.target), weights.astype(np.float64))
    back = np.isin(edges.kind, [kind for kind in EdgeKind if kind.directed])
    np.add.at(dense, (edges.target[back], edges.source[back]), weights[back].astype(np.float64))
    labels = list(range(edges.nodes))
    for _ in range(rounds):
        following = []
        for node, label in enumerate(labels):
            votes: dict[int, float] = {}
            for other in np.flatnonzero(dense[node]).tolist():
                votes[labels[other]] = votes.get(labels[other], 0.0) + dense[node, other]
            if votes:
                votes[label] = votes.get(label, 0.0) + float(dense[node].max())
            following.append(min(votes, key=lambda of: (-votes[of], of)) if votes else label)
        if following == labels:
            break
        labels = following
    return labels


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("block", [3, 8192])
def test_labels_are_those_of_a_plain_computation(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(communities, "BLOCK", block)
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, 40, int(rng.integers(2, 30)))
    weights = edges.weights_at(NOW, HALF_LIFE)
    for rounds in (1, 3, 10):
        assert propagated(edges, weights, rounds).tolist() == reference(edges, weights, rounds)


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_nodes_without_edges_are_communities_of_their_own(nodes: int) -> None:
    found = grouped(graph_with(GraphEdges.empty(nodes)), NOW, HALF_LIFE)
    assert found.communities.tolist() == list(range(1, nodes + 1))


def test_groups_that_are_joined_by_little_are_found_the_largest_first() -> None:
    found = grouped(graph_with(cliques(4, 7, 5)), NOW, HALF_LIFE)
    assert found.communities.tolist() == [3] * 4 + [1] * 7 + [2] * 5


def test_a_community_keeps_its_number_while_most_of_its_nodes_stay_together() -> None:
    before = grouped(graph_with(cliques(4, 7, 5)), NOW, HALF_LIFE)
    place = np.arange(16)
    place[[4, 5, 6, 7]] = -1  # of the largest, which is now the smallest
    left = selected(before, place)
    more = dataclasses.replace(left, edges=left.edges.grown_to(12))
    assert grouped(more, NOW, HALF_LIFE).communities.tolist() == [3] * 4 + [1] * 3 + [2] * 5
    split = np.array([5, 5, 5, 9, 9, 7, 7], np.int32)
    assert numbered(split, np.array([1, 1, 1, 1, 1, 2, 2], np.int32)).tolist() == [1, 1, 1, 3, 3, 2, 2]
    assert numbered(split, np.array([4, 4, 4, 4, 4, 0, 0], np.int32)).tolist() == [4, 4, 4, 2, 2, 1, 1]
    assert numbered(split, np.array([2, 2, 2, 2, 2, 2, 2], np.int32)).tolist() == [2, 2, 2, 3, 3, 1, 1]


def test_a_new_node_joins_the_community_of_its_heaviest_neighbours() -> None:
    rng = np.random.default_rng(1)
    known = grouped(graph_with(cliques(4, 5)), NOW, HALF_LIFE)
    ends = np.array([(9, 0), (9, 4), (9, 5), (11, 10)], np.int32).T
    weights = np.array([0.5, 0.3, 0.3, 0.9], np.float32)
    fresh = GraphEdges.of(12, *ends, EdgeKind.CO_ACTIVATION, weights, NOW)
    grown = graph_with(known.edges.grown_to(12).united(fresh))
    grown = dataclasses.replace(grown, communities=np.append(known.communities, [0, 0, 0]).astype(np.int32))
    assert adopted(grown, NOW, HALF_LIFE).communities.tolist() == [2] * 4 + [1] * 5 + [1, 0, 0]
    later = GraphEdges.of(12, *np.array([(4, 9), (10, 9), (10, 11)], np.int32).T, EdgeKind.SEQUENCE, weights[:3], NOW)
    led_to = dataclasses.replace(grown, edges=known.edges.grown_to(12).united(later))
    assert adopted(led_to, NOW, HALF_LIFE).communities.tolist() == [2] * 4 + [1] * 5 + [1, 1, 1], "against the edges"
    nobody = graph_with(random_edges(rng, 9, 5))
    assert adopted(nobody, NOW, HALF_LIFE) is nobody, "before the first deep cycle"
