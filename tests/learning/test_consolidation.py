"""Consolidation: used nodes stay, unused ones are pruned, near-duplicates merge, and a year stays within bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.strategies import randoms

from sona_pg.domain.memory import EdgeKind, MemoryNode, NodeKind
from sona_pg.learning.graph.consolidation import (
    MAX_DEGREE,
    Limits,
    consolidate,
    duplicates,
    merged_duplicates,
    values_of,
)
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph


def node(name, vector, **fields):
    return MemoryNode(name, np.asarray(vector, np.float32), **fields)


def test_value_rises_with_each_of_its_parts():
    same = np.eye(5)
    graph = MemoryGraph.of(
        [
            node("plain", same[0], importance=0.5),
            node("used", same[1], importance=0.5, access_count=50),
            node("late", same[2], importance=0.5, last_accessed=100.0),
            node("good", same[3], importance=0.9),
            node("joined", same[4], importance=0.5),
        ],
        5,
    )
    joined = np.array([4], np.int32), np.array([0], np.int32)
    graph = graph.with_edges(GraphEdges.of(5, *joined, EdgeKind.SEQUENCE, np.ones(1, np.float32), 0.0))
    plain, *others = values_of(graph, 100.0)
    assert all(other > plain for other in others)
    assert values_of(graph, 100.0).max() <= 1.0


def test_what_is_never_used_fades_and_only_the_nodes_of_trajectories_are_pruned():
    nodes = [node(kind.name, np.eye(4)[kind], importance=0.06, kind=kind, last_accessed=0.0) for kind in NodeKind]
    graph = MemoryGraph.of(nodes, 4)
    for _ in range(5):
        graph, _ = consolidate(graph, 400.0)
    assert graph.ids == ("PATTERN", "CANDIDATE", "ABSTRACTION")


def test_near_duplicates_of_one_group_become_one_that_has_the_uses_and_edges_of_both():
    vectors = [[1, 0, 0], [1, 0.001, 0], [0, 1, 0], [1, 0, 0.001]]
    names = ["a", "a", "a", "b"]
    nodes = [
        node(f"n{row}", vector, group=names[row], access_count=row + 1, importance=0.2 + row / 10)
        for row, vector in enumerate(vectors)
    ]
    graph = MemoryGraph.of(nodes, 3)
    ends = np.array([1], np.int32), np.array([2], np.int32)
    used = GraphEdges.of(4, *ends, EdgeKind.CO_ACTIVATION, np.full(1, 0.5, np.float32), 0.0)
    graph, done = consolidate(graph.with_edges(graph.similarity_edges(0.0).united(used)), 0.0)
    assert done.merged == 1
    assert graph.ids == ("n0", "n2", "n3"), "the node of another group stays"
    assert graph.accesses.tolist() == [3, 3, 4]
    assert {(e.source, e.target) for e in graph.listed(0.0, 30.0) if e.kind is EdgeKind.CO_ACTIVATION} == {("n0", "n2")}


@given(randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_nodes_nor_that_of_merges_changes_what_becomes_one(random):
    """Chains of near-duplicates, so that one is merged by way of others."""
    seed = np.random.default_rng(3)
    centres = seed.standard_normal((4, 6))
    nodes = [
        node(f"n{row}", centres[row % 4] + 0.2 * seed.standard_normal(6), access_count=row + 1) for row in range(24)
    ]
    limits = Limits()

    def merged(listed):
        graph = MemoryGraph.of(listed, 6)
        graph = graph.with_edges(graph.similarity_edges(0.0))
        into = duplicates(graph)
        groups = {frozenset(np.array(graph.ids)[into == root].tolist()) for root in set(into.tolist())}
        after, count = merged_duplicates(graph, limits)
        return groups, sorted(after.accesses.tolist()), count

    groups, accesses, count = merged(nodes)
    assert 0 < count < 20
    shuffled = nodes.copy()
    random.shuffle(shuffled)
    assert merged(shuffled) == (groups, accesses, count)


def test_a_year_of_weeks_keeps_nodes_and_edges_within_their_bounds():
    random = np.random.default_rng(0)
    graph = MemoryGraph.empty(8)
    for week in range(52):
        now = 7.0 * week
        vectors = random.standard_normal((20, 8)).astype(np.float32)
        fresh = [
            node(f"{week}-{row}", vector, importance=0.1, kind=NodeKind.TRAJECTORY, last_accessed=now)
            for row, vector in enumerate(vectors)
        ]
        graph = graph.extended(fresh)
        graph = graph.with_edges(graph.edges.united(graph.similarity_edges(now)))
        for _ in range(3):
            graph, _ = consolidate(graph, now)
        assert graph.edges.degrees().max() <= MAX_DEGREE
    assert len(graph) < 600, "what nobody used is forgotten"


def test_consolidating_nothing_gives_nothing():
    graph, done = consolidate(MemoryGraph.empty(4), 1.0)
    assert len(graph) == 0
    assert (done.pruned, done.merged, done.edges_removed) == (0, 0, 0)
