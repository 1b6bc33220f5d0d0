"""A round of loop C over a memory graph: parts of a round, limits, dreams that die unless confirmed, the hierarchy."""

from __future__ import annotations

import dataclasses
import itertools
from uuid import UUID

import numpy as np
import pytest

from sona_pg.config import DreamConfig
from sona_pg.domain.memory import EdgeKind, MemoryNode, NodeKind
from sona_pg.learning.graph.abstraction import hierarchy, linkage, with_abstractions, without_abstractions
from sona_pg.learning.graph.confirmation import DREAM_LIFE, settled
from sona_pg.learning.graph.consolidation import Limits
from sona_pg.learning.graph.deep_round import STAGES, Extent, Position, run_round, union
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.linking import similar_to, unlinked
from sona_pg.learning.graph.memory_graph import MemoryGraph

LIMITS = Limits(half_life=30.0, degree=10, nodes=500, by_kind=True, merged=frozenset({NodeKind.TRAJECTORY}))
EASY = DreamConfig(count=12, least_quality=0.0, least_integration=0.0)


def graph_of(clusters=4, members=10, kind=NodeKind.PATTERN, dim=16, seed=0, now=0.0):
    random = np.random.default_rng(seed)
    centres = np.repeat(random.standard_normal((clusters, dim)), members, axis=0)
    vectors = (centres + 0.4 * random.standard_normal(centres.shape)).astype(np.float32)
    names = [f"{kind.name}/{UUID(int=row)}" for row in range(len(vectors))]
    nodes = [
        MemoryNode(name, vector, 0.6, kind, last_accessed=now) for name, vector in zip(names, vectors, strict=True)
    ]
    return MemoryGraph.of(nodes, dim)


def edge(nodes, source, target, kind, weight=0.1, at=0.0):
    ends = np.array([source], np.int32), np.array([target], np.int32)
    return GraphEdges.of(nodes, *ends, kind, np.array([weight], np.float32), at)


def same(one, other):
    arrays = ("source", "target", "kind", "weight", "reinforced")
    nodes = one.ids == other.ids and (one.embeddings == other.embeddings).all()
    return nodes and all(np.array_equal(getattr(one.edges, name), getattr(other.edges, name)) for name in arrays)


def kinds_of(graph):
    return {EdgeKind(kind) for kind in graph.edges.kind.tolist()}


def test_a_round_links_dreams_consolidates_and_builds_the_hierarchy():
    done = run_round(graph_of(), EASY, LIMITS, 10.0, 1, Extent())
    assert done.next.is_start
    assert done.linked == 40
    assert (done.dreams.count, done.dreams.joined) == (12, 12)
    assert 0 < done.dreams.diversity <= 1
    assert {EdgeKind.SIMILARITY, EdgeKind.DREAM, EdgeKind.ABSTRACTION} == kinds_of(done.graph)
    assert (done.graph.kinds == NodeKind.ABSTRACTION).sum() >= 4
    joined = done.best[0]
    assert joined.phi is not None
    assert joined.quality == max(dream.quality for dream in done.best)


def test_a_round_is_the_same_however_often_it_is_run_and_another_with_another_seed():
    one, other = (run_round(graph_of(), EASY, LIMITS, 10.0, 1, Extent()) for _ in range(2))
    assert same(one.graph, other.graph)
    assert not same(one.graph, run_round(graph_of(), EASY, LIMITS, 10.0, 2, Extent()).graph)


@pytest.mark.parametrize("units", [1, 2, 7, 13, 14, 15, 16])
def test_a_part_of_a_round_is_repeated_to_the_bit_by_its_number_of_units(units):
    stopped = run_round(graph_of(), EASY, LIMITS, 10.0, 1, Extent(stop=lambda done, _: done == units))
    again = run_round(graph_of(), EASY, LIMITS, 10.0, 1, Extent(most=stopped.units))
    assert stopped.units == units
    assert same(stopped.graph, again.graph)
    assert stopped.next == again.next


def test_parts_that_continue_each_other_do_every_unit_once():
    graph, position, dreams, units, stages, totals = graph_of(members=70), Position(), 0, 0, [], []
    whole = run_round(graph, EASY, LIMITS, 10.0, 1, Extent())

    def after_two(done, total):
        totals.append(units + total)
        return done == 2

    for _ in range(100):
        part = run_round(graph, EASY, LIMITS, 10.0, 1, Extent(position, stop=after_two))
        graph, position = part.graph, part.next
        dreams, units = dreams + part.dreams.count, units + part.units
        stages.append(STAGES[position.stage])
        if position.is_start:
            break
    assert dreams == EASY.count
    assert units == whole.units
    assert set(totals) == {units}
    assert [stage for stage, _ in itertools.groupby(stages)] == ["link", "dream", "value", "link"], "and from the start"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_graphs_of_hardly_any_node_go_through_a_round(count):
    graph = MemoryGraph.of([MemoryNode(f"n{row}", np.eye(3, dtype=np.float32)[row]) for row in range(count)], 3)
    done = run_round(graph, EASY, LIMITS, 1.0, 0, Extent())
    assert len(done.graph) == count
    assert done.next.is_start


def test_nodes_and_edges_are_within_their_limits_wherever_a_round_ends():
    tight = dataclasses.replace(LIMITS, degree=3, nodes=30)
    for units in (1, 5, 100):
        done = run_round(graph_of(), EASY, tight, 10.0, 1, Extent(most=units))
        for kind in (EdgeKind.SIMILARITY, EdgeKind.DREAM):
            assert np.bincount(done.graph.edges.source[done.graph.edges.kind == kind], minlength=1).max() <= 3
    assert (done.graph.kinds != NodeKind.ABSTRACTION).sum() == 30


def test_a_dreamt_edge_dies_unless_its_nodes_are_used_together():
    dreamt = union([edge(6, *pair, EdgeKind.DREAM, at=1.0) for pair in ((0, 1), (2, 3), (4, 5))])
    used = union([edge(6, 0, 1, EdgeKind.CO_ACTIVATION, at=20.0), edge(6, 2, 3, EdgeKind.CO_ACTIVATION, at=0.5)])
    kept, confirmed, faded = settled(union([dreamt, used]), 1.0 + DREAM_LIFE + 0.1)
    assert (confirmed, faded) == (1, 2), "a use before the dream confirms nothing"
    left = kept.where(kept.kind == EdgeKind.DREAM)
    assert list(zip(left.source.tolist(), left.target.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert (left.reinforced == 20.0).all()
    assert settled(used, 100.0) == (used, 0, 0)
    assert settled(dreamt, 2.0)[1:] == (0, 0)


def test_a_year_of_weeks_without_use_keeps_the_graph_bounded_and_no_dream_that_use_has_not_confirmed():
    graph = MemoryGraph.empty(16)
    for week in range(52):
        fresh = graph_of(2, 10, NodeKind.TRAJECTORY, seed=week, now=7.0 * week)
        names = [f"TRAJECTORY/{UUID(int=1000 * week + row)}" for row in range(20)]
        graph = graph.extended(
            [dataclasses.replace(fresh.node(row), id=names[row], importance=0.3) for row in range(20)]
        )
        graph = run_round(graph, dataclasses.replace(EASY, count=3), LIMITS, 7.0 * week, week, Extent()).graph
        assert len(graph) <= LIMITS.nodes
        assert len(graph.edges) <= 2 * len(graph) * LIMITS.degree
    dreamt = graph.edges.reinforced[graph.edges.kind == EdgeKind.DREAM]
    assert (7.0 * 51 - dreamt <= DREAM_LIFE).all()


def test_linking_finds_the_nearest_nodes_of_those_without_and_no_others():
    graph = graph_of(members=6)
    linked = graph.with_edges(graph.similarity_edges(0.0))
    made = similar_to(graph, np.arange(len(graph)), 0.0)
    edges = linked.edges
    assert list(zip(edges.source, edges.target, strict=True)) == list(zip(made.source, made.target, strict=True))
    assert made.weight == pytest.approx(edges.weight, abs=1e-6)  # BLAS may round X Xᵀ otherwise than X Yᵀ
    assert not len(unlinked(linked))
    assert unlinked(linked.extended([MemoryNode("new", np.ones(16, np.float32))])).tolist() == [24]


def test_average_linkage_is_that_of_the_definition():
    vectors = graph_of(3, 3).embeddings.astype(np.float64)
    groups, expected = [[row] for row in range(9)], []
    while len(groups) > 1:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a)]
        mean = [float((vectors[groups[a]] @ vectors[groups[b]].T).mean()) for a, b in pairs]
        best = int(np.argmax(mean))
        a, b = pairs[best]
        expected.append(mean[best])
        groups[b] += groups.pop(a)
    found = sorted((merge[2] for merge in linkage(vectors)), reverse=True)
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_hierarchy_has_clusters_as_its_lowest_groups_and_keeps_ids_while_members_stay():
    graph = with_abstractions(graph_of(6, 5), 1.0)
    groups = hierarchy(graph.embeddings[:30].astype(np.float64))
    lowest = {group.members for group in groups if all(child >= 0 for child in group.children)}
    assert lowest == {tuple(range(start, start + 5)) for start in range(0, 30, 5)}
    parents = graph.edges.where(graph.edges.kind == EdgeKind.ABSTRACTION)
    assert np.bincount(parents.source, minlength=30)[:30].tolist() == [1] * 30, "each pattern has one parent"
    assert with_abstractions(without_abstractions(graph), 2.0).ids == graph.ids
    fewer = with_abstractions(graph_of(6, 5).extended([]), 1.0)
    assert fewer.ids == graph.ids


@pytest.mark.parametrize("vectors", [np.zeros((0, 3)), np.ones((1, 1)), np.eye(3)])
def test_patterns_that_are_not_alike_have_no_hierarchy(vectors):
    assert hierarchy(vectors) == []
