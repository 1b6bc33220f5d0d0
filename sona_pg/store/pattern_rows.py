"""Patterns: reading and writing the clusters of a space, and searching them in SQL."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, select

from sona_pg.domain.pattern import LearnedPattern, ParameterRecord
from sona_pg.domain.verdict import VERDICTS, VerdictCounts
from sona_pg.store.connect import driver_connection
from sona_pg.store.copying import copying_in
from sona_pg.store.reals import Reals
from sona_pg.store.schema import patterns

# All patterns of a cycle in one statement, to save a round trip for each. The centroids are one binary array, sliced by
# pattern: as text they cost ten times as much.
UPSERT_PATTERNS = """
INSERT INTO sona.patterns
    (space_id, dim, pattern_id, kind, size, weight, quality, success_count, recovered_count, partial_count,
     failure_count, created_version, updated_version, updated_at, merged_from, typical_queries, typical_similarities,
     parameters, centroid)
SELECT %(space)s, dim, pattern_id, kind, size, weight, quality, success_count, recovered_count, partial_count,
     failure_count, created_version, updated_version, %(at)s, merged_from, typical_queries, typical_similarities,
     parameters, ((%(centroids)b)[place * dim + 1 : place * dim + dim])::vector
FROM json_to_recordset(%(rows)s) AS given
    (place int, dim int, pattern_id uuid, kind text, size bigint, weight double precision, quality double precision,
     success_count bigint, recovered_count bigint, partial_count bigint, failure_count bigint,
     created_version bigint, updated_version bigint, merged_from uuid[], typical_queries text[],
     typical_similarities real[], parameters jsonb)
ON CONFLICT (space_id, dim, pattern_id) DO UPDATE SET
    kind = excluded.kind, size = excluded.size, weight = excluded.weight, quality = excluded.quality,
    success_count = excluded.success_count, recovered_count = excluded.recovered_count,
    partial_count = excluded.partial_count, failure_count = excluded.failure_count,
    created_version = excluded.created_version, updated_version = excluded.updated_version,
    updated_at = excluded.updated_at, merged_from = excluded.merged_from, typical_queries = excluded.typical_queries,
    typical_similarities = excluded.typical_similarities, parameters = excluded.parameters,
    centroid = excluded.centroid
"""
# Every cycle rewrites tens of thousands of rows, because their weights decay: COPY takes a fifth of INSERT's time.
ROUTE_COLUMNS = (
    "space_id", "pattern_id", "route", "size", "weight", "quality", "success_count", "recovered_count", "partial_count",
    "failure_count",
)  # fmt: skip
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
DELETE_ROUTES = """
DELETE FROM sona.pattern_routes USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE sona.pattern_routes.space_id = %(space)s AND sona.pattern_routes.pattern_id = gone.id
"""
DELETE_PATTERNS = """
DELETE FROM sona.patterns USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE sona.patterns.space_id = %(space)s AND sona.patterns.pattern_id = gone.id
"""


def read_ids(connection: Connection, space_id: int) -> list[UUID]:
    """Return the ids of the patterns of a space."""
    return list(connection.scalars(select(patterns.c.pattern_id).where(patterns.c.space_id == space_id)))


def write_patterns(
    connection: Connection,
    space_id: int,
    changed: Sequence[LearnedPattern],
    removed: Iterable[UUID],
    at: datetime,
) -> None:
    """Insert or update ``changed`` and delete ``removed``."""
    driver = driver_connection(connection)
    gone = list(removed)
    driver.execute(DELETE_ROUTES, {"space": space_id, "ids": gone + [pattern.id for pattern in changed]})
    driver.execute(DELETE_PATTERNS, {"space": space_id, "ids": gone})
    if changed:
        rows = json.dumps([_without_routes(place, pattern) for place, pattern in enumerate(changed)])
        centroids = Reals(np.stack([pattern.centroid for pattern in changed]))
        values = {"space": space_id, "at": at, "rows": rows}
        driver.execute(UPSERT_PATTERNS, {**values, "centroids": centroids})
        with copying_in(driver, "pattern_routes", ROUTE_COLUMNS, binary=False) as copy:
            copy.write("".join(_route_lines(space_id, changed)))


def _route_lines(space_id: int, of: Sequence[LearnedPattern]) -> Iterator[str]:
    """Yield a line of COPY's text format for each route of each pattern."""
    for pattern in of:
        start = f"{space_id}\t{pattern.id}\t"
        for route, record in pattern.routes.items():
            counts = "\t".join(map(str, record.verdicts.counts))
            weight, quality = float(record.weight), float(min(max(record.quality, 0.0), 1.0))
            yield f"{start}{route.translate(ESCAPES)}\t{record.size}\t{weight!r}\t{quality!r}\t{counts}\n"


def _verdict_columns(counts: VerdictCounts) -> dict[str, int]:
    return {f"{verdict}_count": count for verdict, count in zip(VERDICTS, counts.counts, strict=True)}


def parameter_records(stored: Mapping[str, Mapping[str, float]]) -> dict[str, ParameterRecord]:
    """Return the records of a pattern's parameters."""
    return {name: _parameter(kept) for name, kept in stored.items()}


def _parameter(kept: Mapping[str, float]) -> ParameterRecord:
    """Restore the type of a record's values: jsonb returns 3.0 as 3."""
    sums = {name: float(value) for name, value in kept.items() if name != "size"}
    return ParameterRecord(size=int(kept["size"]), **sums)


def as_row(place: int, pattern: LearnedPattern) -> dict[str, Any]:
    """Return the columns of a pattern, and its routes, as JSON-ready values; ``place`` is the index of its centroid."""
    routes = [
        {
            "route": route,
            "size": record.size,
            "weight": record.weight,
            "quality": min(max(record.quality, 0.0), 1.0),
            **_verdict_columns(record.verdicts),
        }
        for route, record in pattern.routes.items()
    ]
    return {**_without_routes(place, pattern), "routes": routes}


def _without_routes(place: int, pattern: LearnedPattern) -> dict[str, Any]:
    return {
        "place": place,
        "dim": len(pattern.centroid),
        "pattern_id": str(pattern.id),
        "kind": pattern.kind,
        "size": pattern.size,
        "weight": pattern.weight,
        "quality": min(max(pattern.quality, 0.0), 1.0),
        **_verdict_columns(pattern.verdicts),
        "created_version": pattern.created_version,
        "updated_version": pattern.updated_version,
        "merged_from": [str(merged) for merged in pattern.merged_from],
        "typical_queries": pattern.typical_queries,
        "typical_similarities": pattern.typical_similarities,
        "parameters": {name: dataclasses.asdict(record) for name, record in pattern.parameters.items()},
    }
