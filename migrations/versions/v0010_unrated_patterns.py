"""SQL excludes unrated patterns from searches by quality, as the engine does."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FIND_PATTERNS = """
CREATE OR REPLACE FUNCTION sona.find_patterns(
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
    WHERE p.space_id = wanted AND {demand}
      AND (of_kind IS NULL OR p.kind = of_kind)
      AND (of_verdict IS NULL OR v.verdict = of_verdict)
      AND (of_route IS NULL OR v.routes ? of_route)
    ORDER BY p.centroid <=> query
    LIMIT k;
END $$
"""


def upgrade() -> None:
    op.execute(FIND_PATTERNS.replace("{demand}", "(min_quality <= 0 OR (p.weight > 0 AND p.quality >= min_quality))"))


def downgrade() -> None:
    op.execute(FIND_PATTERNS.replace("{demand}", "p.quality >= min_quality"))
