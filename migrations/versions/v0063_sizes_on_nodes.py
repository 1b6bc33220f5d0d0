"""Sizes of the shards that hold a space, and growth of a space asked for by its number, on a store that Citus spreads.

On a worker ``sizes_of`` listed shards as tables beside their tables, so rows were told twice, and bytes were those of
tables without rows. On plain Postgres both are as they were.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0022_analytics_functions as functions
from sona_pg.migrations.versions import v0023_analytics_views as views

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None

# On Citus the node that has the space is asked, for the sizes of the space's shards: null are shards of other spaces.
SIZES = """
CREATE OR REPLACE FUNCTION sona.sizes_of(of_space int) RETURNS TABLE (
    table_name text, month date, row_count bigint, bytes bigint
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    part record;
    held record;
    shard text := 'r.oid';
    is_here boolean := true;
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        shard := $sql$
            CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = r.oid)
                 THEN to_regclass(format('sona.%I', r.relname || '_' || get_shard_id_for_distribution_column(r.oid, $1)))::oid
                 WHEN NOT relation_is_a_known_shard(r.oid) THEN r.oid END
        $sql$;
        EXECUTE format('SELECT %s IS NOT NULL FROM pg_class r WHERE r.oid = ''sona.spaces''::regclass', shard)
            INTO is_here USING of_space;
    END IF;
    IF NOT is_here THEN
        RETURN QUERY
        SELECT (s.z).table_name, (s.z).month, (s.z).row_count, (s.z).bytes
        FROM (SELECT sona.sizes_of(o.space_id) AS z FROM sona.spaces o WHERE o.space_id = of_space) s;
        RETURN;
    END IF;
    FOR part IN
        SELECT ledger.name, date_trunc('week', f.day)::date AS monday,
               sum(CASE ledger.name WHEN 'trajectories' THEN f.trajectories WHEN 'steps' THEN f.steps ELSE f.facts END)::bigint
                   AS n
        FROM sona.figures f
        CROSS JOIN (VALUES ('trajectories'), ('steps'), ('feedback')) AS ledger (name)
        WHERE f.space_id = of_space AND f.kind = 'space'
        GROUP BY 1, 2
    LOOP
        EXECUTE format('SELECT pg_total_relation_size(c.oid) AS size, c.reltuples FROM pg_class c '
                       'WHERE c.oid = (SELECT %s FROM pg_class r WHERE r.oid = $2)', shard)
            INTO held USING of_space,
                coalesce(to_regclass('sona.' || part.name || '_w' || to_char(part.monday, 'YYYYMMDD')),
                         to_regclass('sona.' || part.name || '_rest'));
        table_name := part.name;
        month := date_trunc('month', part.monday);
        row_count := part.n;
        bytes := CASE WHEN part.n > 0 THEN held.size * (part.n / greatest(held.reltuples, part.n)::float8) ELSE 0 END;
        RETURN NEXT;
    END LOOP;
    month := NULL;
    FOR part IN EXECUTE format($sql$
        WITH held AS MATERIALIZED (
            SELECT t.relname::text AS name, %s AS oid
            FROM pg_class t
            LEFT JOIN LATERAL pg_partition_tree(t.oid) p ON true
            JOIN pg_class r ON r.oid = coalesce(p.relid, t.oid)
            WHERE t.relnamespace = 'sona'::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition
              AND t.relname NOT IN ('trajectories', 'steps', 'feedback')
              AND EXISTS (SELECT FROM pg_attribute a
                          WHERE a.attrelid = t.oid AND a.attname = 'space_id' AND NOT a.attisdropped)
        )
        SELECT h.name, sum(pg_total_relation_size(c.oid))::float8 AS size, sum(greatest(c.reltuples, 0)) AS n
        FROM held h JOIN pg_class c ON c.oid = h.oid
        GROUP BY h.name
    $sql$, shard) USING of_space LOOP
        EXECUTE format('SELECT count(*) FROM sona.%I WHERE space_id = $1', part.name) INTO row_count USING of_space;
        table_name := part.name;
        bytes := CASE WHEN row_count > 0 THEN part.size * (row_count / greatest(part.n, row_count)::float8) ELSE 0 END;
        RETURN NEXT;
    END LOOP;
END $$
"""
# The version of a day as a column: joined sideways, Citus refuses it where one space is asked for by its number.
GROWTH = """
CREATE OR REPLACE VIEW sona.growth WITH (security_invoker = true) AS
SELECT f.space, f.space_id, f.day, f.trajectories, f.steps, f.facts, f.trajectories_so_far, f.facts_so_far, f.version, h.patterns,
       cardinality(h.routes) AS routes, f.as_of
FROM (
    SELECT d.space, d.space_id, d.day, d.trajectories, d.steps, d.facts, sum(d.trajectories) OVER past AS trajectories_so_far,
           sum(d.facts) OVER past AS facts_so_far, d.as_of, (
               SELECT max(m.version) FROM sona.state_versions m
               WHERE m.space_id = d.space_id AND m.status IN ('live', 'retired') AND m.created_at < d.day + 1
           ) AS version
    FROM sona.figures d
    WHERE d.kind = 'space'
    WINDOW past AS (PARTITION BY d.space, d.space_id ORDER BY d.day NULLS FIRST)
) f
LEFT JOIN sona.version_contents h ON h.space_id = f.space_id AND h.version = f.version
"""
GROWTH_BEFORE = f"CREATE OR REPLACE VIEW sona.growth WITH (security_invoker = true) AS {views.VIEWS['growth']}"
(SIZES_BEFORE,) = (text for text in functions.FUNCTIONS if "FUNCTION sona.sizes_of" in text)
STEPS = [SIZES, GROWTH]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for statement in (GROWTH_BEFORE, SIZES_BEFORE):
        driver.execute(statement)
