"""Patterns: reading and writing the clusters of a space, and searching them in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.store.schema import pattern_routes, patterns


def read_patterns(connection: Connection, space_id: int) -> list[LearnedPattern]:
    """Return the patterns of a space, oldest first."""
    rows = connection.execute(
        select(patterns)
        .where(patterns.c.space_id == space_id)
        .order_by(patterns.c.created_version, patterns.c.pattern_id)
    ).all()
    routes: dict[UUID, dict[str, RouteRecord]] = defaultdict(dict)
    for row in connection.execute(select(pattern_routes).where(pattern_routes.c.space_id == space_id)):
        routes[row.pattern_id][row.route] = RouteRecord(row.size, row.weight, row.quality)
    return [
        LearnedPattern(
            id=row.pattern_id,
            centroid=np.asarray(row.centroid, np.float32),
            size=row.size,
            weight=row.weight,
            quality=row.quality,
            kind=row.kind,
            routes=routes.get(row.pattern_id, {}),
            typical_queries=tuple(row.typical_queries),
            typical_similarities=tuple(row.typical_similarities),
            created_version=row.created_version,
            updated_version=row.updated_version,
            merged_from=tuple(row.merged_from),
        )
        for row in rows
    ]


def write_patterns(
    connection: Connection,
    space_id: int,
    changed: Sequence[LearnedPattern],
    removed: Iterable[UUID],
    at: datetime,
) -> None:
    """Insert or update ``changed`` and delete ``removed``."""
    gone = list(removed)
    touched = gone + [pattern.id for pattern in changed]
    if touched:
        connection.execute(
            delete(pattern_routes).where(
                pattern_routes.c.space_id == space_id, pattern_routes.c.pattern_id.in_(touched)
            )
        )
    if gone:
        connection.execute(delete(patterns).where(patterns.c.space_id == space_id, patterns.c.pattern_id.in_(gone)))
    if not changed:
        return
    upsert = insert(patterns)
    keys = ("space_id", "dim", "pattern_id", "created_version")
    updated = {name: upsert.excluded[name] for name in patterns.c.keys() if name not in keys}  # noqa: SIM118
    connection.execute(
        upsert.on_conflict_do_update(index_elements=["space_id", "dim", "pattern_id"], set_=updated),
        [
            {
                "space_id": space_id,
                "dim": len(pattern.centroid),
                "pattern_id": pattern.id,
                "kind": pattern.kind,
                "size": pattern.size,
                "weight": pattern.weight,
                "quality": min(max(pattern.quality, 0.0), 1.0),
                "created_version": pattern.created_version,
                "updated_version": pattern.updated_version,
                "updated_at": at,
                "merged_from": list(pattern.merged_from),
                "typical_queries": list(pattern.typical_queries),
                "typical_similarities": list(pattern.typical_similarities),
                "centroid": pattern.centroid,
            }
            for pattern in changed
        ],
    )
    records = [
        {
            "space_id": space_id,
            "pattern_id": pattern.id,
            "route": route,
            "size": record.size,
            "weight": record.weight,
            "quality": min(max(record.quality, 0.0), 1.0),
        }
        for pattern in changed
        for route, record in pattern.routes.items()
    ]
    if records:
        connection.execute(insert(pattern_routes), records)


def nearest_ids(connection: Connection, space_id: int, query: NDArray[np.float32], k: int) -> list[tuple[UUID, float]]:
    """Return the ``k`` nearest patterns of a space as (id, cosine similarity), by an exact scan of that space.

    The scan is exact on purpose: with many small spaces behind one HNSW index a filtered search returns too few.
    """
    dim = len(query)
    distance = func.cast(patterns.c.centroid, VECTOR(dim)).cosine_distance(query)
    rows = connection.execute(
        select(patterns.c.pattern_id, (1 - distance).label("similarity"))
        .where(patterns.c.space_id == space_id, patterns.c.dim == dim)
        .order_by(distance, patterns.c.pattern_id)
        .limit(k)
    )
    return [(row.pattern_id, float(row.similarity)) for row in rows]
