"""Patterns: clustering what was asked, and keeping for each cluster how well it went.

Spherical k-means (Dhillon and Modha 2001) seeded by D² sampling (Arthur and Vassilvitskii 2007), warm-started
from the patterns there are: an existing pattern takes part as one heavy point at its centroid and seeds its own
cluster, so it keeps its id however often the bank learns, and a cycle costs what is new, not what is stored.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import PatternConfig
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.errors import PatternExtractionError
from sona_pg.learning.kinds import vote
from sona_pg.learning.signal import unit

TYPICAL = 5  # typical queries kept per pattern
UNRATED = 0.5  # the quality of a pattern that nobody has rated yet: neither good nor bad
MIN_WEIGHT = 1.0  # below it, a pattern that did badly is forgotten

_NAMESPACE = uuid.UUID("5f0c2a52-6f1e-4c61-9a55-6d6f6e612d70")  # of pattern ids, see pattern_id


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Trajectories to be clustered, by column. Quality NaN means that nobody has said."""

    embeddings: NDArray[np.float32]  # (n, dim) float32, unit rows
    quality: NDArray[np.float64]  # (n,)
    routes: Sequence[str | None]
    queries: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """The patterns after a cycle, and what became of them."""

    patterns: list[LearnedPattern]
    created: int
    merged: int
    pruned: int
    removed: list[uuid.UUID]  # ids that are no more: merged away or pruned


def pattern_id(seed: int, version: int, index: int) -> uuid.UUID:
    """Return the id of the ``index``-th pattern that version ``version`` creates: a rebuild gives the same ids."""
    return uuid.uuid5(_NAMESPACE, f"{seed}:{version}:{index}")


def extract(
    patterns: Sequence[LearnedPattern], fresh: Observations, config: PatternConfig, *, seed: int, version: int
) -> Extraction:
    """Fold new trajectories into the patterns of a space.

    Args:
        patterns: those there are.
        fresh: trajectories that no earlier call has seen; zero embeddings belong to no cluster and are passed over.
        config: number of clusters, smallest size, similarity at which patterns merge, decay, thresholds.
        seed: of the D² sampling.
        version: the state version being made; new patterns carry it.

    Raises:
        PatternExtractionError: an embedding is not finite, or its dimension is not the patterns'.
    """
    _require_fit(patterns, fresh)
    usable = np.flatnonzero(np.linalg.norm(fresh.embeddings, axis=1) > 0)
    if len(usable) == 0:
        return Extraction(list(patterns), 0, 0, 0, [])
    points = np.ascontiguousarray(fresh.embeddings[usable])
    centroids = _cluster(patterns, points, config, seed)
    labels, distances = kernels.kmeans_assign(points, centroids)
    survivors = _survivors(labels, len(patterns), len(centroids), config.min_size)
    if len(survivors) < len(centroids):
        centroids = np.ascontiguousarray(centroids[survivors])
        labels, distances = kernels.kmeans_assign(points, centroids)
    similarities = 1.0 - 0.5 * distances  # of unit vectors: |x - c|² = 2 - 2 cos
    updated: list[LearnedPattern] = []
    for index, centroid in enumerate(centroids):
        old = patterns[survivors[index]] if survivors[index] < len(patterns) else None
        rows = np.flatnonzero(labels == index)
        updated.append(
            _updated(old, index, centroid, usable[rows], similarities[rows], fresh, config.decay, seed, version)
        )
    created = sum(1 for row in survivors if row >= len(patterns))
    kept, merged = merge_similar(updated, config.merge_similarity)
    living = [pattern for pattern in kept if not pattern.should_prune(config.quality_threshold, MIN_WEIGHT)]
    ids = {pattern.id for pattern in living}
    return Extraction(
        living, created, merged, len(kept) - len(living), [old.id for old in patterns if old.id not in ids]
    )


def merge_similar(patterns: Sequence[LearnedPattern], similarity: float) -> tuple[list[LearnedPattern], int]:
    """Merge patterns whose centroids are at least ``similarity`` alike, larger first; return them and how many went."""
    order = sorted(patterns, key=lambda pattern: (-pattern.size, pattern.id))
    kept: list[LearnedPattern] = []
    for pattern in order:
        if kept:
            likeness = np.stack([other.centroid for other in kept]) @ pattern.centroid
            nearest = int(np.argmax(likeness))
            if likeness[nearest] >= similarity:
                kept[nearest] = kept[nearest].merge(pattern)
                continue
        kept.append(pattern)
    return kept, len(patterns) - len(kept)


def revise(pattern: LearnedPattern, route: str | None, old: float | None, new: float | None) -> LearnedPattern:
    """Return ``pattern`` after the quality of one of its trajectories changed; None is a quality nobody gave."""
    quality, weight = _replace_mean(pattern.quality, pattern.weight, old, new)
    routes = dict(pattern.routes)
    if route is not None and (route in routes or new is not None):
        record = routes.get(route, RouteRecord(1, 0.0, 0.0))
        mean, total = _replace_mean(record.quality, record.weight, old, new)
        routes[route] = dataclasses.replace(record, weight=total, quality=mean)
    return dataclasses.replace(pattern, quality=quality, weight=weight, routes=routes)


def nearest(
    patterns: Sequence[LearnedPattern],
    query: NDArray[np.float32],
    k: int,
    centroids: NDArray[np.float32] | None = None,
) -> list[LearnedPattern]:
    """Return the ``k`` patterns nearest to ``query`` (dim,), nearest first, each with its cosine similarity."""
    if not patterns or k <= 0:
        return []
    block = np.stack([pattern.centroid for pattern in patterns]) if centroids is None else centroids
    rows, scores = kernels.topk(unit(query), block, min(k, len(patterns)))
    return [
        dataclasses.replace(patterns[int(row)], similarity=float(score))
        for row, score in zip(rows, scores, strict=True)
    ]


class ReasoningBank:
    """Patterns in memory, without a store: add trajectories, extract, ask."""

    def __init__(self, config: PatternConfig | None = None, *, seed: int = 0) -> None:
        """Start empty."""
        self.config = config or PatternConfig()
        self.patterns: list[LearnedPattern] = []
        self._pending: list[QueryTrajectory] = []
        self._seed = seed
        self._version = 0

    @property
    def trajectory_count(self) -> int:
        """Trajectories added since patterns were last extracted."""
        return len(self._pending)

    def add_trajectory(self, trajectory: QueryTrajectory) -> None:
        """Keep ``trajectory`` for the next extraction."""
        self._pending.append(trajectory)

    def extract_patterns(self) -> list[LearnedPattern]:
        """Fold what was added into the patterns and return them."""
        if self._pending:
            self._version += 1
            observations = Observations(
                embeddings=unit(np.stack([np.asarray(item.embedding, np.float32) for item in self._pending])),
                quality=np.array([np.nan if item.quality is None else item.quality for item in self._pending]),
                routes=[item.route for item in self._pending],
                queries=[item.query for item in self._pending],
            )
            self.patterns = extract(
                self.patterns, observations, self.config, seed=self._seed, version=self._version
            ).patterns
            self._pending.clear()
        return list(self.patterns)

    def get_pattern(self, wanted: uuid.UUID) -> LearnedPattern | None:
        """Return the pattern with this id, or None."""
        return next((pattern for pattern in self.patterns if pattern.id == wanted), None)

    def find(self, query: NDArray[np.float32], k: int = 5) -> list[LearnedPattern]:
        """Return the ``k`` nearest patterns, nearest first."""
        return nearest(self.patterns, np.asarray(query, np.float32), k)

    def clear(self) -> None:
        """Forget everything."""
        self.patterns.clear()
        self._pending.clear()


def _require_fit(patterns: Sequence[LearnedPattern], fresh: Observations) -> None:
    if not np.isfinite(fresh.embeddings).all():
        raise PatternExtractionError("an embedding is not finite: set such trajectories aside before extraction")
    if patterns and len(patterns[0].centroid) != fresh.embeddings.shape[1]:
        raise PatternExtractionError(
            f"embeddings have {fresh.embeddings.shape[1]} dimensions, the patterns {len(patterns[0].centroid)}: "
            "they belong to different spaces"
        )


def _cluster(
    patterns: Sequence[LearnedPattern], points: NDArray[np.float32], config: PatternConfig, seed: int
) -> NDArray[np.float32]:
    """Return unit centroids (k, dim): those of ``patterns`` first, then the new ones."""
    known = np.stack([pattern.centroid for pattern in patterns]) if patterns else points[:0]
    sizes = np.array([pattern.size for pattern in patterns], np.float32)
    total = int(sizes.sum()) + len(points)
    room = min(config.clusters, max(1, total // (2 * config.min_size))) - len(patterns)
    new = max(0, min(room, len(points)))
    seeds = known
    if new:
        uniforms = np.random.default_rng([seed, len(points)]).random(new)
        # D² sampling given what is known: a point counts by its squared distance to the nearest pattern
        far = kernels.kmeans_assign(points, known)[1] if len(known) else None
        seeds = np.concatenate([known, points[kernels.kmeans_plus_plus(points, far, new, uniforms)]])
    data = np.ascontiguousarray(np.concatenate([known, points]))
    weights = np.concatenate([sizes, np.ones(len(points), np.float32)])
    return kernels.kmeans_lloyd(data, seeds, weights, max_iter=config.max_iterations, tol=config.tolerance)[0]


def _survivors(labels: NDArray[np.int32], known: int, total: int, min_size: int) -> list[int]:
    """Return the clusters that stay: every known pattern, and new ones of at least ``min_size`` members."""
    counts = np.bincount(labels, minlength=total)
    stay = [index for index in range(total) if index < known or counts[index] >= min_size]
    return stay or [int(np.argmax(counts))]  # a handful of trajectories still makes one pattern


def _updated(
    old: LearnedPattern | None,
    index: int,
    centroid: NDArray[np.float32],
    rows: NDArray[np.int64],
    similarities: NDArray[np.float32],
    fresh: Observations,
    decay: float,
    seed: int,
    version: int,
) -> LearnedPattern:
    if old is None:
        pattern = LearnedPattern(
            id=pattern_id(seed, version, index),
            centroid=centroid, size=0, weight=0.0, quality=UNRATED, created_version=version,
        )  # fmt: skip
    else:
        pattern = old.decay(decay)
    if len(rows) == 0:
        return pattern
    qualities = fresh.quality[rows]
    rated = np.isfinite(qualities)
    routes: dict[str, RouteRecord] = dict(pattern.routes)
    by_route: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        name = fresh.routes[row]
        if name is not None:
            by_route[name].append(float(fresh.quality[row]))
    for name, values in by_route.items():
        known = [value for value in values if np.isfinite(value)]
        record = RouteRecord(len(values), float(len(known)), float(np.mean(known)) if known else 0.0)
        routes[name] = routes[name].merge(record) if name in routes else record
    weight = pattern.weight + float(rated.sum())
    total = pattern.quality * pattern.weight + float(qualities[rated].sum())
    queries, scores = _typical(pattern, rows, similarities, fresh.queries)
    return dataclasses.replace(
        pattern,
        centroid=centroid,
        size=pattern.size + len(rows),
        weight=weight,
        quality=min(max(total / weight, 0.0), 1.0) if weight else pattern.quality,
        kind=vote(queries),
        routes=routes,
        typical_queries=queries,
        typical_similarities=scores,
        updated_version=version,
    )


def _typical(
    pattern: LearnedPattern,
    rows: NDArray[np.int64],
    similarities: NDArray[np.float32],
    queries: Sequence[str | None],
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    best = dict(zip(pattern.typical_queries, pattern.typical_similarities, strict=True))
    for row, similarity in zip(rows, similarities, strict=True):
        query = queries[row]
        if query:
            best[query] = max(float(similarity), best.get(query, -1.0))
    ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:TYPICAL]
    return tuple(query for query, _ in ranked), tuple(score for _, score in ranked)


def _replace_mean(mean: float, weight: float, old: float | None, new: float | None) -> tuple[float, float]:
    total = mean * weight - (old or 0.0) + (new or 0.0)
    weight = max(weight - (old is not None) + (new is not None), 0.0)
    return (min(max(total / weight, 0.0), 1.0) if weight else mean), weight
