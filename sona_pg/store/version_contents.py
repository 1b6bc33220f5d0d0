"""The content of each version beside its adapters and arrays: patterns, route statistics and Fisher information.

A cycle moves nearly every pattern (their weights decay, their centroids settle anew), so each version keeps a copy of
its patterns rather than a history of changes. Postgres makes the copy from the live tables. Fisher information changes
with tasks alone: versions share its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, select

from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import FisherSnapshot, RouteStatistics
from sona_pg.store.connect import driver_connection
from sona_pg.store.pattern_rows import as_row
from sona_pg.store.reals import Reals
from sona_pg.store.schema import version_contents

SCALARS = """pattern_id, size, weight, quality, success_count, recovered_count, partial_count, failure_count,
    created_version, updated_version, kind, merged_from, typical_queries, typical_similarities, parameters"""
OF_PATTERN = ", ".join(f"p.{column.strip()}" for column in SCALARS.split(","))
COLUMNS = f"{SCALARS}, routes, route_sizes, route_weights, route_qualities, route_verdicts, centroid"
ROUTES = """
    coalesce(array_agg(r.route ORDER BY r.route), '{}') AS routes,
    coalesce(array_agg(r.size ORDER BY r.route), '{}') AS sizes,
    coalesce(array_agg(r.weight ORDER BY r.route), '{}') AS weights,
    coalesce(array_agg(r.quality ORDER BY r.route), '{}') AS qualities,
    coalesce(array_agg(ARRAY[r.success_count, r.recovered_count, r.partial_count, r.failure_count] ORDER BY r.route),
        '{}') AS verdicts
"""

# -- from the live tables -------------------------------------------------------------------------------------

# WITH belongs to the SELECT: in an INSERT's own, Citus does not name the shards. RETURNING keeps Citus from passing
# rows on by COPY, which row-level security refuses.
KEEP_PATTERNS = f"""
INSERT INTO sona.version_patterns (space_id, version, {COLUMNS})
WITH of_pattern AS (
    SELECT r.pattern_id, {ROUTES} FROM sona.pattern_routes r WHERE r.space_id = %(space)s GROUP BY r.pattern_id
)
SELECT p.space_id, %(version)s, {OF_PATTERN},
    coalesce(o.routes, '{{}}'), coalesce(o.sizes, '{{}}'), coalesce(o.weights, '{{}}'), coalesce(o.qualities, '{{}}'),
    coalesce(o.verdicts, '{{}}'), p.centroid
FROM sona.patterns p
LEFT JOIN of_pattern o ON o.pattern_id = p.pattern_id
WHERE p.space_id = %(space)s
"""
KEEP_TASKS = """
INSERT INTO sona.version_tasks (space_id, task, layer, version, created_at, kind, fisher, optimum)
SELECT f.space_id, f.task, f.layer, f.version, f.created_at, f.kind, f.fisher, f.optimum
FROM sona.fisher_snapshots f
WHERE f.space_id = %(space)s AND NOT EXISTS (
    SELECT FROM sona.version_tasks k
    WHERE k.space_id = %(space)s AND k.task = f.task AND k.layer = f.layer AND k.version = f.version)
"""
KEEP_CONTENT = """
INSERT INTO sona.version_contents (space_id, version, patterns, routes, route_sizes, route_qualities, route_variances,
    route_latencies, route_versions, tasks, task_layers, task_versions)
SELECT %(space)s, %(version)s,
    (SELECT count(*) FROM sona.version_patterns p WHERE p.space_id = %(space)s AND p.version = %(version)s), r.*, f.*
FROM (
    SELECT coalesce(array_agg(s.route ORDER BY s.route), '{}'), coalesce(array_agg(s.size ORDER BY s.route), '{}'),
        coalesce(array_agg(s.quality ORDER BY s.route), '{}'),
        coalesce(array_agg(s.quality_variance ORDER BY s.route), '{}'),
        coalesce(array_agg(s.latency_us ORDER BY s.route), '{}'),
        coalesce(array_agg(s.updated_version ORDER BY s.route), '{}')
    FROM sona.route_statistics s WHERE s.space_id = %(space)s
) r, (
    SELECT coalesce(array_agg(k.task ORDER BY k.task, k.layer), '{}'),
        coalesce(array_agg(k.layer ORDER BY k.task, k.layer), '{}'),
        coalesce(array_agg(k.version ORDER BY k.task, k.layer), '{}')
    FROM sona.fisher_snapshots k WHERE k.space_id = %(space)s
) f
RETURNING 1
"""

# -- from a learner or a file -----------------------------------------------------------------------------------

WRITE_PATTERNS = f"""
INSERT INTO sona.version_patterns (space_id, version, {COLUMNS})
SELECT %(space)s, %(version)s, {SCALARS}, o.routes, o.sizes, o.weights, o.qualities, o.verdicts,
    ((%(centroids)b)[place * dim + 1 : place * dim + dim])::vector
FROM json_to_recordset(%(rows)s) AS given
    (place int, dim int, pattern_id uuid, kind text, size bigint, weight double precision, quality double precision,
     success_count bigint, recovered_count bigint, partial_count bigint, failure_count bigint,
     created_version bigint, updated_version bigint, merged_from uuid[], typical_queries text[],
     typical_similarities real[], parameters jsonb, of_routes json)
CROSS JOIN LATERAL (
    SELECT {ROUTES} FROM json_to_recordset(given.of_routes) AS r
        (route text, size bigint, weight double precision, quality double precision,
         success_count bigint, recovered_count bigint, partial_count bigint, failure_count bigint)
) o
RETURNING 1
"""
WRITE_CONTENT = """
INSERT INTO sona.version_contents (space_id, version, patterns, routes, route_sizes, route_qualities, route_variances,
    route_latencies, route_versions, tasks, task_layers, task_versions)
VALUES (%(space)s, %(version)s, %(patterns)s, %(routes)s::text[], %(sizes)s::bigint[],
    %(qualities)s::double precision[], %(variances)s::double precision[], %(latencies)s::double precision[],
    %(versions)s::bigint[], %(tasks)s::int[], %(layers)s::smallint[], %(made)s::bigint[])
"""
WRITE_TASK = """
INSERT INTO sona.version_tasks (space_id, task, layer, version, created_at, kind, fisher, optimum)
VALUES (%(space)s, %(task)s, %(layer)s, %(version)s, %(at)s, %(kind)s, %(fisher)b, %(optimum)b)
"""
TASKS_NOW = "SELECT task, layer, version FROM sona.fisher_snapshots WHERE space_id = %(space)s"

# -- back into the live tables ----------------------------------------------------------------------------------

SERVE = (
    "DELETE FROM sona.pattern_routes WHERE space_id = %(space)s",
    """
    DELETE FROM sona.patterns p WHERE p.space_id = %(space)s AND NOT EXISTS (
        SELECT FROM sona.version_patterns k
        WHERE k.space_id = %(space)s AND k.version = %(version)s AND k.pattern_id = p.pattern_id)
    """,
    f"""
    INSERT INTO sona.patterns (space_id, dim, updated_at, {SCALARS}, centroid)
    SELECT space_id, vector_dims(centroid), %(at)s, {SCALARS}, centroid
    FROM sona.version_patterns WHERE space_id = %(space)s AND version = %(version)s
    ON CONFLICT (space_id, dim, pattern_id) DO UPDATE SET
        kind = excluded.kind, size = excluded.size, weight = excluded.weight, quality = excluded.quality,
        success_count = excluded.success_count, recovered_count = excluded.recovered_count,
        partial_count = excluded.partial_count, failure_count = excluded.failure_count,
        created_version = excluded.created_version, updated_version = excluded.updated_version,
        updated_at = excluded.updated_at, merged_from = excluded.merged_from,
        typical_queries = excluded.typical_queries, typical_similarities = excluded.typical_similarities,
        parameters = excluded.parameters, centroid = excluded.centroid
    """,
    """
    INSERT INTO sona.pattern_routes (space_id, pattern_id, route, size, weight, quality,
        success_count, recovered_count, partial_count, failure_count)
    SELECT p.space_id, p.pattern_id, r.route, r.size, r.weight, r.quality, p.route_verdicts[r.place][1],
        p.route_verdicts[r.place][2], p.route_verdicts[r.place][3], p.route_verdicts[r.place][4]
    FROM sona.version_patterns p, unnest(p.routes, p.route_sizes, p.route_weights, p.route_qualities)
        WITH ORDINALITY AS r (route, size, weight, quality, place)
    WHERE p.space_id = %(space)s AND p.version = %(version)s
    """,
    "DELETE FROM sona.route_statistics WHERE space_id = %(space)s",
    """
    INSERT INTO sona.route_statistics (space_id, route, size, quality, quality_variance, latency_us, updated_version)
    SELECT c.space_id, r.*
    FROM sona.version_contents c, unnest(c.routes, c.route_sizes, c.route_qualities, c.route_variances,
        c.route_latencies, c.route_versions) AS r (route, size, quality, variance, latency, version)
    WHERE c.space_id = %(space)s AND c.version = %(version)s
    """,
    "DELETE FROM sona.fisher_snapshots WHERE space_id = %(space)s",
    """
    INSERT INTO sona.fisher_snapshots (space_id, task, layer, version, created_at, kind, fisher, optimum)
    SELECT k.space_id, k.task, k.layer, k.version, k.created_at, k.kind, k.fisher, k.optimum
    FROM sona.version_contents c
    CROSS JOIN LATERAL unnest(c.tasks, c.task_layers, c.task_versions) AS held (task, layer, version)
    JOIN sona.version_tasks k ON k.space_id = c.space_id AND k.task = held.task AND k.layer = held.layer
        AND k.version = held.version
    WHERE c.space_id = %(space)s AND c.version = %(version)s AND k.space_id = %(space)s
    """,
)
COPY = (
    """
    INSERT INTO sona.adapters (space_id, version, kind, layer, rank, dim, scale, norm, a, b)
    SELECT space_id, %(version)s, kind, layer, rank, dim, scale, norm, a, b
    FROM sona.adapters WHERE space_id = %(space)s AND version = %(source)s
    """,
    """
    INSERT INTO sona.state_arrays (space_id, version, part, name, dtype, shape, data)
    SELECT space_id, %(version)s, part, name, dtype, shape, data
    FROM sona.state_arrays WHERE space_id = %(space)s AND version = %(source)s
    """,
    f"""
    INSERT INTO sona.version_patterns (space_id, version, {COLUMNS})
    SELECT space_id, %(version)s, {COLUMNS}
    FROM sona.version_patterns WHERE space_id = %(space)s AND version = %(source)s
    """,
    """
    INSERT INTO sona.version_contents (space_id, version, patterns, routes, route_sizes, route_qualities,
        route_variances, route_latencies, route_versions, tasks, task_layers, task_versions)
    SELECT space_id, %(version)s, patterns, routes, route_sizes, route_qualities, route_variances, route_latencies,
        route_versions, tasks, task_layers, task_versions
    FROM sona.version_contents WHERE space_id = %(space)s AND version = %(source)s
    """,
)
FORGET_TASKS = """
DELETE FROM sona.version_tasks k WHERE k.space_id = %(space)s AND NOT EXISTS (
    SELECT FROM sona.version_contents c
    CROSS JOIN LATERAL unnest(c.tasks, c.task_layers, c.task_versions) AS held (task, layer, version)
    WHERE c.space_id = %(space)s AND held.task = k.task AND held.layer = k.layer AND held.version = k.version)
"""


def is_kept(connection: Connection, space_id: int, version: int) -> bool:
    """Whether the content of a version is kept: an earlier release kept none."""
    of_version = (version_contents.c.space_id == space_id) & (version_contents.c.version == version)
    return connection.scalar(select(version_contents.c.version).where(of_version)) is not None


def keep_live(connection: Connection, space_id: int, version: int) -> None:
    """Copy the live tables as the content of the live version, unless it has one; call it under ``lock_space``."""
    if version == 0 or is_kept(connection, space_id, version):
        return
    values = {"space": space_id, "version": version}
    driver = driver_connection(connection)
    for statement in (KEEP_PATTERNS, KEEP_TASKS, KEEP_CONTENT):
        driver.execute(statement, values)


@dataclass(frozen=True, slots=True, eq=False)
class VersionContent:
    """Content of a version beside its arrays."""

    patterns: Sequence[LearnedPattern] = ()
    routes: Mapping[str, RouteStatistics] = field(default_factory=dict)
    tasks: Sequence[FisherSnapshot] = ()
    new_tasks: Sequence[FisherSnapshot] = ()  # the others are the live version's, whose content is kept already


def write(connection: Connection, space_id: int, version: int, content: VersionContent, at: datetime) -> None:
    """Store the content of a version that is not live."""
    patterns, routes, tasks = content.patterns, content.routes, content.tasks
    driver = driver_connection(connection)
    if patterns:
        rows = [as_row(place, pattern) for place, pattern in enumerate(patterns)]
        for row in rows:
            row["of_routes"] = row.pop("routes")
        centroids = Reals(np.stack([pattern.centroid for pattern in patterns]))
        values = {"space": space_id, "version": version, "rows": json.dumps(rows), "centroids": centroids}
        driver.execute(WRITE_PATTERNS, values)
    made = {(task, layer): of for task, layer, of in driver.execute(TASKS_NOW, {"space": space_id}).fetchall()}
    for task in content.new_tasks:
        made[task.task, task.layer] = version
        driver.execute(WRITE_TASK, {
            "space": space_id, "task": task.task, "layer": task.layer, "version": version, "at": at, "kind": task.kind,
            "fisher": task.fisher.astype("<f4").tobytes(), "optimum": task.optimum.astype("<f4").tobytes(),
        })  # fmt: skip
    known = list(routes.values())
    driver.execute(WRITE_CONTENT, {
        "space": space_id, "version": version, "patterns": len(patterns), "routes": list(routes),
        "sizes": [route.size for route in known],
        "qualities": [min(max(route.quality, 0.0), 1.0) for route in known],
        "variances": [route.quality_variance for route in known],
        "latencies": [route.latency_us for route in known],
        "versions": [route.updated_version for route in known],
        "tasks": [task.task for task in tasks], "layers": [task.layer for task in tasks],
        "made": [made[task.task, task.layer] for task in tasks],
    })  # fmt: skip


def serve(connection: Connection, space_id: int, version: int, at: datetime) -> None:
    """Copy the content of a version into the live tables; call it under ``lock_space``."""
    driver = driver_connection(connection)
    for statement in SERVE:
        driver.execute(statement, {"space": space_id, "version": version, "at": at})


def copy(connection: Connection, space_id: int, source: int, version: int) -> None:
    """Copy adapters, arrays and content of ``source`` to ``version``."""
    driver = driver_connection(connection)
    for statement in COPY:
        driver.execute(statement, {"space": space_id, "version": version, "source": source})


def forget_tasks(connection: Connection, space_id: int) -> None:
    """Delete Fisher information without a version."""
    driver_connection(connection).execute(FORGET_TASKS, {"space": space_id})
