"""Φ: integrated information of a small network, as a Gaussian proxy (Barrett and Seth 2011, "empirical" Φ_E).

The network is that of spreading activation among the nodes of a dream, driven by noise of variance 1:

    x(t+1) = a W x(t) + ε,        W the connections, scaled to spectral radius 1;  a the damping

Its stationary covariance Σ solves Σ = a² W Σ Wᵀ + I. For a bipartition of the nodes into parts M,

    φ = ½ log Π det Σ(M(t-1) | M(t)) − ½ log det Σ(x(t-1) | x(t))

is the information, in nats, that the whole has about its past beyond its parts. Φ is φ of the bipartition that has the
least φ / K, where K = ½ log min det(2πe Σ(M)) keeps lopsided cuts from winning. It is 0 for a single node, and for
nodes that are not connected. No claim about consciousness is made: it measures the cohesion of a dream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAMPING = 0.9  # of the activation in one step
ALL_CUTS = 10  # nodes up to which every bipartition is tried: 511 of them; above, those of the spectral order

Matrix = NDArray[np.float64]


def integration(connections: Matrix) -> float:
    """Return Φ in nats of the network with these ``connections`` (n, n): weights of 0 or more, symmetric or not."""
    count = len(connections)
    if count < 2 or not _is_connected(connections):
        return 0.0
    network = _Network(connections)
    cuts = every_cut(count) if count <= ALL_CUTS else spectral_cuts(connections)
    return max(min(map(network.cut, cuts))[1], 0.0)


def every_cut(count: int) -> list[NDArray[np.bool_]]:
    """Return every bipartition of ``count`` nodes: the side of each node; node 0 is on the side of False."""
    numbers = np.arange(1, 2 ** (count - 1))
    return list((numbers[:, None] >> np.arange(-1, count - 1).clip(0) & 1).astype(bool) & (np.arange(count) > 0))


def spectral_cuts(connections: Matrix) -> list[NDArray[np.bool_]]:
    """Return the bipartitions along the Fiedler order: the nodes sorted by the second eigenvector of the Laplacian."""
    weights = (connections + connections.T) / 2.0
    laplacian = np.diag(weights.sum(axis=1)) - weights
    vector = np.linalg.eigh(laplacian)[1][:, 1]
    place = np.argsort(np.argsort(vector, kind="stable"), kind="stable")
    return [place < size for size in range(1, len(connections))]


class _Network:
    """Covariances of the stationary process, and φ of a bipartition."""

    def __init__(self, connections: Matrix) -> None:
        radius = float(np.abs(np.linalg.eigvals(connections)).max())
        step = DAMPING * connections / max(radius, 1e-12)
        self._now = _stationary(step)
        self._lagged = step @ self._now  # Cov(x(t), x(t-1))
        self._whole = self._past_given_present(np.arange(len(connections)))

    def cut(self, side: NDArray[np.bool_]) -> tuple[float, float]:
        """Return (φ / K, φ) of one bipartition."""
        parts = np.flatnonzero(side), np.flatnonzero(~side)
        phi = sum(self._past_given_present(part) for part in parts) - self._whole
        scale = min(
            0.5 * (len(part) * np.log(2.0 * np.pi * np.e) + np.linalg.slogdet(self._now[np.ix_(part, part)])[1])
            for part in parts
        )
        return phi / scale, phi

    def _past_given_present(self, part: NDArray[np.intp]) -> float:
        """Return half the log determinant of the covariance of a part's past, given its present."""
        now, lagged = self._now[np.ix_(part, part)], self._lagged[np.ix_(part, part)]
        left = now - lagged.T @ np.linalg.solve(now, lagged)
        return 0.5 * float(np.linalg.slogdet(left)[1])


def _stationary(step: Matrix) -> Matrix:
    """Return Σ of x(t+1) = step x(t) + ε by doubling: Σ = Σ_k stepᵏ (stepᵏ)ᵀ (Smith 1968)."""
    total, power = np.eye(len(step)), step
    while float(np.abs(power).max()) > 1e-12:
        total = total + power @ total @ power.T
        power = power @ power
    return total


def _is_connected(connections: Matrix) -> bool:
    joined = (connections > 0) | (connections.T > 0)
    reached = np.zeros(len(joined), bool)
    reached[0] = True
    while True:
        wider = reached | joined[reached].any(axis=0)
        if (wider == reached).all():
            return bool(reached.all())
        reached = wider
