"""Views over all spaces that Citus can spread, and partitions that are guarded before they become part of their table.

Citus sends a statement about several spaces to their nodes if functions of the database stand in its SELECT list, not in
its FROM, and if every part of a UNION names ``space_id``. It makes the shards of a partition when that is attached: what
is set afterwards reaches no shard. On plain Postgres both are as they were.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0023_analytics_views import FIGURES as FIGURES_BEFORE

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

FIGURES = """
CREATE OR REPLACE VIEW sona.figures WITH (security_invoker = true) AS
SELECT s.name AS space, s.space_id, CASE WHEN isfinite((s.d).day) THEN (s.d).day END AS day, f.kind, f.name, f.trajectories,
       f.steps, f.facts, f.corrections, f.retractions, f.rated, f.quality AS quality_sum,
       f.quality / nullif(f.rated, 0) AS quality, f.costed, f.cost AS cost_sum, f.delays, f.delay_counts,
       coalesce((s.d).summed_at, now()) AS as_of
FROM (SELECT o.name, o.space_id, sona.days_of(o.space_id) AS d FROM sona.spaces o) s
CROSS JOIN LATERAL (
    SELECT k.space_id, k.kind, k.name, k.trajectories, k.steps, k.facts, k.corrections, k.retractions, k.rated, k.quality,
           k.costed, k.cost, k.delays, k.delay_counts
    FROM sona.daily_figures k WHERE NOT (s.d).is_live AND k.space_id = s.space_id AND k.day = (s.d).day
    UNION ALL
    SELECT l.space_id, (l.f).kind, (l.f).name, (l.f).trajectories, (l.f).steps, (l.f).facts, (l.f).corrections,
           (l.f).retractions, (l.f).rated, (l.f).quality, (l.f).costed, (l.f).cost, (l.f).delays, (l.f).delay_counts
    FROM (
        SELECT z.space_id, sona.figures_between(z.space_id, (s.d).first_id, (s.d).last_id) AS f
        FROM sona.spaces z WHERE z.space_id = s.space_id AND (s.d).is_live
    ) l
) f
"""
SIZES = """
CREATE OR REPLACE VIEW sona.store_size WITH (security_invoker = true) AS
SELECT s.name AS space, s.space_id, (s.z).table_name, (s.z).month, sum((s.z).row_count)::bigint AS row_count,
       sum((s.z).bytes)::bigint AS bytes
FROM (SELECT o.name, o.space_id, sona.sizes_of(o.space_id) AS z FROM sona.spaces o) s
GROUP BY s.name, s.space_id, (s.z).table_name, (s.z).month
"""
SIZES_BEFORE = """
CREATE OR REPLACE VIEW sona.store_size WITH (security_invoker = true) AS
SELECT s.name AS space, s.space_id, z.table_name, z.month, sum(z.row_count)::bigint AS row_count,
       sum(z.bytes)::bigint AS bytes
FROM sona.spaces s
CROSS JOIN LATERAL sona.sizes_of(s.space_id) z
GROUP BY s.name, s.space_id, z.table_name, z.month
"""
ENSURE_PARTITIONS = """
CREATE OR REPLACE FUNCTION sona.ensure_partitions(
    first_day timestamptz, weeks int, parents text[] DEFAULT ARRAY['trajectories', 'steps', 'feedback']
) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    monday timestamp := date_trunc('week', first_day AT TIME ZONE 'UTC');
    parent text;
    child text;
    id_column text;
    first_id uuid;
    end_id uuid;
BEGIN
    FOR week IN 0 .. weeks - 1 LOOP
        first_id := sona.uuid_floor((monday + week * interval '7 days') AT TIME ZONE 'UTC');
        end_id := sona.uuid_floor((monday + (week + 1) * interval '7 days') AT TIME ZONE 'UTC');
        FOREACH parent IN ARRAY parents LOOP
            child := format('%s_w%s', parent, to_char(monday + week * interval '7 days', 'YYYYMMDD'));
            CONTINUE WHEN to_regclass('sona.' || child) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE sona.%I (LIKE sona.%I INCLUDING ALL)', child, parent);
                {guard}EXECUTE format('ALTER TABLE sona.%I ATTACH PARTITION sona.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, child, first_id, end_id);
            EXCEPTION WHEN check_violation THEN
                id_column := CASE parent WHEN 'trajectories' THEN 'id' ELSE 'trajectory_id' END;
                EXECUTE format('LOCK TABLE sona.%I IN ACCESS EXCLUSIVE MODE', parent);
                EXECUTE format('CREATE TABLE sona.%I (LIKE sona.%I INCLUDING ALL)', child, parent);
                EXECUTE format('INSERT INTO sona.%I SELECT * FROM sona.%I WHERE %I >= %L AND %I < %L',
                    child, parent || '_rest', id_column, first_id, id_column, end_id);
                EXECUTE format('DELETE FROM sona.%I WHERE %I >= %L AND %I < %L',
                    parent || '_rest', id_column, first_id, id_column, end_id);
                {guard}EXECUTE format('ALTER TABLE sona.%I ATTACH PARTITION sona.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, child, first_id, end_id);
            END;
            {after}RETURN NEXT child;
        END LOOP;
    END LOOP;
END $$
"""
GUARD = "PERFORM sona.guard_partition(parent, child);"


def _partitions(guard: str, after: str) -> str:
    return ENSURE_PARTITIONS.replace("{guard}", guard).replace("{after}", after)


STEPS = [FIGURES, SIZES, _partitions(f"{GUARD}\n                ", "")]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    driver.execute(_partitions("", f"{GUARD} "))
    driver.execute(SIZES_BEFORE)
    driver.execute(FIGURES_BEFORE.replace("sona.figures AS", "sona.figures WITH (security_invoker = true) AS"))
