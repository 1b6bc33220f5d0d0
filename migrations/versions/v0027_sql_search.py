"""Functions that search for clients without Python, as an engine does: patterns, trajectories, those behind a pattern."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0010_unrated_patterns

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

REQUIRE_DIRECTION = """
CREATE OR REPLACE FUNCTION sona.require_vector(of_space text, x vector, called text, direction boolean) RETURNS int
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    wanted int := sona.require_space(of_space);
    expected int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = wanted);
BEGIN
    IF x IS NULL THEN
        RAISE EXCEPTION '% is null: expected a vector of % dimensions', called, expected
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF vector_dims(x) <> expected THEN
        RAISE EXCEPTION '% has % dimensions, space % has %', called, vector_dims(x), quote_literal(of_space), expected
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF direction AND vector_norm(x) = 0 THEN
        RAISE EXCEPTION '% is all 0: it points in no direction, so nothing is near it', called
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN wanted;
END $$
"""
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
    wanted int := sona.require_vector(of_space, query, 'query', true);
BEGIN
    IF k IS NULL OR k < 0 THEN
        RAISE EXCEPTION 'k=%: expected a whole number from 0', k USING ERRCODE = 'invalid_parameter_value';
    ELSIF min_quality > 1 OR min_quality = 'NaN' THEN
        RAISE EXCEPTION 'min_quality=%: expected a number in [0, 1]', min_quality USING ERRCODE = 'invalid_parameter_value';
    ELSIF of_kind NOT IN ('general', 'reasoning', 'factual', 'creative', 'code', 'conversational') THEN
        RAISE EXCEPTION 'of_kind=%: expected general, reasoning, factual, creative, code or conversational',
            quote_literal(of_kind) USING ERRCODE = 'invalid_parameter_value';
    ELSIF of_verdict NOT IN ('success', 'recovered', 'partial', 'failure') THEN
        RAISE EXCEPTION 'of_verdict=%: expected success, recovered, partial or failure', quote_literal(of_verdict)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH nearest AS MATERIALIZED (
        SELECT p.pattern_id, 1 - (p.centroid <=> query) AS similarity
        FROM sona.patterns p
        WHERE p.space_id = wanted AND p.dim = vector_dims(query)
          AND (coalesce(min_quality, 0) <= 0 OR (p.weight > 0 AND p.quality >= min_quality))
          AND (of_kind IS NULL OR p.kind = of_kind)
          AND (of_verdict IS NULL OR of_verdict = CASE
              greatest(p.failure_count, p.partial_count, p.recovered_count, p.success_count)
                  WHEN 0 THEN NULL WHEN p.failure_count THEN 'failure' WHEN p.partial_count THEN 'partial'
                  WHEN p.recovered_count THEN 'recovered' ELSE 'success' END)
          AND (of_route IS NULL OR EXISTS (
              SELECT FROM sona.pattern_routes r
              WHERE r.space_id = wanted AND r.pattern_id = p.pattern_id AND r.route = of_route))
        ORDER BY p.centroid <=> query, p.pattern_id LIMIT k
    )
    SELECT n.similarity, v.pattern_id, v.kind, v.size, v.quality, v.verdict, v.typical_queries, v.routes, v.parameters
    FROM nearest n
    JOIN sona.pattern_summary v ON v.space_id = wanted AND v.pattern_id = n.pattern_id
    ORDER BY n.similarity DESC, n.pattern_id;
END $$
"""
# Sealed weeks are searched by their HNSW index, all other ranges of ids exactly; so is everything where a filter is given,
# for an index returns the nearest before it is filtered.
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
    scan constant text := '(SELECT t.id, t.route, t.query, t.quality, t.embedding <=> $2 AS distance FROM sona.trajectories t '
        'WHERE t.space_id = $1 AND t.id >= %L AND t.id <= %L AND vector_dims(t.embedding) = %s %s ORDER BY %s <=> $2 LIMIT $3)';
    filter text := '';
    parts text[] := '{}';
    week record;
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
                parts := parts || format(scan, lowest, sona.last_id(sona.day_of(week.first_id) - 1), dims, '', 't.embedding');
            END IF;
            parts := parts || format(scan, greatest(lowest, week.first_id), sona.last_id(sona.day_of(week.end_id) - 1), dims, '',
                                     format('t.embedding::halfvec(%s)', dims));
            lowest := week.end_id;
        END LOOP;
    END IF;
    parts := parts || format(scan, lowest, 'ffffffff-ffff-ffff-ffff-ffffffffffff', dims, filter, 't.embedding');
    -- As the engine's search; not as settings of the function, which only a superuser may restore from a dump.
    SET LOCAL hnsw.iterative_scan = 'relaxed_order';
    SET LOCAL hnsw.ef_search = 128;
    SET LOCAL hnsw.max_scan_tuples = 20000;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_seqscan = off;
    SET LOCAL jit = off;
    RETURN QUERY EXECUTE
        'SELECT 1 - n.distance, n.id, sona.uuid_time(n.id), n.route, n.query, '
        '       (SELECT o.quality FROM sona.judged_between($1, n.id, n.id) o) '
        'FROM (' || array_to_string(parts, ' UNION ALL ') || ') n WHERE n.distance <> ''NaN'' '
        'ORDER BY n.distance, n.id LIMIT $3'
        USING wanted, unit, k;
    FOR i IN 1 .. cardinality(names) LOOP
        EXECUTE format('SET LOCAL %s = %L', names[i], before[i]);
    END LOOP;
END $$
"""
MADE_OF = """
CREATE OR REPLACE FUNCTION sona.pattern_trajectories(of_space text, of_pattern uuid, k int DEFAULT 10) RETURNS TABLE (
    similarity double precision, trajectory_id uuid, started_at timestamptz, route text, query_text text,
    quality double precision
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    middle vector := (SELECT p.centroid FROM sona.patterns p WHERE p.space_id = wanted AND p.pattern_id = of_pattern);
BEGIN
    IF middle IS NULL THEN
        RAISE EXCEPTION 'space % has no pattern %', quote_literal(of_space), of_pattern USING ERRCODE = 'no_data_found';
    END IF;
    RETURN QUERY
    WITH nearest AS MATERIALIZED (
        SELECT n.*, (SELECT t.embedding::vector FROM sona.trajectories t
                     WHERE t.space_id = wanted AND t.id = n.trajectory_id) AS embedding
        FROM sona.similar_trajectories(of_space, middle, 4 * k) n
    )
    SELECT s.similarity, s.trajectory_id, s.started_at, s.route, s.query_text, s.quality
    FROM nearest s
    CROSS JOIN LATERAL (
        SELECT p.pattern_id FROM sona.patterns p WHERE p.space_id = wanted AND p.dim = vector_dims(middle)
        ORDER BY p.centroid <=> s.embedding LIMIT 1
    ) home
    WHERE home.pattern_id = of_pattern
    ORDER BY s.similarity DESC LIMIT k;
END $$
"""
COMMENTS = {
    "require_vector(text, vector, text, boolean)": "The number of a space that a vector has the dimensions of; an error that "
    "names the argument if it has others, or no direction where it needs one.\\nExample: SELECT sona.require_vector("
    "''support'', ''[1,0,0]'', ''query'', true)",
    "find_patterns(text, vector, int, double precision, text, text, text)": "The patterns of a space nearest to a query vector "
    "that pass the filters, nearest first: as the engine finds them.\\nExample: SELECT similarity, quality, typical_queries[1], "
    "routes FROM sona.find_patterns(''support'', ''[1,0,0]'', 3)",
    "similar_trajectories(text, vector, int, text, double precision, timestamptz, boolean)": "The trajectories of a space "
    "nearest to a query vector, as engine.search finds them: sealed weeks by index, all else and whatever is filtered "
    "exactly.\\nExample: SELECT similarity, started_at, route, query_text, quality FROM sona.similar_trajectories("
    "''support'', ''[1,0,0]'', 10, since => now() - interval ''30 days'')",
    "pattern_trajectories(text, uuid, int)": "The trajectories behind a pattern: those nearest to its centroid that are "
    "nearer to it than to any other pattern.\\nExample: SELECT similarity, started_at, query_text, quality FROM "
    "sona.pattern_trajectories(''support'', (SELECT pattern_id FROM sona.pattern_summary WHERE space = ''support'' "
    "ORDER BY size DESC LIMIT 1), 5)",
}
STEPS = [REQUIRE_DIRECTION, FIND_PATTERNS, SIMILAR, MADE_OF, *(
    f"COMMENT ON FUNCTION sona.{name} IS E'{comment}'" for name, comment in COMMENTS.items()
)]  # fmt: skip


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    demand = "(min_quality <= 0 OR (p.weight > 0 AND p.quality >= min_quality))"
    op.get_bind().connection.driver_connection.execute(v0010_unrated_patterns.FIND_PATTERNS.replace("{demand}", demand))
    for name in COMMENTS:
        if not name.startswith("find_patterns"):
            op.execute(f"DROP FUNCTION sona.{name}")
