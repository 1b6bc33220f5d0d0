"""Dreams: walks that follow the transition matrix, scores in [0, 1], and graphs of every awkward shape."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.config.graph_parts import DreamConfig
from sona_pg.domain.memory import EdgeKind, MemoryNode
from sona_pg.learning.graph.dreams import (
    Walk,
    connections,
    diversity,
    judged,
    network_of,
    proposed_edges,
    sparsity,
    transition_probabilities,
    walks,
)
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph

FOLLOWING = DreamConfig(creative_jump=0.0, restart=0.0)


def graph_of(embeddings, pairs, weights=None, accesses=None):
    count = len(embeddings)
    nodes = [
        MemoryNode(f"n{row}", np.asarray(vector, np.float32), access_count=0 if accesses is None else accesses[row])
        for row, vector in enumerate(embeddings)
    ]
    source, target = np.array(pairs, np.int32).reshape(-1, 2).T
    weights = np.ones(len(source), np.float32) if weights is None else np.array(weights, np.float32)
    edges = GraphEdges.of(count, source, target, EdgeKind.CO_ACTIVATION, weights, 0.0)
    return MemoryGraph.of(nodes, len(embeddings[0])).with_edges(edges)


def weights_of(graph):
    return graph.edges.weights_at(0.0, 30.0)


def test_walks_are_distributed_as_the_transition_matrix_says():
    graph = graph_of(np.eye(4), [(0, 1), (0, 2), (0, 3)], [0.6, 0.3, 0.1], accesses=[0, 0, 9, 99])
    targets, expected = transition_probabilities(graph, weights_of(graph), 0, 1.0)
    config = dataclasses.replace(FOLLOWING, path=2)
    steps = [walked.rows[1] for walked in walks(graph, config, 0.0, 30.0, 1, 4000, home=0)]
    observed = [steps.count(target) / 4000 for target in targets.tolist()]
    assert observed == pytest.approx(expected, abs=0.03)
    assert expected[0] / expected[1] == pytest.approx(0.6 * 2.0 / (0.3 * 1.1)), "new nodes draw more than used ones"


def test_a_low_temperature_follows_the_heaviest_edge():
    graph = graph_of(np.eye(3), [(0, 1), (0, 2)], [0.6, 0.5])
    _, sure = transition_probabilities(graph, weights_of(graph), 0, 0.02)
    _, even = transition_probabilities(graph, weights_of(graph), 0, 100.0)
    assert sure[0] > 0.999
    assert even == pytest.approx([0.5, 0.5], abs=0.01)


def test_jumps_and_restarts_come_as_often_as_configured():
    graph = graph_of(np.eye(8), [(row, (row + 1) % 8) for row in range(8)])
    config = DreamConfig(path=1000)
    (walked,) = walks(graph, config, 0.0, 30.0, 0, 1)
    assert len(walked.jumps) / 999 == pytest.approx(config.creative_jump, abs=0.05)
    (always_home,) = walks(graph, DreamConfig(creative_jump=0.0, restart=1.0), 0.0, 30.0, 0, 1, home=3)
    assert set(always_home.rows) == {3}


def test_the_same_seed_dreams_the_same_and_each_dream_depends_on_its_number_alone():
    graph = graph_of(np.eye(8), [(row, (row + 1) % 8) for row in range(8)])
    dreamt = walks(graph, DreamConfig(), 0.0, 30.0, 7, 6)
    assert dreamt == walks(graph, DreamConfig(), 0.0, 30.0, 7, 6)
    assert dreamt[4:] == walks(graph, DreamConfig(), 0.0, 30.0, 7, 2, first=4)


def test_exploration_leans_to_nodes_that_are_like_no_other():
    near = [[1.0, 0.02 * row, 0.0] for row in range(9)]
    graph = graph_of([*near, [0.0, 0.0, 1.0]], [])
    graph = graph.with_edges(graph.similarity_edges(0.0))
    lonely = sparsity(graph)
    assert lonely[9] == 1.0 > 0.1 > lonely[:9].max()
    shares = []
    for share in (0.0, 1.0):
        config = DreamConfig(path=2, creative_jump=1.0, exploration=share)
        shares.append(np.mean([walked.rows == (9, 9) for walked in walks(graph, config, 0.0, 30.0, 0, 500)]))
    assert shares[0] < 0.05 < 0.8 < shares[1]


@pytest.mark.parametrize(
    ("count", "pairs"),
    [(1, []), (3, []), (2, [(0, 1)]), (3, [(0, 1), (1, 2), (2, 0)]), (4, [(0, 1), (2, 3)])],
    ids=["single", "isolated", "pair", "cycle", "disconnected"],
)
def test_every_shape_of_graph_can_be_walked_and_scored(count, pairs):
    graph = graph_of(np.eye(count + 1)[:count], pairs)
    for walked in walks(graph, DreamConfig(), 0.0, 30.0, 0, 20):
        dream = judged(graph, walked, DreamConfig())
        assert len(dream.path) == DreamConfig().path
        assert all(0 <= score <= 1 for score in (dream.novelty, dream.coherence, dream.utility, dream.quality))


def test_novelty_is_the_share_of_connections_that_the_graph_lacks():
    graph = graph_of(np.eye(3) + 1.0, [(0, 1)])
    dream = judged(graph, Walk((0, 1, 0, 2), (3,)), DreamConfig())
    assert dream.novelty == pytest.approx(0.5)
    cosine = float(graph.embeddings[0] @ graph.embeddings[1])
    assert dream.coherence == pytest.approx(cosine)
    assert dream.utility == pytest.approx(0.5)
    assert dream.quality == pytest.approx(0.3 * 0.5 + 0.4 * cosine + 0.3 * 0.5)


def test_a_dream_proposes_the_connections_that_the_graph_lacks_and_no_other():
    graph = graph_of(np.eye(4), [(0, 1)])
    proposed = proposed_edges(graph, Walk((0, 1, 2, 2, 1, 3), ()), 0.1, 5.0)
    pairs = zip(proposed.source.tolist(), proposed.target.tolist(), strict=True)
    assert set(pairs) == {(1, 2), (2, 1), (1, 3), (3, 1)}
    assert (proposed.kind == EdgeKind.DREAM).all()


def test_the_network_of_a_dream_has_its_edges_and_what_the_walk_proposes_as_far_as_it_is_alike():
    graph = graph_of([[1, 0], [0, 1], [1, 1]], [(0, 1)], [0.4])
    walked = Walk((0, 1, 2), ())
    network = network_of(graph, weights_of(graph), walked)
    assert connections(walked) == [(0, 1), (1, 2)]
    assert network == pytest.approx(np.array([[0, 0.4, 0], [0.4, 0, 2**-0.5], [0, 2**-0.5, 0]]), abs=1e-6)


def test_diversity_is_one_for_dreams_without_a_common_node_and_none_for_equal_ones():
    graph = graph_of(np.eye(4), [(0, 1), (2, 3)])
    first, second = (judged(graph, Walk(rows, ()), DreamConfig()) for rows in ((0, 1), (2, 3)))
    assert diversity([first, second]) == 1.0
    assert diversity([first, first]) == 0.0
    assert diversity([]) == 1.0
