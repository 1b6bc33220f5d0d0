"""Drift of patterns over the kept versions, in SQL."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

DRIFT = """
    CREATE OR REPLACE FUNCTION sona.pattern_drift(of_space text) RETURNS TABLE (
        pattern_id uuid, since timestamptz, days double precision, moved double precision, per_day double precision,
        size bigint, typical_query text
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    BEGIN
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
        END IF;
        RETURN QUERY
        SELECT p.pattern_id, v.created_at, d.days, m.moved, m.moved / nullif(d.days, 0), p.size, p.typical_queries[1]
        FROM sona.patterns p
        JOIN (
            SELECT k.pattern_id, min(k.version) AS version
            FROM sona.version_patterns k WHERE k.space_id = wanted GROUP BY k.pattern_id
        ) f ON f.pattern_id = p.pattern_id
        JOIN sona.version_patterns o ON o.space_id = wanted AND o.version = f.version AND o.pattern_id = f.pattern_id
        JOIN sona.state_versions v ON v.space_id = wanted AND v.version = f.version
        CROSS JOIN LATERAL (
            SELECT extract(epoch FROM p.updated_at - v.created_at)::float8 / 86400 AS days
        ) d
        CROSS JOIN LATERAL (SELECT greatest(o.centroid <=> p.centroid, 0) AS moved) m
        WHERE p.space_id = wanted
        ORDER BY m.moved DESC, p.pattern_id;
    END $$
"""
STEPS = [
    DRIFT,
    "COMMENT ON FUNCTION sona.pattern_drift(text) IS E'How far each live pattern has moved (cosine distance) since the "
    "oldest kept version that has it; the one that moved most first.\\nExample: SELECT typical_query, moved, days "
    "FROM sona.pattern_drift(''support'') LIMIT 10'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION sona.pattern_drift(text)")
