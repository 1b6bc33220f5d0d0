"""Patterns get a cheaper HNSW index: every cycle rewrites all patterns of a space, each by an insertion.

Among 20,000 clustered patterns of 384 dimensions, 100 rewritten ones take 40 ms with m = 8, ef_construction = 32, and
95 with the usual 16 and 64; recall@10 of an unfiltered search is .954 and .992 (ef_search 40).
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LIGHT = "m = 8, ef_construction = 32"
USUAL = "m = 16, ef_construction = 64"


def upgrade() -> None:
    _index_patterns(LIGHT)


def downgrade() -> None:
    _index_patterns(USUAL)


def _index_patterns(parameters: str) -> None:
    """Rebuild the indexes of patterns with ``parameters``, for existing and future dimensions."""
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in (ENSURE_DIMENSION, REBUILD):
        driver.execute(statement.replace("PARAMETERS", parameters))


ENSURE_DIMENSION = """
CREATE OR REPLACE FUNCTION sona.ensure_dimension(dimension int) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
    vector_column text;
    indexed text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['patterns', 'memory_nodes'] LOOP
        child := format('%s_d%s', parent, dimension);
        IF to_regclass('sona.' || child) IS NULL THEN
            vector_column := CASE parent WHEN 'patterns' THEN 'centroid' ELSE 'embedding' END;
            indexed := CASE
                WHEN dimension <= 2000 THEN
                    format('((%I::vector(%s)) vector_cosine_ops)', vector_column, dimension)
                WHEN dimension <= 4000 THEN
                    format('((%I::halfvec(%s)) halfvec_cosine_ops)', vector_column, dimension)
                ELSE
                    format('((binary_quantize(%I)::bit(%s)) bit_hamming_ops)', vector_column, dimension)
            END || CASE parent WHEN 'patterns' THEN ' WITH (PARAMETERS)' ELSE '' END;
            EXECUTE format('CREATE TABLE sona.%I PARTITION OF sona.%I FOR VALUES IN (%s)', child, parent, dimension);
            EXECUTE format('CREATE INDEX %I ON sona.%I USING hnsw %s', child || '_hnsw', child, indexed);
            EXECUTE format('COMMENT ON INDEX sona.%I IS %L', child || '_hnsw',
                'Serves: ORDER BY ' || vector_column || ' <=> :query LIMIT k within one dimension');
            RETURN NEXT child;
        END IF;
    END LOOP;
END $$
"""

REBUILD = """
DO $$
DECLARE
    found regclass;
BEGIN
    FOR found IN
        SELECT i.indexrelid::regclass FROM pg_index i
        JOIN pg_inherits h ON h.inhrelid = i.indrelid AND h.inhparent = 'sona.patterns'::regclass
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
    LOOP
        EXECUTE format('ALTER INDEX %s SET (PARAMETERS)', found);
        EXECUTE format('REINDEX INDEX %s', found);
    END LOOP;
END $$
"""
