"""Views of what was learned: routes of patterns, the learning curve, forgetting, cycles and adapters; and ``space_id`` in each.

The views that were there keep their columns in their order, and get new ones at the end.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import (
    v0003_verdicts_and_settings,
    v0005_leases_and_bounds,
    v0007_version_history,
    v0014_pattern_uses,
)

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

BEFORE = {
    "waiting_feedback": v0003_verdicts_and_settings.VIEWS,
    "fleet": v0005_leases_and_bounds.VIEWS,
    "cycle_log": v0005_leases_and_bounds.VIEWS,
    "versions": v0007_version_history.VIEWS,
}
SUMMARY = v0014_pattern_uses.SUMMARY.format(
    columns=v0014_pattern_uses.COLUMNS + ", p.space_id, b.best_route, p.weight < 10 AS small_sample",
    joins=v0014_pattern_uses.JOINS
    + """
    LEFT JOIN LATERAL (
        SELECT o.route AS best_route FROM sona.pattern_routes o
        WHERE o.space_id = p.space_id AND o.pattern_id = p.pattern_id AND o.weight >= 10
        ORDER BY (sona.mean_interval(o.quality, round(o.weight)::bigint))[1] DESC, o.route LIMIT 1
    ) b ON true""",
)
VIEWS = {
    "routes_by_pattern": """
        SELECT b.*, NOT b.small_sample AND rank() OVER (
                   PARTITION BY b.space, b.space_id, b.pattern_id, b.small_sample ORDER BY b.low DESC) = 1 AS is_best
        FROM (
            SELECT s.name AS space, s.space_id, p.pattern_id, p.kind, p.typical_queries[1] AS typical_query, r.route,
                   r.size AS trajectories, r.weight AS recent_ratings,
                   CASE WHEN r.weight > 0 THEN r.quality END AS quality,
                   (sona.mean_interval(r.quality, round(r.weight)::bigint))[1] AS low,
                   (sona.mean_interval(r.quality, round(r.weight)::bigint))[2] AS high,
                   r.weight < 10 AS small_sample, r.success_count, r.recovered_count, r.partial_count, r.failure_count
            FROM sona.spaces s
            JOIN sona.patterns p ON p.space_id = s.space_id
            JOIN sona.pattern_routes r ON r.space_id = s.space_id AND r.pattern_id = p.pattern_id
        ) b
    """,
    "learning_curve": """
        SELECT s.name AS space, s.space_id, c.version, c.status, c.origin, c.created_at, c.learned_trajectories,
               c.learned_feedback, c.trajectories, c.rated, c.quality, c.bounds[1] AS low, c.bounds[2] AS high,
               coalesce(c.rated, 0) < 10 AS small_sample, c.first_day, c.last_day
        FROM sona.spaces s
        CROSS JOIN LATERAL (
            SELECT coalesce(v.version, m.version) AS version, v.status, v.origin, v.created_at,
                   l.trajectories AS learned_trajectories, l.feedback AS learned_feedback, m.trajectories, m.rated, m.quality,
                   sona.mean_interval(m.quality, m.rated) AS bounds, m.first_day, m.last_day
            FROM (SELECT * FROM sona.state_versions o WHERE o.space_id = s.space_id) v
            FULL JOIN (
                SELECT f.name::bigint AS version, sum(f.trajectories)::bigint AS trajectories, sum(f.rated)::bigint AS rated,
                       sum(f.quality_sum) / nullif(sum(f.rated), 0)::float8 AS quality, min(f.day) AS first_day,
                       max(f.day) AS last_day
                FROM sona.figures f
                WHERE f.space = s.name AND f.space_id = s.space_id AND f.kind = 'version' AND f.name <> ''
                GROUP BY f.name
            ) m ON m.version = v.version
            LEFT JOIN sona.cycles l ON l.space_id = s.space_id AND l.cycle_id = v.cycle_id
        ) c
    """,
    "forgetting_by_task": """
        SELECT s.name AS space, s.space_id, t.task, t.from_version, t.boundary, t.ended_at, held.patterns,
               held.kept AS patterns_left, held.quality AS quality_then, held.quality_now,
               held.quality - held.quality_now AS forgetting, held.trajectories_since,
               coalesce(held.trajectories_since, 0) < 10 AS small_sample
        FROM sona.spaces s
        JOIN (
            SELECT f.space_id, f.task, min(f.version) AS boundary, min(f.created_at) AS ended_at,
                   coalesce(lag(min(f.version)) OVER (PARTITION BY f.space_id ORDER BY f.task), 1) AS from_version
            FROM sona.fisher_snapshots f GROUP BY f.space_id, f.task
        ) t ON t.space_id = s.space_id
        LEFT JOIN LATERAL (
            SELECT count(*) AS patterns, count(p.pattern_id) AS kept,
                   sum(k.weight * k.quality) FILTER (WHERE p.pattern_id IS NOT NULL)
                       / nullif(sum(k.weight) FILTER (WHERE p.pattern_id IS NOT NULL), 0) AS quality,
                   sum(k.weight * p.quality) / nullif(sum(k.weight) FILTER (WHERE p.pattern_id IS NOT NULL), 0) AS quality_now,
                   sum(greatest(p.size - k.size, 0))::bigint AS trajectories_since
            FROM sona.version_patterns k
            LEFT JOIN sona.patterns p ON p.space_id = s.space_id AND p.pattern_id = k.pattern_id
            WHERE k.space_id = s.space_id AND k.created_version >= t.from_version AND k.created_version < t.boundary
              AND k.version = (SELECT max(h.version) FROM sona.version_contents h
                               WHERE h.space_id = s.space_id AND h.version >= t.from_version AND h.version < t.boundary)
        ) held ON true
    """,
    "cycle_changes": """
        SELECT s.name AS space, s.space_id, c.cycle_id, c.loop, c.base_version, c.version, c.started_at,
               extract(epoch FROM c.finished_at - c.started_at)::float8 * 1000 AS milliseconds, c.trajectories, c.feedback,
               (c.detail ->> 'revised')::bigint AS revised, c.set_aside, c.patterns,
               (c.detail ->> 'patterns_created')::bigint AS patterns_created,
               (c.detail ->> 'patterns_merged')::bigint AS patterns_merged,
               (c.detail ->> 'patterns_pruned')::bigint AS patterns_pruned,
               (c.detail ->> 'candidates')::bigint AS candidates, n.micro_norm, n.micro_before, n.base_norm, n.base_before,
               (v.metrics ->> 'shift')::float8 > 0 AS is_boundary, c.server_id, c.detail ->> 'release' AS release,
               c.in_force IS NULL OR upper_inf(c.in_force) AS in_force
        FROM sona.spaces s
        JOIN sona.cycles c ON c.space_id = s.space_id AND c.error IS NULL
        LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = c.version AND v.cycle_id = c.cycle_id
        LEFT JOIN LATERAL (
            SELECT max(a.norm) FILTER (WHERE a.kind = 'micro' AND a.version = c.version) AS micro_norm,
                   max(a.norm) FILTER (WHERE a.kind = 'micro' AND a.version = c.base_version) AS micro_before,
                   max(a.norm) FILTER (WHERE a.kind = 'base' AND a.version = c.version) AS base_norm,
                   max(a.norm) FILTER (WHERE a.kind = 'base' AND a.version = c.base_version) AS base_before
            FROM sona.adapters a WHERE a.space_id = s.space_id AND a.version IN (c.version, c.base_version)
        ) n ON true
    """,
    "failed_cycles": """
        SELECT s.name AS space, s.space_id, c.cycle_id, c.loop, c.base_version, c.started_at,
               extract(epoch FROM c.finished_at - c.started_at)::float8 * 1000 AS milliseconds, c.error, c.server_id, v.host,
               c.detail ->> 'release' AS release,
               NOT EXISTS (SELECT FROM sona.cycles l WHERE l.space_id = s.space_id AND l.error IS NULL
                           AND l.started_at > c.started_at) AS is_latest
        FROM sona.spaces s
        JOIN sona.cycles c ON c.space_id = s.space_id AND c.error IS NOT NULL
        LEFT JOIN sona.servers v ON v.space_id = s.space_id AND v.server_id = c.server_id
    """,
    "adapter_norms": """
        SELECT s.name AS space, s.space_id, a.version, v.status, v.created_at, a.kind, a.layer, a.rank, a.dim, a.scale, a.norm,
               a.norm - b.norm AS change
        FROM sona.spaces s
        JOIN sona.adapters a ON a.space_id = s.space_id
        JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = a.version
        LEFT JOIN sona.adapters b ON b.space_id = s.space_id AND b.version = v.parent AND b.kind = a.kind AND b.layer = a.layer
    """,
}
WHERE_OF = "WHERE space = ''support''"
COMMENTS = {
    "pattern_summary": "Patterns with their most typical queries, how their trajectories and each route went (the verdict is "
    "the most frequent one), and the settings that went well. The best route has at least 10 recent ratings, a small sample "
    f"fewer.\\nExample: SELECT typical_query, size, quality, best_route, routes FROM sona.pattern_summary {WHERE_OF} "
    "ORDER BY size DESC LIMIT 10",
    "routes_by_pattern": "How each route did in each pattern. Ratings fade with age: recent_ratings is what is left of them, "
    "low and high are the 95 % interval. Small samples have fewer than 10, and are never the best.\\nExample: SELECT "
    f"typical_query, route, quality, low, high FROM sona.routes_by_pattern {WHERE_OF} AND is_best",
    "learning_curve": "Held-back quality by version: of the trajectories that a version decided, none of which it had "
    "learned from; beside what it was made from. Versions that decided fewer than 10 rated ones are small samples.\\n"
    "Example: SELECT version, learned_trajectories, trajectories, quality, low, high FROM sona.learning_curve "
    f"{WHERE_OF} AND NOT small_sample ORDER BY version",
    "forgetting_by_task": "Forgetting of each task (a stretch of the stream without a boundary): the quality of the patterns "
    "that were made in it, as its last kept version had it and now, weighed by their ratings then; positive is worse. A "
    "small sample: fewer than 10 trajectories of these patterns since.\\nExample: SELECT task, quality_then, quality_now, "
    f"forgetting FROM sona.forgetting_by_task {WHERE_OF} AND NOT small_sample ORDER BY task",
    "cycle_changes": "What each cycle read and changed: outcomes revised, patterns made, merged and pruned, norms of the "
    "adapters before and after, whether it met the boundary of a task, and whether the live version includes it.\\n"
    "Example: SELECT version, started_at, trajectories, feedback, patterns_created, base_before, base_norm FROM "
    f"sona.cycle_changes {WHERE_OF} ORDER BY started_at DESC LIMIT 20",
    "failed_cycles": "Cycles that failed, with the error and the host; is_latest: none has succeeded since.\\n"
    f"Example: SELECT started_at, host, error FROM sona.failed_cycles {WHERE_OF} AND is_latest",
    "adapter_norms": "Adapters of the kept versions: how far each moves a unit vector at most (norm), and by how much that "
    f"changed.\\nExample: SELECT version, kind, layer, norm, change FROM sona.adapter_norms {WHERE_OF} AND status = ''live''",
    "waiting_feedback": "What each source said last of trajectories that are not there: still on their way, never recorded, or "
    f"a wrong id.\\nExample: SELECT trajectory_id, source, age FROM sona.waiting_feedback {WHERE_OF} ORDER BY recorded_at",
    "fleet": "Servers of each space: the version each serves and how far it is behind; live, silent (nothing was heard of it "
    "for 15 seconds), gone (for two minutes), or ended (it was closed).\\nExample: SELECT host, pid, state, versions_behind, "
    f"dropped FROM sona.fleet {WHERE_OF} ORDER BY seen_at DESC",
    "cycle_log": "Learning cycles: when, what they read, which version they made, how long they took, and why one failed.\\n"
    f"Example: SELECT started_at, version, trajectories, milliseconds, error FROM sona.cycle_log {WHERE_OF} "
    "ORDER BY started_at DESC LIMIT 20",
    "versions": "Versions of each space: what each was made from, how and by whom, what it read and holds; complete ones can "
    f"be brought back.\\nExample: SELECT version, status, origin, patterns, complete FROM sona.versions {WHERE_OF} "
    "ORDER BY version DESC",
    "learning": "Whether each space learns: the age of its live version, the facts that no cycle has learned from and since "
    "when, cycles that have failed since, and who learns now.\\nExample: SELECT space, age, waiting_facts, failed_cycles, "
    "last_error FROM sona.learning",
}


def _definition(view: str) -> str:
    return next(text for text in BEFORE[view] if f"CREATE VIEW sona.{view} " in text)


def _with_number(view: str) -> str:
    """Return the definition of an earlier revision with ``space_id`` as its last column."""
    head, select, rest = _definition(view).partition("SELECT s.name AS space")
    columns, end, tables = rest.partition("\n    FROM ")
    return f"{head}{select}{columns}, s.space_id{end}{tables}".replace("CREATE VIEW", "CREATE OR REPLACE VIEW")


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    driver.execute(f"CREATE OR REPLACE VIEW sona.pattern_summary AS {SUMMARY}")
    for name in BEFORE:
        driver.execute(_with_number(name))
    for name, query in VIEWS.items():
        driver.execute(f"CREATE VIEW sona.{name} AS {query}")
    for name, comment in COMMENTS.items():
        driver.execute(f"COMMENT ON VIEW sona.{name} IS E'{comment}'")


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for name in (*reversed(VIEWS), *BEFORE, "pattern_summary"):
        driver.execute(f"DROP VIEW sona.{name}")
    for name in BEFORE:
        driver.execute(_definition(name))
    before = v0014_pattern_uses.SUMMARY.format(columns=v0014_pattern_uses.COLUMNS, joins=v0014_pattern_uses.JOINS)
    driver.execute(f"CREATE VIEW sona.pattern_summary AS {before}")
    for name in (*BEFORE, "pattern_summary", "learning"):
        driver.execute(f"COMMENT ON VIEW sona.{name} IS '{COMMENTS[name].partition(chr(92) + 'n')[0]}'")
