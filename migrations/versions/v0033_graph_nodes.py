"""Nodes of the memory graph join the HNSW index outside of the publishing transaction; seasons in SQL; faster communities.

An insertion into the index takes .6 ms, so a version with 10,000 new nodes took 7 s to publish, under the lock of its
space. New and moved nodes now wait with ``indexed`` false, and maintenance adds them in small transactions. Pages of
nodes are left half empty: a deep cycle changes scores of half of all nodes at once, and a row that finds no room on its
page is inserted into every index again.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0024_live_graph

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

NARROW = v0024_live_graph.NARROW.replace("70", "45")
STORING = f"|| CASE parent WHEN 'memory_nodes' THEN ' WITH ({NARROW})' ELSE '' END"
PARTIAL = f"{v0024_live_graph.LIGHT} || CASE parent WHEN 'memory_nodes' THEN ' WHERE indexed' ELSE '' END"
DIMENSION = v0024_live_graph.ENSURE_DIMENSION.replace("INDEXING", PARTIAL).replace("STORING", STORING)
DIMENSION_BEFORE = v0024_live_graph.ENSURE_DIMENSION.replace("INDEXING", v0024_live_graph.LIGHT).replace(
    "STORING", v0024_live_graph.STORING
)

# Existing partitions: a new index with or without the condition.
EXISTING = """
DO $$
DECLARE
    child regclass;
    found record;
BEGIN
    FOR child IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'sona.memory_nodes'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (STORAGE)', child);
        FOR found IN
            SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition,
                   obj_description(i.indexrelid, 'pg_class') AS told
            FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
            WHERE i.indrelid = child
        LOOP
            EXECUTE format('DROP INDEX %s', found.name);
            EXECUTE CONDITION;
            EXECUTE format('COMMENT ON INDEX %s IS %L', found.name, found.told);
        END LOOP;
    END LOOP;
END $$
"""
WITH = EXISTING.replace("STORAGE", NARROW).replace("CONDITION", "found.definition || ' WHERE indexed'")
WITHOUT = EXISTING.replace("STORAGE", v0024_live_graph.NARROW).replace(
    "CONDITION", "replace(found.definition, ' WHERE indexed', '')"
)

TABLE = [
    "ALTER TABLE sona.memory_nodes ADD COLUMN indexed boolean NOT NULL DEFAULT true",
    "COMMENT ON COLUMN sona.memory_nodes.indexed IS 'Whether the HNSW index has it: maintenance adds new and moved nodes; "
    "sona.nearest_nodes compares the others one by one.'",
    "CREATE INDEX memory_nodes_waiting ON sona.memory_nodes (space_id) WHERE NOT indexed",
    "COMMENT ON INDEX sona.memory_nodes_waiting IS 'Serves: nodes that maintenance has yet to index, and the search "
    "among them.'",
]

NEAREST = """
CREATE OR REPLACE FUNCTION sona.nearest_nodes(
    of_space text, query vector, k int DEFAULT 10, of_kind text DEFAULT NULL
) RETURNS TABLE (
    similarity double precision, node_id uuid, kind text, importance double precision, access_count bigint,
    pattern_id uuid, candidate_id text
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_vector(of_space, query, 'query', true);
    dims int := vector_dims(query);
    scan constant text := '(SELECT n.node_id, n.kind, n.importance, n.access_count, n.pattern_id, n.candidate_id, '
        'n.embedding <=> $2 AS distance FROM sona.memory_nodes n '
        'WHERE n.space_id = $1 AND n.dim = %s %s ORDER BY %s LIMIT $3)';
    parts text;
    names constant text[] := ARRAY['hnsw.iterative_scan', 'hnsw.ef_search', 'hnsw.max_scan_tuples', 'enable_sort',
                                   'enable_seqscan', 'jit'];
    before text[] := ARRAY(SELECT current_setting(n) FROM unnest(names) AS n);
BEGIN
    IF k IS NULL OR k < 1 OR k > 100000 THEN
        RAISE EXCEPTION 'k=%: expected a whole number from 1 to 100000', k USING ERRCODE = 'invalid_parameter_value';
    ELSIF of_kind NOT IN ('pattern', 'candidate', 'query', 'abstraction') THEN
        RAISE EXCEPTION 'of_kind=%: expected pattern, candidate, query or abstraction', quote_literal(of_kind)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF of_kind IS NOT NULL OR k > 128 OR dims > 4000 OR (
        SELECT count(*) FROM (
            SELECT FROM sona.memory_nodes n WHERE n.space_id = wanted AND n.dim = dims LIMIT 20001) few) <= 20000
    THEN
        parts := format(scan, dims, CASE WHEN of_kind IS NULL THEN '' ELSE format('AND n.kind = %L', of_kind) END,
                        'n.embedding <=> $2');
    ELSE
        parts := format(scan, dims, 'AND n.indexed', format('n.embedding::%1$s(%2$s) <=> $2::%1$s(%2$s)',
                        CASE WHEN dims <= 2000 THEN 'vector' ELSE 'halfvec' END, dims))
            || ' UNION ALL ' || format(scan, dims, 'AND NOT n.indexed', 'n.embedding <=> $2');
    END IF;
    -- As the engine's search; not as settings of the function, which only a superuser may restore from a dump.
    SET LOCAL hnsw.iterative_scan = 'relaxed_order';
    SET LOCAL hnsw.ef_search = 128;
    SET LOCAL hnsw.max_scan_tuples = 20000;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_seqscan = off;
    SET LOCAL jit = off;
    RETURN QUERY EXECUTE
        'SELECT 1 - n.distance, n.node_id, n.kind, n.importance, n.access_count, n.pattern_id, n.candidate_id '
        'FROM (' || parts || ') n ORDER BY n.distance, n.node_id LIMIT $3'
        USING wanted, query, k;
    FOR i IN 1 .. cardinality(names) LOOP
        EXECUTE format('SET LOCAL %s = %L', names[i], before[i]);
    END LOOP;
END $$
"""
DOUBLES = """
CREATE OR REPLACE FUNCTION sona.doubles_of(bytes bytea) RETURNS double precision[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT CASE WHEN w.high & 2147483648 = 0 THEN 1 ELSE -1 END * CASE
                   WHEN (w.high >> 20) & 2047 = 0 THEN 0
                   ELSE (1 + ((w.high & 1048575) * 4294967296::float8 + w.low) / 4503599627370496)
                       * power(2::float8, ((w.high >> 20) & 2047)::int - 1023) END
        FROM (
            SELECT get_byte(bytes, i) + get_byte(bytes, i + 1) * 256::bigint + get_byte(bytes, i + 2) * 65536::bigint
                   + get_byte(bytes, i + 3) * 16777216::bigint AS low,
                   get_byte(bytes, i + 4) + get_byte(bytes, i + 5) * 256::bigint + get_byte(bytes, i + 6) * 65536::bigint
                   + get_byte(bytes, i + 7) * 16777216::bigint AS high
            FROM generate_series(0, length(bytes) - 8, 8) AS i
        ) w
    );
END $$
"""
# The same formulas as learning/graph/seasons.py: ten activations at the usual times are added to a pattern's own; the
# quantile of chi-squared is that of Wilson and Hilferty (1931), one false season in a thousand patterns.
SEASONS = """
CREATE OR REPLACE FUNCTION sona.pattern_seasons(of_space text) RETURNS TABLE (
    pattern_id uuid, period text, place int, times double precision, lift double precision, seasonal boolean,
    typical_query text
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    live bigint := (SELECT s.live_version FROM sona.spaces s WHERE s.space_id = wanted);
    keys bytea := (SELECT a.data FROM sona.state_arrays a WHERE a.space_id = wanted AND a.version = live
                   AND a.part = 'seasons' AND a.name = 'keys');
BEGIN
    IF wanted IS NULL THEN
        RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
    END IF;
    RETURN QUERY
    WITH counted AS MATERIALIZED (
        SELECT a.name AS period, c.place, c.times,
               encode(substring(keys FROM (c.place - 1)::int / a.length * 16 + 1 FOR 16), 'hex')::uuid AS pattern_id,
               ((c.place - 1) % a.length)::int AS of_period
        FROM (
            SELECT a.name, sona.doubles_of(a.data) AS counts, CASE a.name WHEN 'hours' THEN 24 ELSE 7 END AS length
            FROM sona.state_arrays a
            WHERE a.space_id = wanted AND a.version = live AND a.part = 'seasons' AND a.name IN ('hours', 'weekdays')
        ) a
        CROSS JOIN LATERAL unnest(a.counts) WITH ORDINALITY AS c (times, place)
    ),
    usual AS (
        SELECT c.period, c.of_period, sum(c.times) / nullif(sum(sum(c.times)) OVER (PARTITION BY c.period), 0) AS share
        FROM counted c GROUP BY c.period, c.of_period
    ),
    own AS (SELECT c.period, c.pattern_id, sum(c.times) AS total FROM counted c GROUP BY c.period, c.pattern_id),
    tested AS (
        SELECT o.period, o.pattern_id, o.total,
               sum((c.times - o.total * u.share) ^ 2 / (o.total * u.share)) AS squares, count(*) - 1 AS free
        FROM own o
        JOIN counted c ON c.period = o.period AND c.pattern_id = o.pattern_id
        JOIN usual u ON u.period = c.period AND u.of_period = c.of_period AND u.share > 0
        WHERE o.total > 0
        GROUP BY o.period, o.pattern_id, o.total
    )
    SELECT c.pattern_id, CASE c.period WHEN 'hours' THEN 'hour' ELSE 'weekday' END, c.of_period, c.times,
           (c.times + 10 * u.share) / ((t.total + 10) * u.share),
           t.total >= 30 AND t.free > 0
               AND t.squares > t.free * (1 - 2.0 / (9 * t.free) + 3.09 * sqrt(2.0 / (9 * t.free))) ^ 3,
           p.typical_queries[1]
    FROM counted c
    JOIN usual u ON u.period = c.period AND u.of_period = c.of_period AND u.share > 0
    JOIN tested t ON t.period = c.period AND t.pattern_id = c.pattern_id
    LEFT JOIN sona.patterns p ON p.space_id = wanted AND p.pattern_id = c.pattern_id
    ORDER BY 6 DESC, c.pattern_id, 2, c.of_period;
END $$
"""

# A label is read from its array: joined as rows, the planner expected ten of them, and compared each with each edge.
OLD_ROUND = """            WITH edge AS (SELECT * FROM unnest(sources, targets, weights) AS e (one, other, weight)),
            label AS (SELECT * FROM unnest(labels) WITH ORDINALITY AS l (label, place)),
            vote AS (
                SELECT e.one, l.label, e.weight FROM edge e JOIN label l ON l.place = e.other
                UNION ALL
                SELECT l.place, l.label, max(e.weight) FROM label l JOIN edge e ON e.one = l.place
                GROUP BY l.place, l.label
            ),
            counted AS (SELECT one, label, sum(weight) AS weight FROM vote GROUP BY one, label),
            best AS (SELECT DISTINCT ON (one) one, label FROM counted ORDER BY one, weight DESC, label)
            SELECT array_agg(coalesce(b.label, l.label) ORDER BY l.place) INTO next_labels
            FROM label l LEFT JOIN best b ON b.one = l.place;
"""
NEW_ROUND = """            WITH edge AS MATERIALIZED (SELECT * FROM unnest(sources, targets, weights) AS e (one, other, weight)),
            vote AS (
                SELECT e.one, labels[e.other] AS label, e.weight FROM edge e
                UNION ALL
                SELECT e.one, labels[e.one], max(e.weight) FROM edge e GROUP BY e.one
                UNION ALL
                SELECT place, labels[place], 0 FROM generate_series(1, cardinality(labels)) AS place
            ),
            counted AS (SELECT one, label, sum(weight) AS weight FROM vote GROUP BY one, label),
            best AS (SELECT DISTINCT ON (one) one, label FROM counted ORDER BY one, weight DESC, label)
            SELECT array_agg(b.label ORDER BY b.one) INTO next_labels FROM best b;
"""
COMMUNITIES_BEFORE = next(
    text for text in v0024_live_graph.FUNCTIONS if "FUNCTION sona.communities(\n" in text
).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
COMMUNITIES = COMMUNITIES_BEFORE.replace(OLD_ROUND, NEW_ROUND)
COMMENTS = {
    "nearest_nodes(text, vector, int, text)": "The nodes of the live memory graph nearest to a query vector: up to 20,000, "
    "and of one kind, exactly; else by index, with those not yet in it.\\nExample: SELECT similarity, kind, candidate_id "
    "FROM sona.nearest_nodes(''support'', ''[1,0,0]'', 5)",
    "doubles_of(bytea)": "The float64 numbers of a learned array, little-endian.\\nExample: SELECT sona.doubles_of(data) "
    "FROM sona.state_arrays WHERE dtype = ''<f8'' LIMIT 1",
    "pattern_seasons(text)": "The hours (0 to 23, UTC) and weekdays (0 is Monday) at which each live pattern is asked about: "
    "how often, faded by the half-life, and how many times as often as patterns usually are (lift). Seasonal: the pattern "
    "differs from all others together by more than chance.\\nExample: SELECT typical_query, period, place, lift FROM "
    "sona.pattern_seasons(''support'') WHERE seasonal AND lift > 1.5",
}


def upgrade() -> None:
    told = [f"COMMENT ON FUNCTION sona.{name} IS E'{comment}'" for name, comment in COMMENTS.items()]
    _execute([*TABLE, DIMENSION, WITH, NEAREST, DOUBLES, SEASONS, COMMUNITIES, *told])


def downgrade() -> None:
    gone = [f"DROP FUNCTION sona.{name}" for name in COMMENTS]
    columns = ["DROP INDEX sona.memory_nodes_waiting", "ALTER TABLE sona.memory_nodes DROP COLUMN indexed"]
    _execute([*gone, COMMUNITIES_BEFORE, DIMENSION_BEFORE, WITHOUT, *columns])


def _execute(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)
