"""Knowledge of a version, read in one snapshot: adapters, arrays, statistics, patterns, Fisher information."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.state import FisherSnapshot, LearnedState, RouteStatistics
from sona_pg.domain.verdict import VerdictCounts
from sona_pg.errors import UnknownVersion
from sona_pg.store.pattern_rows import parameter_records
from sona_pg.store.record_copy import RecordCopy, RecordQuery
from sona_pg.store.states import read_route_statistics, require_format
from sona_pg.store.stored_arrays import Holder

# A version that is named, a candidate that some servers serve, or the live one. A subselect rather than a join, so that
# the other queries find their rows by key.
CHOSEN = """
WITH chosen (version) AS MATERIALIZED (
    SELECT CASE WHEN {is_named} OR s.canary_version = {version} THEN {version}::bigint ELSE s.live_version END
    FROM sona.spaces s WHERE s.space_id = {space}
)
"""
OF_VERSION = "space_id = {space} AND version = (SELECT c.version FROM chosen c)"
# Settings of a space without its own, from its live version: rank and number of layers.
FOUND = """
CASE WHEN s.settings = '{{}}' THEN (
    SELECT jsonb_build_object('micro.rank', max(a.rank) FILTER (WHERE a.kind = 'micro'),
        'base.rank', max(a.rank) FILTER (WHERE a.kind = 'base'),
        'base.layers', nullif(count(*) FILTER (WHERE a.kind = 'base'), 0))
    FROM sona.adapters a WHERE a.space_id = {space} AND a.version = s.live_version
) END AS found"""
HEAD = RecordQuery(
    "head",
    ("s.name", "s.live_version", "s.settings", FOUND, "clock_timestamp() AS at",
     "extract(epoch FROM clock_timestamp() - coalesce(v.created_at, s.created_at))::double precision AS age",
     "v.version", "v.parent", "v.cycle_id", "v.metrics", "v.format"),
    """FROM sona.spaces s
    LEFT JOIN sona.state_versions v
        ON v.space_id = {space} AND v.version = (SELECT c.version FROM chosen c)
    WHERE s.space_id = {space}""",
)  # fmt: skip
STATE = (
    HEAD,
    RecordQuery(
        "adapter",
        ("kind", "layer", "rank", "dim", "scale", "a", "b"),
        f"FROM sona.adapters WHERE {OF_VERSION}",
    ),
    RecordQuery("array", ("part", "name", "dtype", "shape"), f"FROM sona.state_arrays WHERE {OF_VERSION}", bulk="data"),
    RecordQuery(
        "routes",
        ("routes", "route_sizes", "route_qualities", "route_variances", "route_latencies", "route_versions"),
        f"FROM sona.version_contents WHERE {OF_VERSION}",
    ),
)  # fmt: skip
OWN = (
    "pattern_id", "kind", "size", "weight", "quality", "success_count", "recovered_count", "partial_count",
    "failure_count", "created_version", "updated_version", "merged_from", "typical_queries", "typical_similarities",
    "parameters", "centroid",
)  # fmt: skip
ROUTES = (
    *(f"array_agg(r.{column} ORDER BY r.route) AS {column}s" for column in ("route", "size", "weight", "quality")),
    "array_agg(ARRAY[r.success_count, r.recovered_count, r.partial_count, r.failure_count] ORDER BY r.route) AS counts",
)
OF_TASK = ("task", "layer", "kind", "fisher", "optimum")
KEPT_PATTERNS = RecordQuery(
    "pattern",
    (*OWN, "routes", "route_sizes", "route_weights", "route_qualities", "route_verdicts"),
    f"FROM sona.version_patterns WHERE {OF_VERSION}",
)
KEPT_TASKS = RecordQuery(
    "task",
    tuple(f"k.{column}" for column in OF_TASK),
    """FROM sona.version_contents c
    CROSS JOIN LATERAL unnest(c.tasks, c.task_layers, c.task_versions) AS held (task, layer, version)
    JOIN sona.version_tasks k ON k.space_id = c.space_id AND k.task = held.task AND k.layer = held.layer
        AND k.version = held.version
    WHERE c.space_id = {space} AND c.version = (SELECT c.version FROM chosen c) AND k.space_id = {space}""",
)
# Not joined: a planner without statistics groups the routes anew for each pattern.
LIVE_PATTERNS = (
    RecordQuery("pattern", OWN, "FROM sona.patterns WHERE space_id = {space}"),
    RecordQuery(
        "pattern's routes",
        ("r.pattern_id", *ROUTES),
        "FROM sona.pattern_routes r WHERE r.space_id = {space} GROUP BY r.pattern_id",
    ),
)
LIVE_TASKS = RecordQuery("task", OF_TASK, "FROM sona.fisher_snapshots WHERE space_id = {space}")
READ_STATE = RecordCopy(STATE, CHOSEN)
READ_KEPT = RecordCopy((*STATE, KEPT_PATTERNS, KEPT_TASKS), CHOSEN)
READ_KEPT_PATTERNS = RecordCopy([KEPT_PATTERNS], CHOSEN)
READ_LIVE = RecordCopy((*STATE, *LIVE_PATTERNS, LIVE_TASKS), CHOSEN)
READ_LIVE_PATTERNS = RecordCopy(LIVE_PATTERNS)

Rows = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class StoredKnowledge:
    """Complete knowledge of a version."""

    state: LearnedState
    patterns: list[LearnedPattern]
    fisher: list[FisherSnapshot]


def read_learned(connection: Connection, space_id: int) -> StoredKnowledge:
    """Read the knowledge of the live version from the live tables; see ``read_state``."""
    rows = READ_LIVE.read(connection, _named(space_id, None))
    return _knowledge(connection, space_id, rows["head"][0].live_version if rows["head"] else 0, rows)


def read_version(connection: Connection, space_id: int, version: int) -> StoredKnowledge:
    """Read the knowledge of a version whose content is kept; see ``read_state``."""
    return _knowledge(connection, space_id, version, READ_KEPT.read(connection, _named(space_id, version)))


def read_state(connection: Connection, space_id: int, version: int) -> LearnedState:
    """Return version ``version`` of a space as it was published.

    If its content is not kept, the route statistics are the current ones.

    Raises:
        UnknownVersion: there is no such version.
        UnknownFormat: it was written by a later release.
        DamagedVersion: one of its arrays cannot be read.
    """
    return state_of(connection, space_id, version, READ_STATE.read(connection, _named(space_id, version)))


def read_patterns(connection: Connection, space_id: int, version: int) -> list[LearnedPattern]:
    """Return the patterns of a version whose content is kept, oldest first."""
    return patterns_of(READ_KEPT_PATTERNS.read(connection, _named(space_id, version)))


def read_live_patterns(connection: Connection, space_id: int) -> list[LearnedPattern]:
    """Return the patterns of the live version from the live tables, oldest first."""
    return patterns_of(READ_LIVE_PATTERNS.read(connection, {"space": space_id}))


def _named(space_id: int, version: int | None) -> dict[str, Any]:
    return {"space": space_id, "version": version, "is_named": version is not None}


def _knowledge(connection: Connection, space_id: int, version: int, rows: Rows) -> StoredKnowledge:
    state = state_of(connection, space_id, version, rows)
    holder = Holder(rows["head"][0].name, version)
    tasks = sorted(rows["task"], key=lambda row: (row.task, row.layer))
    return StoredKnowledge(state, patterns_of(rows), [holder.fisher(row) for row in tasks])


def state_of(connection: Connection, space_id: int, version: int, rows: Rows) -> LearnedState:
    """Return the state of a version from the rows of ``STATE``; see ``read_state``."""
    if not rows["head"] or rows["head"][0].version is None:
        raise UnknownVersion(f"space {space_id} has no version {version}: it was pruned, or never published")
    head = rows["head"][0]
    require_format(space_id, version, head.format)
    holder = Holder(head.name, version)
    lora = sorted(rows["adapter"], key=lambda row: row.layer)
    micro = [holder.adapter(entry) for entry in lora if entry.kind == "micro"]
    base = tuple(holder.adapter(entry) for entry in lora if entry.kind == "base")
    if not micro or not base:
        raise holder.damaged(f"part '{'base' if micro else 'micro'} adapter'", "it is missing")
    arrays: dict[str, dict[str, NDArray[np.generic]]] = defaultdict(dict)
    for entry in sorted(rows["array"], key=lambda row: (row.part, row.name)):
        what = f"part {entry.part!r}, array {entry.name!r}"
        arrays[entry.part][entry.name] = holder.array(what, entry.data, entry.dtype, entry.shape)
    return LearnedState(
        version=version,
        parent=head.parent,
        micro=micro[0],
        base=base,
        routes=_statistics(rows["routes"][0]) if rows["routes"] else read_route_statistics(connection, space_id),
        arrays=arrays,
        cycle_id=head.cycle_id,
        metrics=head.metrics,
    )


def _statistics(row: Any) -> dict[str, RouteStatistics]:
    return {name: RouteStatistics(*known) for name, *known in zip(*row, strict=True)}


def patterns_of(rows: Rows) -> list[LearnedPattern]:
    """Return patterns from the rows of ``KEPT_PATTERNS`` or ``LIVE_PATTERNS``, oldest first."""
    routes = {row.pattern_id: row[1:] for row in rows.get("pattern's routes", ())}
    told = sorted(rows["pattern"], key=lambda row: (row.created_version, row.pattern_id))
    return [_pattern(row, row[len(OWN) :] or routes.get(row.pattern_id, ())) for row in told]


def _pattern(row: Any, routes: Sequence[Any]) -> LearnedPattern:
    return LearnedPattern(
        id=row.pattern_id,
        centroid=np.frombuffer(row.centroid, ">f4", offset=4).astype(np.float32),  # after dimension and a spare
        size=row.size,
        weight=row.weight,
        quality=row.quality,
        kind=row.kind,
        routes={
            name: RouteRecord(size, weight, quality, VerdictCounts(*verdicts))
            for name, size, weight, quality, verdicts in zip(*routes, strict=True)
        },
        typical_queries=tuple(row.typical_queries),
        typical_similarities=tuple(row.typical_similarities),
        created_version=row.created_version,
        updated_version=row.updated_version,
        merged_from=tuple(row.merged_from),
        verdicts=VerdictCounts(row.success_count, row.recovered_count, row.partial_count, row.failure_count),
        parameters=parameter_records(row.parameters),
    )
