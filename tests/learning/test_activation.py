"""Spreading activation and its learned mixing."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.domain.memory import EdgeKind, MemoryNode
from sona_pg.learning.graph.activation import FEATURES, PreparedGraph
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph, nearest_nodes
from sona_pg.learning.graph.mixing import JudgedRecall, Mixing, fit_mixing
from sona_pg.learning.vectors import unit


def conversation(turns=12, dim=16, groups=2, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((turns, dim)).astype(np.float32)
    nodes = [MemoryNode(f"t{row}", vector, group=f"s{row * groups // turns}") for row, vector in enumerate(vectors)]
    graph = MemoryGraph.of(nodes, dim)
    return graph.with_edges(graph.sequence_edges(0.0))


def column(active, name):
    return active.features[:, FEATURES.index(name)]


def test_activation_flows_along_the_sequence_and_not_across_groups():
    graph = conversation()
    scores = np.zeros(12, np.float32)
    scores[5] = 1.0  # the last turn of the first session
    active = PreparedGraph.of(graph, 0.0, 30.0).activate(scores)
    assert np.flatnonzero(column(active, "after")).tolist() == [4]
    assert np.flatnonzero(column(active, "before")).tolist() == [], "turn 6 begins another session"
    assert np.flatnonzero(column(active, "two_away")).tolist() == [3]
    assert np.flatnonzero(column(active, "group")).tolist() == [0, 1, 2, 3, 4, 5]


def test_nodes_around_the_best_matches_are_enough():
    graph = conversation(turns=400, groups=20)
    graph = graph.with_edges(graph.edges.united(graph.similarity_edges(0.0)))
    prepared = PreparedGraph.of(graph, 0.0, 30.0)
    scores = graph.embeddings @ unit(np.random.default_rng(9).standard_normal(16).astype(np.float32))
    everything, some = prepared.activate(scores, seeds=400), prepared.activate(scores, seeds=40)
    assert len(some.rows) < 400
    np.testing.assert_array_equal(some.features, everything.features[np.isin(everything.rows, some.rows)])


def test_use_and_dreams_count_by_the_weight_of_their_edges():
    graph = conversation()
    ends = np.array([0], np.int32), np.array([7], np.int32)
    for kind, name in ((EdgeKind.CO_ACTIVATION, "co_active"), (EdgeKind.DREAM, "dreamt")):
        joined = graph.with_edges(graph.edges.united(GraphEdges.of(12, *ends, kind, np.full(1, 0.4, np.float32), 0.0)))
        scores = np.zeros(12, np.float32)
        scores[0] = 0.5
        active = PreparedGraph.of(joined, 30.0, 30.0).activate(scores)
        assert column(active, name)[7] == pytest.approx(0.4 / 2 * 0.5), "half of the weight is left after a half life"


def test_what_came_before_the_query_activates_what_is_like_it_the_latest_most():
    graph = conversation()
    active = PreparedGraph.of(graph, 0.0, 30.0).activate(np.zeros(12, np.float32), graph.embeddings[[2, 9]])
    assert column(active, "context")[9] > column(active, "context")[2] > 0.3


def test_an_empty_graph_activates_nothing():
    active = PreparedGraph.of(MemoryGraph.empty(4), 0.0, 30.0).activate(np.zeros(0, np.float32))
    assert active.features.shape == (0, len(FEATURES))


def test_nearest_nodes_are_those_of_an_exhaustive_search():
    vectors = unit(np.random.default_rng(3).standard_normal((50, 8)).astype(np.float32))
    rows, cosines = nearest_nodes(vectors, 10, 30, 4)
    whole = vectors @ vectors.T
    np.fill_diagonal(whole, -np.inf)
    np.testing.assert_array_equal(rows, np.argsort(-whole[10:30], axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(cosines, np.take_along_axis(whole[10:30], rows, 1), rtol=1e-5)


def made_up(queries, seed):
    """Return recalls whose used memory is the one before the best match."""
    random = np.random.default_rng(seed)
    recalls = []
    for _ in range(queries):
        features = np.zeros((20, len(FEATURES)), np.float32)
        features[:, 0] = random.random(20) * 0.5
        best = int(random.integers(1, 20))
        features[best, 0] = 0.9
        features[best - 1, FEATURES.index("after")] = 0.9
        used = np.zeros(20)
        used[best - 1] = 1.0
        recalls.append(JudgedRecall(features, used))
    return recalls


def found(mixing, recalls):
    return np.mean([mixing.scores(recall.features).argmax() == recall.used.argmax() for recall in recalls])


def test_mixing_learns_which_way_of_activation_counts():
    learned = fit_mixing(made_up(30, 0))
    assert found(Mixing.initial(), made_up(50, 1)) < 0.2
    assert found(learned, made_up(50, 1)) > 0.95


def test_without_judged_queries_the_mixing_stays_and_a_refit_is_the_same():
    np.testing.assert_array_equal(fit_mixing([]).weights, Mixing.initial().weights)
    np.testing.assert_array_equal(fit_mixing(made_up(9, 2)).weights, fit_mixing(made_up(9, 2)).weights)
