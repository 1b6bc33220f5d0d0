"""Pattern extraction: clusters of query embeddings, with the statistics of each.

The cost of a cycle depends on the new trajectories and a bounded sample of the stored ones, not on the history. A
pattern keeps its id for as long as it lives: it seeds its own cluster (`clustering`). Where queries have gathered that
lie far from every pattern, a new one splits off and takes its trajectories' statistics with it (`tally`).
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import PatternConfig
from sona_pg.domain.pattern import UNRATED, LearnedPattern
from sona_pg.errors import PatternExtractionError
from sona_pg.learning.patterns.clustering import Clusters, find_clusters
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.learning.patterns.kinds import kinds_of
from sona_pg.learning.patterns.tally import Observations, Tally, add, remove, typical
from sona_pg.learning.vectors import unit

MIN_WEIGHT = 1.0  # weight below which a bad pattern is pruned

_NAMESPACE = uuid.UUID("5f0c2a52-6f1e-4c61-9a55-6d6f6e612d70")  # of pattern ids, see pattern_id


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """Patterns after a cycle, with their lineage."""

    patterns: list[LearnedPattern]
    created: int
    merged: int
    pruned: int
    removed: list[uuid.UUID]  # ids merged away or pruned


def pattern_id(seed: int, version: int, index: int) -> uuid.UUID:
    """Return the id of the ``index``-th pattern that version ``version`` creates: a rebuild gives the same ids."""
    return uuid.uuid5(_NAMESPACE, f"{seed}:{version}:{index}")


def extract(
    patterns: Sequence[LearnedPattern],
    fresh: Observations,
    config: PatternConfig,
    *,
    seed: int,
    version: int,
    stored: Observations | None = None,
    each: float = 1.0,
    kinds: KindModel | None = None,
) -> Extraction:
    """Fold new trajectories into the patterns of a space.

    Args:
        patterns: the existing ones.
        fresh: trajectories that no earlier call has seen; zero embeddings belong to no cluster and are passed over.
        config: number of clusters, smallest size, similarity at which patterns merge, decay, thresholds.
        seed: of the D² sampling.
        version: the state version being made; new patterns carry it.
        stored: a sample of the trajectories of earlier calls, for new patterns.
        each: how many trajectories each of the sample stands for.
        kinds: scores of the kinds at an embedding, if the space's embedder has told.

    Raises:
        PatternExtractionError: an embedding is not finite, or its dimension is not the patterns'.
    """
    stored = stored if stored is not None and patterns else Observations.empty(fresh.embeddings.shape[1])
    for seen in (fresh, stored):
        _require_fit(patterns, seen)
    fresh, stored = _directed(fresh), _directed(stored)
    if len(fresh) == 0:
        return Extraction(list(patterns), 0, 0, 0, [])
    dim = fresh.embeddings.shape[1]
    known = np.stack([pattern.centroid for pattern in patterns]) if patterns else np.zeros((0, dim), np.float32)
    clusters = find_clusters(
        known,
        np.array([pattern.size for pattern in patterns], np.float64),
        np.concatenate([fresh.embeddings, stored.embeddings]),
        np.concatenate([np.ones(len(fresh)), np.full(len(stored), each)]).astype(np.float32),
        config,
        seed,
    )
    before = [pattern.decay(config.decay) for pattern in patterns]
    blank = LearnedPattern(uuid.UUID(int=0), known[:0], 0, 0.0, UNRATED, created_version=version)
    before += [
        dataclasses.replace(blank, id=pattern_id(seed, version, index), updated_version=version)
        for index in range(len(patterns), len(clusters.centroids))
    ]
    if len(stored):
        before = _split_off(before, known, clusters, stored, len(fresh), each)
    updated = [_with_fresh(pattern, index, clusters, fresh, version) for index, pattern in enumerate(before)]
    filled = [pattern for pattern in updated if pattern.size > 0]
    created = sum(pattern.created_version == version for pattern in filled)
    kept, merged = merge_similar(filled, config.merge_similarity)
    living = [pattern for pattern in kept if not pattern.should_prune(config.quality_threshold, MIN_WEIGHT)]
    living = [
        dataclasses.replace(pattern, kind=kind) for pattern, kind in zip(living, kinds_of(living, kinds), strict=True)
    ]
    ids = {pattern.id for pattern in living}
    removed = [pattern.id for pattern in patterns if pattern.id not in ids]
    return Extraction(living, created, merged, len(patterns) + created - merged - len(living), removed)


def merge_similar(patterns: Sequence[LearnedPattern], similarity: float) -> tuple[list[LearnedPattern], int]:
    """Merge patterns whose centroids are at least ``similarity`` alike, larger first; also return how many merged."""
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


def _require_fit(patterns: Sequence[LearnedPattern], fresh: Observations) -> None:
    if not np.isfinite(fresh.embeddings).all():
        raise PatternExtractionError("an embedding is not finite: set such trajectories aside before extraction")
    if patterns and len(patterns[0].centroid) != fresh.embeddings.shape[1]:
        raise PatternExtractionError(
            f"embeddings have {fresh.embeddings.shape[1]} dimensions, the patterns {len(patterns[0].centroid)}: "
            "they belong to different spaces"
        )


def _directed(seen: Observations) -> Observations:
    """Return the trajectories whose embedding has a direction."""
    rows = np.flatnonzero(np.any(seen.embeddings != 0, axis=1))
    return seen if len(rows) == len(seen) else seen.take(rows)


def _split_off(
    patterns: Sequence[LearnedPattern],
    known: NDArray[np.float32],
    clusters: Clusters,
    stored: Observations,
    offset: int,
    each: float,
) -> list[LearnedPattern]:
    """Move the stored trajectories that now lie in a new cluster from their old pattern to the new one."""
    labels, similarities = clusters.labels[offset:], clusters.similarities[offset:]
    moved = np.flatnonzero(labels >= len(known))
    result = list(patterns)
    if len(moved) == 0:
        return result
    origins = kernels.kmeans_assign(np.ascontiguousarray(stored.embeddings[moved]), known)[0]
    for origin, target in np.unique(np.stack([origins, labels[moved]], axis=1), axis=0).tolist():
        rows = moved[(origins == origin) & (labels[moved] == target)].tolist()
        tally = Tally.of(stored, rows, each)
        before = result[origin]
        left = remove(before, tally)
        result[origin] = typical(left, (), frozenset(query for row in rows if (query := stored.queries[row])))
        taken = add(result[target], tally)
        result[target] = typical(taken, [(stored.queries[row], float(similarities[row])) for row in rows])
    return result


def _with_fresh(
    pattern: LearnedPattern, index: int, clusters: Clusters, fresh: Observations, version: int
) -> LearnedPattern:
    """Return the pattern of cluster ``index`` with its new trajectories counted in."""
    rows = np.flatnonzero(clusters.labels[: len(fresh)] == index).tolist()
    placed = dataclasses.replace(pattern, centroid=clusters.centroids[index])
    if rows:
        counted = add(dataclasses.replace(placed, updated_version=version), Tally.of(fresh, rows))
        placed = typical(counted, [(fresh.queries[row], float(clusters.similarities[row])) for row in rows])
    return placed
