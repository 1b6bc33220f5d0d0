"""Quality of routes on like questions by topic: where a route is better on hard questions alone, it is so there alone."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0065_overlapping_questions as before

revision = "0066"
down_revision = "0065"
branch_labels = None
depends_on = None

# Two-way analysis of variance without interaction, by weighted least squares, after sweeping out the mean of each stratum.
# The normal equations are the Laplacian of the graph of routes that share strata; the inverse is of those that are joined.
EFFECTS = """
CREATE OR REPLACE FUNCTION sona.additive_effects(
    strata int[], routes int[], weights double precision[], means double precision[], count_ int,
    OUT effects double precision[], OUT inverse double precision[], OUT joined boolean[]
)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    r int := count_;
    a float8[];
    b float8[];
    scale float8;
    factor float8;
    pivot float8;
BEGIN
    WITH cells AS (
        SELECT c.s, c.i, c.w, c.m, sum(c.w) OVER t AS all_w, sum(c.w * c.m) OVER t / sum(c.w) OVER t AS mean
        FROM unnest(strata, routes, weights, means) AS c (s, i, w, m) WINDOW t AS (PARTITION BY c.s)
    ), pairs AS (
        SELECT x.i, y.i AS j, sum(x.w * y.w / x.all_w) AS w FROM cells x JOIN cells y ON y.s = x.s GROUP BY 1, 2
    ), swept AS (
        SELECT c.i, sum(c.w) AS w, sum(c.w * (c.m - c.mean)) AS b FROM cells c GROUP BY c.i
    )
    SELECT (SELECT array_agg(coalesce(-p.w, 0) + CASE WHEN x.i = y.i THEN x.w ELSE 0 END ORDER BY x.i, y.i)
            FROM swept x CROSS JOIN swept y LEFT JOIN pairs p ON p.i = x.i AND p.j = y.i),
           (SELECT array_agg(s.b ORDER BY s.i) FROM swept s)
    INTO a, b;
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
    FOR i IN 1 .. r LOOP  -- constant effects of all routes make the Laplacian singular: they get a curvature, those left out one each
        FOR j IN 1 .. r LOOP
            a[(i - 1) * r + j] := CASE WHEN joined[i] AND joined[j] THEN a[(i - 1) * r + j] + scale WHEN i = j THEN 1 ELSE 0 END;
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
    effects := array_fill(0::float8, ARRAY[r]);
    FOR i IN 1 .. r LOOP
        FOR j IN 1 .. r LOOP
            effects[i] := effects[i] + a[(i - 1) * r + j] * b[j];
        END LOOP;
    END LOOP;
    inverse := a;
END $$
"""
# Standardisation: the mean of a route in each stratum (a topic within four weeks), by the stratum's part of the questions. Means
# of few ratings are drawn towards what the additive effects expect, by how much the routes' differences vary between strata
# (variance components by moments, empirical Bayes): not at all where they vary much, wholly where they do not.
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
    strata int[];  -- of each cell: a route in a stratum
    routes int[];
    n float8[];
    means float8[];
    weights float8[];
    r int;
    noise float8;        -- variance of a rating within a cell
    varies float8 := 0;  -- variance of a route's advantage between strata, in units of noise
    fit record;
    is_sample boolean;
BEGIN
    WITH placed AS MATERIALIZED (
        SELECT j.route, j.quality, j.sampled, j.pattern_id, (sona.day_of(j.id) - '2000-01-03') / 28 AS weeks
        FROM sona.judged_topics(wanted, since, until) j WHERE j.route IS NOT NULL
    ), listed AS (
        SELECT p.route, row_number() OVER (ORDER BY count(*) DESC, p.route) AS i
        FROM placed p GROUP BY p.route HAVING count(*) >= 10 ORDER BY count(*) DESC, p.route LIMIT 30
    ), cells AS (
        SELECT dense_rank() OVER (ORDER BY p.pattern_id, p.weeks)::int AS s, l.i::int AS i, count(*)::float8 AS n,
               avg(p.quality) AS mean, sum(p.quality ^ 2) - count(*) * avg(p.quality) ^ 2 AS squares
        FROM placed p JOIN listed l ON l.route = p.route GROUP BY p.pattern_id, p.weeks, l.i
    )
    SELECT (SELECT array_agg(l.route ORDER BY l.i) FROM listed l), array_agg(c.s ORDER BY c.s, c.i),
           array_agg(c.i ORDER BY c.s, c.i), array_agg(c.n ORDER BY c.s, c.i), array_agg(c.mean ORDER BY c.s, c.i),
           greatest(CASE WHEN sum(c.n) > count(*) THEN sum(c.squares) / (sum(c.n) - count(*)) ELSE 0.25 END, 0.01),
           (SELECT bool_or(p.sampled) FROM placed p)
    INTO names, strata, routes, n, means, noise, is_sample
    FROM cells c;
    r := coalesce(cardinality(names), 0);
    IF r = 0 THEN
        RETURN;
    END IF;
    weights := n;
    FOR turn IN 1 .. 2 LOOP  -- by all ratings, then by what a cell tells of the mean advantage
        fit := sona.additive_effects(strata, routes, weights, means, r);
        CONTINUE WHEN turn = 2;
        WITH cells AS (
            SELECT c.s, c.n, c.m - fit.effects[c.i] AS y, sum(c.n) OVER t AS all_n,
                   sum(c.n * (c.m - fit.effects[c.i])) OVER t / sum(c.n) OVER t AS level
            FROM unnest(strata, routes, n, means) AS c (s, i, n, m) WHERE fit.joined[c.i] WINDOW t AS (PARTITION BY c.s)
        )
        SELECT coalesce(greatest(sum(c.n * (c.y - c.level) ^ 2) - noise * (count(*) - count(DISTINCT c.s) - r + 1), 0)
               / nullif(sum(c.n - c.n ^ 2 / c.all_n), 0) / noise, 0)
        INTO varies FROM cells c;
        weights := ARRAY(SELECT u.n / (1 + u.n * varies) FROM unnest(n) WITH ORDINALITY AS u (n, place) ORDER BY u.place);
    END LOOP;
    RETURN QUERY
    WITH cells AS MATERIALIZED (
        SELECT c.s, c.i, c.n, c.m, c.u, count(*) OVER t > 1 AS is_shared, fit.joined[c.i] AS is_joined, sum(c.u) OVER t AS all_u
        FROM unnest(strata, routes, n, means, weights) AS c (s, i, n, m, u) WINDOW t AS (PARTITION BY c.s)
    ), levels AS (  -- strata of the comparison
        SELECT c.s, sum(c.n) AS n, sum(c.n * c.m) AS sum, sum(c.u) AS u, sum(c.u * (c.m - fit.effects[c.i])) / sum(c.u) AS level
        FROM cells c WHERE c.is_shared AND c.is_joined GROUP BY c.s
    ), whole AS (
        SELECT sum(l.n) AS n, sum(l.sum) / sum(l.n) AS mean FROM levels l
    ), expected AS (
        SELECT l.s, g.i, l.n / w.n AS w, coalesce(c.n, 0) AS n, l.u, l.n AS all_n, 1 / (1 + coalesce(c.n, 0) * varies) AS prior,
               CASE WHEN c.n IS NULL THEN least(greatest(l.level + fit.effects[g.i], 0), 1) ELSE l.level + fit.effects[g.i] END AS p, coalesce(c.m, 0) AS m
        FROM levels l CROSS JOIN whole w CROSS JOIN generate_series(1, r) AS g (i)
        LEFT JOIN cells c ON c.s = l.s AND c.i = g.i
        WHERE fit.joined[g.i]
    ), standardised AS (
        SELECT e.i, sum(e.w * ((1 - e.prior) * e.m + e.prior * e.p)) AS mean, sum(e.w * e.prior) AS prior,
               noise * sum(e.w ^ 2 * e.prior * varies) AS of_cells,
               noise * sum((e.w * e.prior) ^ 2 * (1 / e.u - 1 / e.all_n)) AS of_levels
        FROM expected e GROUP BY e.i
    ), mix AS (
        SELECT c.i, sum(l.n / w.n * c.u / c.all_u) AS v FROM cells c JOIN levels l ON l.s = c.s CROSS JOIN whole w GROUP BY c.i
    ), told AS (
        SELECT c.i, sum(c.n) AS n, sum(c.n * c.m) / sum(c.n) AS mean, coalesce(sum(c.n) FILTER (WHERE c.is_shared), 0) AS compared
        FROM cells c GROUP BY c.i
    ), errors AS (
        SELECT t.i, t.n, t.mean, t.compared, least(greatest(s.mean, 0), 1) AS standard, 1.959964 * sqrt(
                   greatest(w.mean * (1 - w.mean), 0.01) / w.n + s.of_cells + s.of_levels + s.prior ^ 2 * noise * (
                   SELECT sum((CASE WHEN x.i = t.i THEN 1 ELSE 0 END - x.v) * (CASE WHEN y.i = t.i THEN 1 ELSE 0 END - y.v)
                              * fit.inverse[(x.i - 1) * r + y.i])
                   FROM (SELECT q.i, coalesce(m.v, 0) AS v FROM generate_series(1, r) AS q (i) LEFT JOIN mix m ON m.i = q.i) x
                   CROSS JOIN (SELECT q.i, coalesce(m.v, 0) AS v FROM generate_series(1, r) AS q (i) LEFT JOIN mix m ON m.i = q.i) y
                   WHERE fit.joined[x.i] AND fit.joined[y.i])) AS half
        FROM told t LEFT JOIN standardised s ON s.i = t.i CROSS JOIN whole w
    ), sure AS (
        SELECT e.*, CASE WHEN e.compared >= 10 AND e.half <= 0.2 THEN e.standard END AS known FROM errors e
    ), enough AS (
        SELECT s.*, CASE WHEN 2 * sum(s.n) FILTER (WHERE s.known IS NOT NULL) OVER () >= sum(s.n) OVER ()
                         AND count(s.known) OVER () > 1 THEN s.known END AS shown
        FROM sure s
    )
    SELECT CASE WHEN o.shown IS NOT NULL
                THEN rank() OVER (PARTITION BY o.shown IS NULL ORDER BY greatest(o.shown - o.half, 0) DESC) END,
           names[o.i], o.n::bigint, o.mean, o.compared::bigint, o.shown,
           CASE WHEN o.shown IS NOT NULL THEN greatest(o.shown - o.half, 0) END,
           CASE WHEN o.shown IS NOT NULL THEN least(o.shown + o.half, 1) END, is_sample
    FROM enough o ORDER BY 1, o.n DESC, names[o.i];
END $$
"""
COMMENTS = {
    "additive_effects(int[], int[], double precision[], double precision[], int)": "Effects of routes by weighted least squares, "
    "after the mean of each stratum, with the inverse of the normal equations and the routes that share strata with the first. "
    "One weight and mean of each cell: a route in a stratum.\\nExample: SELECT effects FROM "
    "sona.additive_effects(ARRAY[1, 1], ARRAY[1, 2], ARRAY[10, 10], ARRAY[.6, .8], 2)",
    before.NAME: "Quality of the routes of a space over some days on like questions, best first by the lower end of its 95 % "
    "interval: means of the route within topics and four weeks, by the part of the questions that each has, over all that "
    "several routes answered. Means of few ratings are drawn towards what the routes’ differences elsewhere let expect, the "
    "less the more these vary. The plain mean, quality, is of the questions that each was sent: where a router chooses, the "
    "harder ones go to the better routes. compared: ratings of topics that another route answered as well. There is no "
    "figure below 10 of them, or where the interval would be wider than 40 points; and none at all where routes with most of "
    "the ratings have none, as of answers to different questions. Of many trajectories it is of a sample (sampled).\\nExample: "
    "SELECT place, route, quality, like_quality, low, high, rated, compared FROM "
    "sona.routes_on_like_questions(''support'', current_date - 29, current_date)",
}
STEPS = [EFFECTS, ROUTES, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items())]
UNDO = [
    before.ROUTES,
    f"COMMENT ON FUNCTION sona.{before.NAME} IS E'{before.COMMENT}'",
    "DROP FUNCTION sona.additive_effects(int[], int[], double precision[], double precision[], int)",
]


def _run(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        _run(STEPS)


def downgrade() -> None:
    _run(UNDO)
