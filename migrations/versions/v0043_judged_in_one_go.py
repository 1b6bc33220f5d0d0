"""Searches of SQL by quality: the nearest are judged together, and more of them until enough pass."""

from __future__ import annotations

from alembic import op
from psycopg import sql
from sona_pg.migrations.versions.v0039_scanned_in_parallel import SIMILAR as BEFORE

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

# Feedback and quality as sona.judged_between defines them; WHICH is the condition on the trajectories.
SAID = """SELECT l.trajectory_id, count(l.quality) FILTER (WHERE l.correction IS NULL) AS ratings,
               sum(l.quality::float8) FILTER (WHERE l.correction IS NULL) AS rating,
               array_agg(l.correction) FILTER (WHERE l.correction IS NOT NULL) AS corrections
        FROM (
            SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.quality, f.correction
            FROM sona.feedback f
            WHERE f.space_id = $1 AND WHICH AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
            ORDER BY f.trajectory_id, f.source, f.sequence DESC
        ) l
        GROUP BY l.trajectory_id"""
QUALITY = """CASE WHEN coalesce(s.ratings, 0) + CASE WHEN t.route IS NULL THEN 0 ELSE coalesce(cardinality(s.corrections), 0) END > 0
            THEN (coalesce(s.rating, 0) + coalesce(cardinality(array_positions(s.corrections, t.route)), 0))
                 / (s.ratings + CASE WHEN t.route IS NULL THEN 0 ELSE coalesce(cardinality(s.corrections), 0) END)
            ELSE t.quality END"""
# Executed as text, so that the planner knows how many ids there are.
JUDGED = """
CREATE OR REPLACE FUNCTION sona.judged_of(of_space int, ids uuid[]) RETURNS TABLE (id uuid, quality double precision)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE $sql$
        WITH said AS (
        SAID_ASKED
        )
        SELECT t.id, (QUALITY)::float8
        FROM sona.trajectories t
        JOIN (SELECT DISTINCT a.id FROM unnest($2) AS a (id)) asked ON asked.id = t.id
        LEFT JOIN said s ON s.trajectory_id = t.id
        WHERE t.space_id = $1
    $sql$ USING of_space, ids;
END $$
"""
# Sealed weeks are searched by their HNSW index, all other ranges of ids exactly; so is everything where a filter is given,
# for an index returns the nearest before it is filtered. Two statements: with the settings that make the planner take the
# indexes, it would neither read a whole week in order nor in parallel. Route, text and outcome are read of the k nearest.
# By quality, the nearest 1,000 are judged, then twice as many as their share of good ones asks for; beyond 5,000, judging
# every trajectory in one join is faster. Without nested loops: without statistics they would be chosen, and be quadratic.
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
    judged constant text := 'SELECT array_agg(n.id), array_agg(n.distance) FROM (SELECT u.id, u.distance FROM ('
        'WITH said AS (SAID_SINCE) '
        'SELECT t.id, CASE WHEN vector_dims(t.embedding) = %1$s THEN t.embedding <=> $2 END AS distance '
        'FROM sona.trajectories t LEFT JOIN said s ON s.trajectory_id = t.id '
        'WHERE t.space_id = $1 AND t.id >= %2$L %3$s AND (QUALITY)::real >= %4$L::real '
        'ORDER BY 2, 1 LIMIT $3) u WHERE u.distance <> ''NaN'' ORDER BY u.distance, u.id) n';
    filter text := '';
    scanned text[] := '{}';
    indexed text[] := '{}';
    week record;
    most constant bigint := 5000;
    wide bigint := greatest(1000, 4 * k::bigint);
    found bigint;
    exhausted boolean;
    ids uuid[];
    distances double precision[];
    more_ids uuid[];
    more_distances double precision[];
    names constant text[] := ARRAY['hnsw.iterative_scan', 'hnsw.ef_search', 'hnsw.max_scan_tuples', 'enable_sort',
                                   'enable_seqscan', 'enable_nestloop', 'jit'];
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
    IF NOT exact AND of_route IS NULL AND min_quality IS NULL AND dims <= 4000 THEN
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
    IF min_quality IS NULL THEN
        wide := k;
    END IF;
    WHILE min_quality IS NULL OR wide <= most LOOP
        EXECUTE format(nearest, array_to_string(scanned, ' UNION ALL ')) INTO ids, distances USING wanted, unit, wide;
        EXIT WHEN min_quality IS NULL;
        exhausted := coalesce(cardinality(ids), 0) < wide;
        SELECT array_agg(n.id ORDER BY n.distance, n.id), array_agg(n.distance ORDER BY n.distance, n.id)
            INTO ids, distances
            FROM unnest(ids, distances) AS n (id, distance) JOIN sona.judged_of(wanted, ids) j ON j.id = n.id
            WHERE j.quality::real >= min_quality::real;
        found := coalesce(cardinality(ids), 0);
        EXIT WHEN exhausted OR found >= k;
        wide := greatest(2 * k * wide / greatest(found, 1), 4 * wide);
    END LOOP;
    IF min_quality IS NOT NULL AND wide > most THEN
        SET LOCAL enable_nestloop = off;
        EXECUTE format(judged, dims, lowest, filter, min_quality) INTO ids, distances USING wanted, unit, k;
        EXECUTE format('SET LOCAL enable_nestloop = %L', before[6]);
    END IF;
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
        WITH nearest AS MATERIALIZED (
            SELECT u.id, u.distance FROM unnest(ids || more_ids, distances || more_distances) AS u (id, distance)
            ORDER BY u.distance, u.id LIMIT k
        )
        SELECT 1 - n.distance, n.id, sona.uuid_time(n.id), t.route, t.query, j.quality
        FROM nearest n
        JOIN sona.judged_of(wanted, ARRAY(SELECT a.id FROM nearest a)) j ON j.id = n.id
        JOIN sona.trajectories t ON t.space_id = wanted AND t.id = n.id
        ORDER BY n.distance, n.id;
END $$
"""


COMMENTS = {
    "judged_of(int, uuid[])": "The quality now of some trajectories, as sona.outcomes has it; of any number of ids, in one "
    "go.\nExample: SELECT id, quality FROM sona.judged_of(sona.require_space('support'), "
    "ARRAY(SELECT trajectory_id FROM sona.similar_trajectories('support', '[1,0,0]', 3)))",
    "similar_trajectories(text, vector, int, text, double precision, timestamptz, boolean)": "The trajectories of a space "
    "nearest to a query vector, as engine.search finds them: sealed weeks by index, all else and whatever is filtered "
    "exactly. A stored embedding is a halfvec: pass embedding::vector.\nExample: SELECT similarity, started_at, route, "
    "query_text, quality FROM sona.similar_trajectories('support', '[1,0,0]', 10, since => now() - interval '30 days')",
}
# Examples that named the space by a number, without saying where it comes from.
NUMBERED = {
    "VIEW sona.latest_feedback": "pg_class", "VIEW sona.outcomes": "pg_class",
    "FUNCTION sona.judged_between(int, uuid, uuid)": "pg_proc", "FUNCTION sona.figures_between(int, uuid, uuid)": "pg_proc",
    "FUNCTION sona.decision_figures_between(int, uuid, uuid)": "pg_proc",
}  # fmt: skip
NUMBERS = (
    ("space_id = 1 ", "space_id = sona.require_space('support') "),
    ("_between(1, ", "_between(sona.require_space('support'), "),
)


def _filled(text: str) -> str:
    asked = SAID.replace("WHICH", "f.trajectory_id IN (SELECT a.id FROM unnest($2) AS a (id))")
    since = " ".join(SAID.replace("WHICH", "f.trajectory_id >= %2$L").split())
    text = text.replace("SAID_ASKED", asked).replace("SAID_SINCE", since)
    return text.replace("QUALITY", " ".join(QUALITY.split()))


def _renumber(up: bool) -> None:
    driver = op.get_bind().connection.driver_connection
    for named, catalog in NUMBERED.items():
        kind, name = named.split(" ", 1)
        known = {"pg_class": "regclass", "pg_proc": "regprocedure"}[catalog]
        ((told,),) = driver.execute(
            sql.SQL("SELECT obj_description({}::{}, {})").format(name, sql.SQL(known), catalog)
        ).fetchall()
        for number, call in NUMBERS:
            told = told.replace(number, call) if up else told.replace(call, number)
        driver.execute(sql.SQL("COMMENT ON {} {} IS {}").format(sql.SQL(kind), sql.SQL(name), told))


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    driver.execute(_filled(JUDGED))
    driver.execute(_filled(SIMILAR))
    for name, comment in COMMENTS.items():
        driver.execute(sql.SQL("COMMENT ON FUNCTION {} IS {}").format(sql.SQL(f"sona.{name}"), comment))
    _renumber(True)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    _renumber(False)
    driver.execute(BEFORE)
    driver.execute("DROP FUNCTION IF EXISTS sona.judged_of(int, uuid[])")
