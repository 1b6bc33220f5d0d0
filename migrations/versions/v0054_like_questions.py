"""Quality of routes on like questions: a router sends hard questions to good routes, so plain means mislead."""

from __future__ import annotations

from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

# Comparing one trajectory with one pattern costs 1 to 2 microseconds: 1.5 million of them are seconds at most.
PLACED = """
CREATE OR REPLACE FUNCTION sona.judged_topics(of_space int, first_day date, last_day date) RETURNS TABLE (
    id uuid, route text, quality double precision, pattern_id uuid, sampled boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    dims int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = of_space);
    topics bigint := (SELECT count(*) FROM sona.patterns p WHERE p.space_id = of_space AND p.dim = dims);
    most int := greatest(2000, least(20000, 1500000 / greatest(topics, 1)));
    lowest uuid := (SELECT t.id FROM sona.trajectories t
                    WHERE t.space_id = of_space AND t.id >= sona.first_id(greatest($2, '1970-01-01'))
                      AND t.id <= sona.last_id($3) ORDER BY t.id LIMIT 1);
    highest uuid := (SELECT t.id FROM sona.trajectories t
                     WHERE t.space_id = of_space AND t.id >= sona.first_id(greatest($2, '1970-01-01'))
                       AND t.id <= sona.last_id($3) ORDER BY t.id DESC LIMIT 1);
    start timestamptz := sona.uuid_time(lowest);
    step interval := (sona.uuid_time(highest) - start) / 100;
    ids uuid[];
BEGIN
    IF topics = 0 OR lowest IS NULL THEN
        RETURN;
    END IF;
    ids := ARRAY(SELECT t.id FROM sona.trajectories t
                 WHERE t.space_id = of_space AND t.id >= lowest AND t.id <= highest LIMIT most + 1);
    sampled := cardinality(ids) > most;
    IF sampled THEN
        ids := ARRAY(
            SELECT t.id FROM generate_series(0, 99) AS i
            CROSS JOIN LATERAL (
                SELECT t.id FROM sona.trajectories t
                WHERE t.space_id = of_space AND t.id >= greatest(sona.uuid_floor(start + i * step), lowest)
                  AND t.id < sona.uuid_floor(start + (i + 1) * step)
                ORDER BY t.id LIMIT most / 100
            ) t
        );
    END IF;
    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT j.id, j.quality FROM sona.judged_of(of_space, ids) j WHERE j.quality IS NOT NULL
    ), placed AS (
        SELECT t.id, t.route, (
            SELECT p.pattern_id FROM sona.patterns p WHERE p.space_id = of_space AND p.dim = dims
            ORDER BY p.centroid <=> t.embedding::vector LIMIT 1
        ) AS pattern_id
        FROM sona.trajectories t
        WHERE t.space_id = of_space AND t.id = ANY(ARRAY(SELECT j.id FROM judged j)) AND t.id >= lowest AND t.id <= highest
    )
    SELECT a.id, a.route, j.quality, a.pattern_id, judged_topics.sampled FROM placed a JOIN judged j ON j.id = a.id;
END $$
"""
# Two-way analysis of variance without interaction: effects of routes by least squares, after sweeping out the mean of each
# stratum (a topic within four weeks). For two routes this is the difference of Mantel and Haenszel (1959). Strata that one
# route alone answered say nothing. The normal equations are the Laplacian of the graph of routes that share strata.
ROUTES = """
CREATE OR REPLACE FUNCTION sona.routes_on_like_questions(
    of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity'
) RETURNS TABLE (
    place bigint, route text, rated bigint, quality double precision, compared bigint, like_quality double precision,
    low double precision, high double precision, sampled boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    names text[];
    n float8[];      -- ratings of each route
    alone bigint[];  -- of these, in strata that no other route answered
    means float8[];
    a float8[];      -- (r, r) Laplacian, then its inverse
    b float8[];
    edges float8[];
    joined boolean[];
    r int;
    count_ float8;
    total float8;
    squares float8;  -- within strata
    strata float8;
    scale float8;
    factor float8;
    pivot float8;
    spread float8;
    middle float8 := 0;
    error float8;
    is_sample boolean;
BEGIN
    WITH placed AS MATERIALIZED (
        SELECT j.route, j.quality, j.sampled, j.pattern_id, (sona.day_of(j.id) - '2000-01-03') / 28 AS weeks
        FROM sona.judged_topics(wanted, since, until) j WHERE j.route IS NOT NULL
    ), listed AS (
        SELECT p.route, count(*) AS n, avg(p.quality) AS mean, row_number() OVER (ORDER BY count(*) DESC, p.route) AS i
        FROM placed p GROUP BY p.route HAVING count(*) >= 10 ORDER BY count(*) DESC, p.route LIMIT 30
    ), cells AS (
        SELECT p.pattern_id, p.weeks, l.i, count(*)::float8 AS n, sum(p.quality) AS s, sum(p.quality ^ 2) AS s2
        FROM placed p JOIN listed l ON l.route = p.route GROUP BY 1, 2, 3
    ), shared AS (
        SELECT c.*, sum(c.n) OVER w AS all_n, sum(c.s) OVER w AS all_s, count(*) OVER w AS routes,
               row_number() OVER (PARTITION BY c.pattern_id, c.weeks ORDER BY c.i) AS first
        FROM cells c WINDOW w AS (PARTITION BY c.pattern_id, c.weeks)
    ), pairs AS (
        SELECT x.i, y.i AS j, sum(x.n * y.n / x.all_n) AS n
        FROM shared x JOIN shared y ON y.pattern_id = x.pattern_id AND y.weeks = x.weeks
        GROUP BY 1, 2
    ), swept AS (
        SELECT s.i, sum(s.n) AS n, sum(s.s - s.n * s.all_s / s.all_n) AS b,
               sum(s.n) FILTER (WHERE s.routes = 1) AS alone
        FROM shared s GROUP BY s.i
    )
    SELECT array_agg(l.route ORDER BY l.i), array_agg(w.n ORDER BY l.i), array_agg(l.mean ORDER BY l.i),
           array_agg(coalesce(w.alone, 0)::bigint ORDER BY l.i), array_agg(w.b ORDER BY l.i), count(*),
           (SELECT sum(c.n) FROM cells c), (SELECT sum(c.s) FROM cells c),
           (SELECT sum(s.s2) - sum(s.all_s ^ 2 / s.all_n) FILTER (WHERE s.first = 1) FROM shared s),
           (SELECT count(*) FROM shared s WHERE s.first = 1),
           (SELECT array_agg(coalesce(-p.n, 0) + CASE WHEN x.i = y.i THEN x.n ELSE 0 END ORDER BY x.i, y.i)
            FROM swept x CROSS JOIN swept y LEFT JOIN pairs p ON p.i = x.i AND p.j = y.i),
           (SELECT bool_or(p.sampled) FROM placed p)
    INTO names, n, means, alone, b, r, count_, total, squares, strata, a, is_sample
    FROM listed l JOIN swept w ON w.i = l.i;
    IF coalesce(r, 0) = 0 THEN
        RETURN;
    END IF;
    -- Routes that share questions with the one of most ratings, directly or through others, are comparable.
    joined := array_fill(false, ARRAY[r]);
    joined[1] := true;
    FOR turn IN 1 .. r LOOP
        FOR i IN 1 .. r LOOP
            FOR j IN 1 .. r LOOP
                joined[j] := joined[j] OR (joined[i] AND a[(i - 1) * r + j] < -1e-9);
            END LOOP;
        END LOOP;
    END LOOP;
    FOR i IN 1 .. r LOOP
        scale := greatest(scale, a[(i - 1) * r + i]);
    END LOOP;
    scale := greatest(scale, 1) / r;
    edges := a;
    FOR i IN 1 .. r LOOP  -- constant effects of all routes make the Laplacian singular: they get a curvature, those left out one each
        FOR j IN 1 .. r LOOP
            a[(i - 1) * r + j] := CASE WHEN joined[i] AND joined[j] THEN edges[(i - 1) * r + j] + scale
                                       WHEN i = j THEN 1 ELSE 0 END;
        END LOOP;
        IF NOT joined[i] THEN
            b[i] := 0;
        END IF;
    END LOOP;
    FOR i IN 1 .. r LOOP  -- Gauss and Jordan in place: positive definite, so no pivot is sought
        pivot := a[(i - 1) * r + i];
        a[(i - 1) * r + i] := 1;
        FOR j IN 1 .. r LOOP
            a[(i - 1) * r + j] := a[(i - 1) * r + j] / pivot;
        END LOOP;
        FOR k IN 1 .. r LOOP
            CONTINUE WHEN k = i;
            factor := a[(k - 1) * r + i];
            a[(k - 1) * r + i] := 0;
            FOR j IN 1 .. r LOOP
                a[(k - 1) * r + j] := a[(k - 1) * r + j] - factor * a[(i - 1) * r + j];
            END LOOP;
        END LOOP;
    END LOOP;
    -- From here on: effects, and their shares of the ratings that are compared.
    edges := array_fill(0::float8, ARRAY[r]);
    count_ := 0;
    total := 0;
    FOR i IN 1 .. r LOOP
        FOR j IN 1 .. r LOOP
            edges[i] := edges[i] + a[(i - 1) * r + j] * b[j];
        END LOOP;
        squares := squares - edges[i] * b[i];
        IF joined[i] THEN
            count_ := count_ + n[i];
            total := total + n[i] * means[i];
            middle := middle + n[i] * edges[i];
        END IF;
    END LOOP;
    middle := middle / count_;
    spread := CASE WHEN count_ > strata + r THEN greatest(squares / (count_ - strata - r + 1), 0.01) ELSE 0.25 END;
    RETURN QUERY
    WITH told AS (
        SELECT names[i] AS route, n[i]::bigint AS rated, means[i] AS quality, n[i]::bigint - alone[i] AS compared,
               CASE WHEN joined[i] AND n[i] - alone[i] >= 10 AND r > 1
                    THEN least(greatest(total / count_ + edges[i] - middle, 0), 1) END AS like_quality,
               sqrt(greatest(total / count_ * (1 - total / count_), 0.01) / count_ + spread * (
                   SELECT sum((CASE WHEN x = i THEN 1 ELSE 0 END - n[x] / count_)
                              * (CASE WHEN y = i THEN 1 ELSE 0 END - n[y] / count_) * a[(x - 1) * r + y])
                   FROM generate_series(1, r) x CROSS JOIN generate_series(1, r) y WHERE joined[x] AND joined[y])) AS error
        FROM generate_series(1, r) AS i
    ), bounded AS (
        SELECT t.*, greatest(t.like_quality - 1.959964 * t.error, 0) AS low, least(t.like_quality + 1.959964 * t.error, 1) AS high
        FROM told t
    )
    SELECT CASE WHEN o.like_quality IS NOT NULL
                THEN rank() OVER (PARTITION BY o.like_quality IS NULL ORDER BY o.low DESC) END,
           o.route, o.rated, o.quality, o.compared, o.like_quality, CASE WHEN o.like_quality IS NOT NULL THEN o.low END,
           CASE WHEN o.like_quality IS NOT NULL THEN o.high END, is_sample
    FROM bounded o ORDER BY 1, o.rated DESC, o.route;
END $$
"""
COMMENTS = {
    "judged_topics(int, date, date)": "The rated trajectories of some days (UTC) with the topic that is nearest to each, of "
    "the live version; of very many those of a sample of 2,000 to 20,000 trajectories, the fewer the more topics there are.\\n"
    "Example: SELECT pattern_id, count(*), avg(quality) FROM sona.judged_topics(sona.require_space(''support''), "
    "current_date - 29, current_date) GROUP BY 1",
    "routes_on_like_questions(text, date, date)": "Quality of the routes of a space over some days on like questions, best "
    "first by the lower end of its 95 % interval: effects of routes within topics and four weeks (analysis of variance, for two "
    "routes as Mantel and Haenszel), around the mean of all. The plain mean, quality, is of the questions that each was sent: "
    "where a router chooses, the harder ones go to the better routes. compared: ratings of topics that another route answered "
    "as well; below 10 there is no figure. Of many trajectories it is of a sample (sampled).\\nExample: SELECT place, route, "
    "quality, like_quality, low, high, rated, compared FROM sona.routes_on_like_questions(''support'', current_date - 29, "
    "current_date)",
}
# What ranks routes by plain means says so.
HINT = " They are means of the questions that each was sent: sona.routes_on_like_questions compares them on like ones."
HINTED = {
    "VIEW sona.route_leaderboard": "obj_description('sona.route_leaderboard'::regclass, 'pg_class')",
    "FUNCTION sona.routes_between(text, date, date)":
        "obj_description('sona.routes_between(text, date, date)'::regprocedure, 'pg_proc')",
}  # fmt: skip
HINTS = [
    f"DO $$ BEGIN EXECUTE format('COMMENT ON {what} IS %L', "
    f"replace({said}, E'\\nExample', E'{HINT}\\nExample')); END $$"
    for what, said in HINTED.items()
]
UNHINTS = [
    f"DO $$ BEGIN EXECUTE format('COMMENT ON {what} IS %L', replace({said}, '{HINT}', '')); END $$"
    for what, said in HINTED.items()
]
STEPS = [PLACED, ROUTES, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items()), *HINTS]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for statement in UNHINTS:
        driver.execute(statement)
    for name in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION sona.{name}")
