"""Exact searches of SQL: by a statement that Postgres may run in parallel, and read once the nearest are known."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0027_sql_search import SIMILAR as BEFORE

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

# Sealed weeks are searched by their HNSW index, all other ranges of ids exactly; so is everything where a filter is given,
# for an index returns the nearest before it is filtered. Two statements: with the settings that make the planner take the
# indexes, it would neither read a whole week in order nor in parallel. Route, text and outcome are read of the k nearest.
SIMILAR = """
CREATE OR REPLACE FUNCTION sona.similar_trajectories(
    of_space text, query vector, k int DEFAULT 10, of_route text DEFAULT NULL, min_quality double precision DEFAULT NULL,
    since timestamptz DEFAULT NULL, exact boolean DEFAULT false
) RETURNS TABLE (
    similarity double precision, trajectory_id uuid, started_at timestamptz, route text, query_text text,
    quality double precision
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_vector(of_space, query, 'query', true);
    unit halfvec := l2_normalize(query)::halfvec;
    dims int := vector_dims(query);
    lowest uuid := coalesce(sona.uuid_floor(since), '00000000-0000-0000-0000-000000000000');
    -- The dimension is no condition: the planner would expect few rows, and send them all to one process to be sorted.
    scan constant text := '(SELECT t.id, CASE WHEN vector_dims(t.embedding) = %s THEN t.embedding <=> $2 END AS distance '
        'FROM sona.trajectories t WHERE t.space_id = $1 AND t.id >= %L AND t.id <= %L %s ORDER BY 2, 1 LIMIT $3)';
    look constant text := '(SELECT t.id, t.embedding <=> $2 AS distance FROM sona.trajectories t WHERE t.space_id = $1 '
        'AND t.id >= %2$L AND t.id <= %3$L AND vector_dims(t.embedding) = %1$s ORDER BY t.embedding::halfvec(%1$s) <=> $2 LIMIT $3)';
    nearest constant text := 'SELECT array_agg(n.id), array_agg(n.distance) FROM (SELECT u.id, u.distance FROM (%s) u '
        'WHERE u.distance <> ''NaN'' ORDER BY u.distance, u.id LIMIT $3) n';
    filter text := '';
    scanned text[] := '{}';
    indexed text[] := '{}';
    week record;
    ids uuid[];
    distances double precision[];
    more_ids uuid[];
    more_distances double precision[];
    names constant text[] := ARRAY['hnsw.iterative_scan', 'hnsw.ef_search', 'hnsw.max_scan_tuples', 'enable_sort',
                                   'enable_seqscan', 'jit'];
    before text[] := ARRAY(SELECT current_setting(n) FROM unnest(names) AS n);
BEGIN
    IF k IS NULL OR k < 1 OR k > 100000 THEN
        RAISE EXCEPTION 'k=%: expected a whole number from 1 to 100000', k USING ERRCODE = 'invalid_parameter_value';
    ELSIF min_quality < 0 OR min_quality > 1 OR min_quality = 'NaN' THEN
        RAISE EXCEPTION 'min_quality=%: expected a number in [0, 1]', min_quality USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF of_route IS NOT NULL THEN
        filter := format('AND t.route = %L', of_route);
    END IF;
    IF min_quality IS NOT NULL THEN
        filter := filter || format(' AND (SELECT o.quality FROM sona.judged_between(t.space_id, t.id, t.id) o)::real >= %L::real',
                                   min_quality);
    END IF;
    IF NOT exact AND filter = '' AND dims <= 4000 THEN
        FOR week IN
            SELECT w.first_id, w.end_id FROM sona.sealed_weeks w
            -- Expected rows that the index of all spaces visits for k of this one, each 40 times as costly as one scanned.
            WHERE w.space_id = wanted AND w.end_id > lowest
              AND w.trajectories > greatest(2000, 40 * greatest(128, k * w.indexed / greatest(w.trajectories, 1)))
              AND k <= 128
            ORDER BY w.first_id
        LOOP
            IF week.first_id > lowest THEN
                scanned := scanned || format(scan, dims, lowest, sona.last_id(sona.day_of(week.first_id) - 1), '');
            END IF;
            indexed := indexed
                || format(look, dims, greatest(lowest, week.first_id), sona.last_id(sona.day_of(week.end_id) - 1));
            lowest := week.end_id;
        END LOOP;
    END IF;
    scanned := scanned || format(scan, dims, lowest, 'ffffffff-ffff-ffff-ffff-ffffffffffff', filter);
    -- As the engine's search; not as settings of the function, which only a superuser may restore from a dump.
    SET LOCAL jit = off;
    EXECUTE format(nearest, array_to_string(scanned, ' UNION ALL ')) INTO ids, distances USING wanted, unit, k;
    SET LOCAL hnsw.iterative_scan = 'relaxed_order';
    SET LOCAL hnsw.ef_search = 128;
    SET LOCAL hnsw.max_scan_tuples = 20000;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_seqscan = off;
    IF indexed <> '{}' THEN
        EXECUTE format(nearest, array_to_string(indexed, ' UNION ALL ')) INTO more_ids, more_distances USING wanted, unit, k;
    END IF;
    FOR i IN 1 .. cardinality(names) LOOP
        EXECUTE format('SET LOCAL %s = %L', names[i], before[i]);
    END LOOP;
    RETURN QUERY
        SELECT 1 - n.distance, n.id, sona.uuid_time(n.id), t.route, t.query,
               (SELECT o.quality FROM sona.judged_between(wanted, n.id, n.id) o)
        FROM (
            SELECT u.id, u.distance FROM unnest(ids || more_ids, distances || more_distances) AS u (id, distance)
            ORDER BY u.distance, u.id LIMIT k
        ) n
        JOIN sona.trajectories t ON t.space_id = wanted AND t.id = n.id
        ORDER BY n.distance, n.id;
END $$
"""


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        op.get_bind().connection.driver_connection.execute(SIMILAR)  # takes colons and percent signs as they stand


def downgrade() -> None:
    op.get_bind().connection.driver_connection.execute(BEFORE)
