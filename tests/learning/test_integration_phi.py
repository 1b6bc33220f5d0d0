"""Φ: zero where nothing is integrated, and equal to a brute-force reference where everything can be tried."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sona_pg.learning.graph.integration import ALL_CUTS, DAMPING, every_cut, integration, spectral_cuts


def reference(connections):
    """Φ by the definition, one bipartition after the other, from covariances solved as linear equations."""
    count = len(connections)
    step = DAMPING * connections / np.abs(np.linalg.eigvals(connections)).max()
    now = np.linalg.solve(np.eye(count**2) - np.kron(step, step), np.eye(count).reshape(-1)).reshape(count, count)
    lagged = step @ now

    def left(part):
        inner, across = now[np.ix_(part, part)], lagged[np.ix_(part, part)]
        return 0.5 * np.log(np.linalg.det(inner - across.T @ np.linalg.inv(inner) @ across))

    def entropy(part):
        return 0.5 * np.log((2 * np.pi * np.e) ** len(part) * np.linalg.det(now[np.ix_(part, part)]))

    everything, best = list(range(count)), None
    for size in range(1, count):
        for chosen in itertools.combinations(everything, size):
            parts = list(chosen), [node for node in everything if node not in chosen]
            phi = sum(left(part) for part in parts) - left(everything)
            normalised = phi / min(entropy(part) for part in parts)
            best = min(best, (normalised, phi)) if best else (normalised, phi)
    return best[1]


def random_network(count, seed):
    random = np.random.default_rng(seed)
    weights = random.random((count, count)) * (random.random((count, count)) < 0.7)
    ring = np.roll(np.eye(count), 1, axis=1) * 0.2
    weights = weights + weights.T + ring + ring.T
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_a_brute_force_reference(count, seed):
    network = random_network(count, seed)
    assert integration(network) == pytest.approx(reference(network), abs=1e-9)


def test_directed_networks_are_measured_too():
    network = random_network(4, 5) * np.random.default_rng(6).random((4, 4))
    assert integration(network) == pytest.approx(reference(network), abs=1e-9)


@pytest.mark.parametrize(
    "network", [np.zeros((0, 0)), np.ones((1, 1)), np.zeros((3, 3)), np.kron(np.eye(2), [[0, 1], [1, 0]])]
)
def test_nothing_and_one_node_and_disconnected_nodes_have_none(network):
    assert integration(np.asarray(network, float)) == 0.0


def test_every_bipartition_is_tried_once():
    cuts = {tuple(cut.tolist()) for cut in every_cut(5)}
    assert len(cuts) == 2**4 - 1
    assert not any(cut[0] for cut in cuts)


def test_two_clusters_are_cut_between_them_also_where_not_every_cut_is_tried():
    count = ALL_CUTS + 4
    network = np.kron(np.eye(2), np.ones((count // 2, count // 2))) - np.eye(count)
    network[0, -1] = network[-1, 0] = 0.01
    halves = np.arange(count) < count // 2
    assert any((cut == halves).all() or (cut == ~halves).all() for cut in spectral_cuts(network))
    joined = network.copy()
    joined[: count // 2, count // 2 :] = joined[count // 2 :, : count // 2] = 0.5
    assert integration(joined) > 10 * integration(network) > 0.0


def test_stronger_bonds_between_two_nodes_of_a_triangle_do_not_change_scale():
    network = random_network(5, 1)
    assert integration(network) == pytest.approx(integration(3.0 * network), rel=1e-9), "weights count by their ratios"
