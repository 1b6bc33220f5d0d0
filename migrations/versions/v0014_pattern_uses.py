"""When each pattern was made, how often it was found, and when last: in a table of its own, beside what versions hold.

The previous release neither reads nor writes it: it makes patterns without a row, whose age is then their version's.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SUMMARY = """
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
           p.created_version, p.updated_version, p.updated_at, cardinality(p.merged_from) AS merged{columns}
    FROM sona.patterns p
    JOIN sona.spaces s ON s.space_id = p.space_id{joins}
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
"""
COLUMNS = """,
           coalesce(u.created_at, c.created_at) AS created_at, coalesce(u.access_count, 0) AS access_count,
           u.last_accessed"""
JOINS = """
    LEFT JOIN sona.pattern_uses u ON u.space_id = p.space_id AND u.pattern_id = p.pattern_id
    LEFT JOIN sona.state_versions c ON c.space_id = p.space_id AND c.version = p.created_version"""
COMMENT = (
    "COMMENT ON VIEW sona.pattern_summary IS 'Patterns with their most typical queries, how their trajectories and "
    "each route went (the verdict is the most frequent one), and the settings that went well.'"
)
STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.pattern_uses (
        space_id int NOT NULL REFERENCES sona.spaces,
        pattern_id uuid NOT NULL,
        created_at timestamptz,
        access_count bigint NOT NULL DEFAULT 0 CHECK (access_count >= 0),
        last_accessed timestamptz,
        PRIMARY KEY (space_id, pattern_id)
    )
    """,
    "COMMENT ON TABLE sona.pattern_uses IS 'Use of patterns: servers add what they found with their heartbeats. No "
    "part of a version: a rebuild changes none of it.'",
    "COMMENT ON COLUMN sona.pattern_uses.created_at IS 'When the cycle that made it was published; null: unknown.'",
    """
    INSERT INTO sona.pattern_uses (space_id, pattern_id, created_at)
    SELECT p.space_id, p.pattern_id, v.created_at FROM sona.patterns p
    JOIN sona.state_versions v ON v.space_id = p.space_id AND v.version = p.created_version
    ON CONFLICT (space_id, pattern_id) DO NOTHING
    """,
    f"CREATE OR REPLACE VIEW sona.pattern_summary AS {SUMMARY.format(columns=COLUMNS, joins=JOINS)}",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.pattern_summary")
    op.execute(f"CREATE VIEW sona.pattern_summary AS {SUMMARY.format(columns='', joins='')}")
    op.execute(COMMENT)
    op.execute("DROP TABLE sona.pattern_uses")
