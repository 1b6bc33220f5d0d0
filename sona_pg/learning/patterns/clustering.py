"""Clusters of queries: spherical k-means, warm-started from the existing patterns.

Spherical k-means (Dhillon and Modha 2001) seeded by D² sampling (Arthur and Vassilvitskii 2007). A pattern seeds
its own cluster and takes part as one heavy point, so that it keeps its place; new clusters are seeded where points
are far from every pattern.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import PatternConfig

SAMPLE = 20  # points a cluster, on which new clusters are found
PASSES = 4  # over all points; later cycles continue from the result
LIGHTEST = 1e-3  # weight of a pattern whose trajectories are all among the points


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters that survived. Those of patterns come first, in the patterns' order."""

    centroids: NDArray[np.float32]  # (k, dim) float32, unit rows
    labels: NDArray[np.int32]  # (n,) the cluster of each point
    similarities: NDArray[np.float32]  # (n,) cosine of each point with its centroid


def find_clusters(
    known: NDArray[np.float32],
    sizes: NDArray[np.float64],
    points: NDArray[np.float32],
    weights: NDArray[np.float32],
    config: PatternConfig,
    seed: int,
) -> Clusters:
    """Cluster ``points``; every known centroid stays a cluster, new ones need ``min_size`` of the weight.

    Args:
        known: (p, dim) centroids of the patterns.
        sizes: (p,) how many trajectories stand behind each.
        points: (n, dim) unit rows, n at least 1.
        weights: (n,) how many trajectories each point stands for.
        config: number of clusters, smallest size, iterations, tolerance.
        seed: of the D² sampling.
    """
    nearest = kernels.kmeans_assign(points, known) if len(known) else None
    here = np.zeros(len(known)) if nearest is None else np.bincount(nearest[0], weights, len(known))
    total = max(float(sizes.sum()), float(weights.sum()))
    room = min(config.clusters, max(1, int(total) // (2 * config.min_size))) - len(known)
    new = max(0, min(room, len(points)))
    held = np.maximum(sizes - here, LIGHTEST).astype(np.float32)
    seeds, passes = known, PASSES
    if new:
        rng = np.random.default_rng([seed, len(points)])
        sample = np.sort(rng.permutation(len(points))[: SAMPLE * (len(known) + new)])
        # D² sampling given the known centroids: a point counts by its squared distance to the nearest pattern.
        far = weights if nearest is None else np.ascontiguousarray(weights * nearest[1])
        places = kernels.kmeans_plus_plus(points[sample], far[sample], new, rng.random(new))
        seeds = np.concatenate([known, points[sample[places]]])
        if len(sample) == len(points):
            passes = config.max_iterations
        else:
            share = np.float32(len(sample) / len(points))
            seeds = _settled(known, held * share, points[sample], weights[sample], seeds, config.max_iterations, config)
    centroids = _settled(known, held, points, weights, seeds, min(passes, config.max_iterations), config)
    labels, distances = kernels.kmeans_assign(points, centroids)
    counts = np.bincount(labels, weights, len(centroids))
    stay = np.flatnonzero((np.arange(len(centroids)) < len(known)) | (counts >= config.min_size))
    if len(stay) == 0:
        stay = np.array([int(np.argmax(counts))])  # a handful of trajectories still makes one pattern
    if len(stay) < len(centroids):
        centroids = np.ascontiguousarray(centroids[stay])
        labels, distances = kernels.kmeans_assign(points, centroids)
    return Clusters(centroids, labels, 1.0 - 0.5 * distances)  # of unit vectors: |x - c|² = 2 - 2 cos


def _settled(
    known: NDArray[np.float32],
    held: NDArray[np.float32],
    points: NDArray[np.float32],
    weights: NDArray[np.float32],
    seeds: NDArray[np.float32],
    passes: int,
    config: PatternConfig,
) -> NDArray[np.float32]:
    """Return centroids (k, dim) after Lloyd's iterations from ``seeds``; ``known`` are points that weigh ``held``."""
    return kernels.kmeans_lloyd(
        np.ascontiguousarray(np.concatenate([known, points])),
        np.ascontiguousarray(seeds),
        np.concatenate([held, weights]),
        max_iter=passes,
        tol=config.tolerance,
    )[0]
