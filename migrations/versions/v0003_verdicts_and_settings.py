"""Verdicts and parameters of trajectories and patterns, ended servers, and feedback without a trajectory.

Every column has a default, so that the previous release continues to work beside this one.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VERDICTS = ", ".join(
    f"ADD COLUMN {verdict}_count bigint NOT NULL DEFAULT 0 CHECK ({verdict}_count >= 0)"
    for verdict in ("success", "recovered", "partial", "failure")
)

COLUMNS = [
    "ALTER TABLE sona.spaces ADD COLUMN departed_trajectories bigint NOT NULL DEFAULT 0, "
    "ADD COLUMN departed_feedback bigint NOT NULL DEFAULT 0, ADD COLUMN departed_dropped bigint NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN sona.spaces.departed_trajectories IS 'Recorded by servers that are no longer in sona.servers.'",
    # A route is part of a key of sona.pattern_routes: a longer one, once accepted, would stop every cycle.
    "UPDATE sona.trajectories SET route = NULLIF(left(route, 250), '') "
    "WHERE octet_length(route) NOT BETWEEN 1 AND 1000",
    "ALTER TABLE sona.trajectories ADD COLUMN lowest_reward real, "
    "ADD COLUMN parameters jsonb CHECK (jsonb_typeof(parameters) = 'object'), "
    "ADD CONSTRAINT trajectories_route_check CHECK (octet_length(route) BETWEEN 1 AND 1000)",
    "COMMENT ON COLUMN sona.trajectories.lowest_reward IS 'Of its steps, which are kept for a shorter time; null without.'",
    "COMMENT ON COLUMN sona.trajectories.parameters IS 'With which settings it was answered, such as a temperature.'",
    f"ALTER TABLE sona.patterns {VERDICTS}, ADD COLUMN parameters jsonb NOT NULL DEFAULT '{{}}'",
    "COMMENT ON COLUMN sona.patterns.success_count IS 'Of its trajectories, by verdict, as outcomes are known now.'",
    "COMMENT ON COLUMN sona.patterns.recovered_count IS 'Successes after a failing step or a failed earlier outcome.'",
    "COMMENT ON COLUMN sona.patterns.parameters IS "
    "'By name: sums over the settings of the trajectories that succeeded, weighted by their quality.'",
    f"ALTER TABLE sona.pattern_routes {VERDICTS}",
    "ALTER TABLE sona.servers ADD COLUMN ended_at timestamptz",
    "COMMENT ON TABLE sona.servers IS 'Engines that opened the space: what each serves and what it has recorded.'",
    "COMMENT ON COLUMN sona.servers.ended_at IS 'When it was closed; null while it runs, and if it was killed.'",
]

VIEWS = [
    """
    CREATE VIEW sona.pattern_summary AS
    SELECT s.name AS space, p.pattern_id, p.kind, p.size, p.weight, p.quality,
           CASE greatest(p.failure_count, p.partial_count, p.recovered_count, p.success_count)
               WHEN 0 THEN NULL
               WHEN p.failure_count THEN 'failure'
               WHEN p.partial_count THEN 'partial'
               WHEN p.recovered_count THEN 'recovered'
               ELSE 'success'
           END AS verdict,
           jsonb_build_object('success', p.success_count, 'recovered', p.recovered_count,
                              'partial', p.partial_count, 'failure', p.failure_count) AS verdicts,
           p.typical_queries[1] AS typical_query, p.typical_queries, r.routes, a.parameters,
           p.created_version, p.updated_version, p.updated_at, cardinality(p.merged_from) AS merged
    FROM sona.patterns p
    JOIN sona.spaces s ON s.space_id = p.space_id
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(r.route, jsonb_build_object(
                   'size', r.size, 'quality', r.quality, 'success', r.success_count, 'recovered', r.recovered_count,
                   'partial', r.partial_count, 'failure', r.failure_count)) AS routes
        FROM sona.pattern_routes r
        WHERE r.space_id = p.space_id AND r.pattern_id = p.pattern_id
    ) r ON true
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(kept.key, (kept.value ->> 'total')::float8 / (kept.value ->> 'weight')::float8)
            AS parameters
        FROM jsonb_each(p.parameters) AS kept
    ) a ON true
    """,
    "COMMENT ON VIEW sona.pattern_summary IS 'Patterns with their most typical queries, how their trajectories and "
    "each route went (the verdict is the most frequent one), and the settings that went well.'",
    """
    CREATE VIEW sona.fleet AS
    SELECT s.name AS space, v.server_id, v.host, v.pid, v.release,
           CASE WHEN v.ended_at IS NOT NULL THEN 'ended'
                WHEN v.seen_at < now() - interval '2 minutes' THEN 'gone'
                ELSE 'live' END AS state,
           v.started_at, v.seen_at, v.serving_version,
           s.live_version - v.serving_version AS versions_behind, v.trajectories, v.feedback, v.dropped
    FROM sona.servers v
    JOIN sona.spaces s ON s.space_id = v.space_id
    """,
    "COMMENT ON VIEW sona.fleet IS 'Servers of each space: the version each serves and how far it is behind; live, ended "
    "(it was closed), or gone (nothing was heard of it for two minutes).'",
    """
    CREATE VIEW sona.waiting_feedback AS
    SELECT s.name AS space, f.trajectory_id, f.source, f.quality, f.correction, f.recorded_at,
           now() - f.recorded_at AS age
    FROM (
        SELECT DISTINCT ON (w.space_id, w.trajectory_id, w.source)
            w.space_id, w.trajectory_id, w.source, w.quality, w.correction, w.recorded_at
        FROM sona.feedback w
        WHERE NOT EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = w.space_id AND t.id = w.trajectory_id)
        ORDER BY w.space_id, w.trajectory_id, w.source, w.sequence DESC
    ) f
    JOIN sona.spaces s ON s.space_id = f.space_id
    WHERE f.quality IS NOT NULL OR f.correction IS NOT NULL
    """,
    "COMMENT ON VIEW sona.waiting_feedback IS "
    "'What each source said last of trajectories that are not there: still on their way, never recorded, or a wrong id.'",
    """
    CREATE FUNCTION sona.find_patterns(
        of_space text, query vector, k int DEFAULT 5, min_quality double precision DEFAULT 0,
        of_kind text DEFAULT NULL, of_route text DEFAULT NULL, of_verdict text DEFAULT NULL
    ) RETURNS TABLE (
        similarity double precision, pattern_id uuid, kind text, size bigint, quality double precision, verdict text,
        typical_queries text[], routes jsonb, parameters jsonb
    )
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    BEGIN
        RETURN QUERY
        SELECT 1 - (p.centroid <=> query), v.pattern_id, v.kind, v.size, v.quality, v.verdict, v.typical_queries,
               v.routes, v.parameters
        FROM sona.patterns p
        JOIN sona.pattern_summary v ON v.space = of_space AND v.pattern_id = p.pattern_id
        WHERE p.space_id = wanted AND p.quality >= min_quality
          AND (of_kind IS NULL OR p.kind = of_kind)
          AND (of_verdict IS NULL OR v.verdict = of_verdict)
          AND (of_route IS NULL OR v.routes ? of_route)
        ORDER BY p.centroid <=> query
        LIMIT k;
    END $$
    """,
    "COMMENT ON FUNCTION sona.find_patterns(text, vector, int, double precision, text, text, text) IS "
    "'The patterns of a space nearest to a query vector that pass the filters, nearest first: as the engine finds them.'",
]

VIEWS_BEFORE = [
    """
    CREATE VIEW sona.pattern_summary AS
    SELECT s.name AS space, p.pattern_id, p.kind, p.size, p.weight, p.quality, p.typical_queries[1] AS typical_query,
           r.routes, p.created_version, p.updated_version, p.updated_at, cardinality(p.merged_from) AS merged
    FROM sona.patterns p
    JOIN sona.spaces s ON s.space_id = p.space_id
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(r.route, jsonb_build_object('size', r.size, 'quality', r.quality)) AS routes
        FROM sona.pattern_routes r
        WHERE r.space_id = p.space_id AND r.pattern_id = p.pattern_id
    ) r ON true
    """,
    "COMMENT ON VIEW sona.pattern_summary IS 'Patterns with their most typical query and how each route did in them.'",
    """
    CREATE VIEW sona.fleet AS
    SELECT s.name AS space, v.server_id, v.host, v.pid, v.release, v.seen_at, v.serving_version,
           s.live_version - v.serving_version AS versions_behind, v.trajectories, v.feedback, v.dropped
    FROM sona.servers v
    JOIN sona.spaces s ON s.space_id = v.space_id
    """,
    "COMMENT ON VIEW sona.fleet IS 'Servers of each space: the version each serves and how far it is behind.'",
]


def upgrade() -> None:
    op.execute("DROP VIEW sona.fleet, sona.pattern_summary")
    for statement in [*COLUMNS, *VIEWS]:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION sona.find_patterns(text, vector, int, double precision, text, text, text)")
    op.execute("DROP VIEW sona.waiting_feedback, sona.fleet, sona.pattern_summary")
    verdicts = (
        "DROP COLUMN success_count, DROP COLUMN recovered_count, DROP COLUMN partial_count, DROP COLUMN failure_count"
    )
    op.execute(
        "ALTER TABLE sona.spaces DROP COLUMN departed_trajectories, DROP COLUMN departed_feedback, "
        "DROP COLUMN departed_dropped"
    )
    op.execute(
        "ALTER TABLE sona.trajectories DROP CONSTRAINT trajectories_route_check, DROP COLUMN lowest_reward, "
        "DROP COLUMN parameters"
    )
    op.execute(f"ALTER TABLE sona.patterns {verdicts}, DROP COLUMN parameters")
    op.execute(f"ALTER TABLE sona.pattern_routes {verdicts}")
    op.execute("ALTER TABLE sona.servers DROP COLUMN ended_at")
    op.execute(
        "COMMENT ON TABLE sona.servers IS 'Every engine that opened the space: what it serves and what it has recorded.'"
    )
    for statement in VIEWS_BEFORE:
        op.execute(statement)
