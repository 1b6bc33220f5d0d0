"""Functions of analytics over the daily figures: routes of a stretch of days, off-policy estimates, sizes of tables."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

FUNCTIONS = [
    """
    CREATE OR REPLACE FUNCTION sona.routes_between(
        of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity'
    ) RETURNS TABLE (
        space_id int, place bigint, route text, trajectories bigint, rated bigint, quality double precision,
        low double precision, high double precision, small_sample boolean, costed bigint, cost double precision,
        median_latency_us double precision, p95_latency_us double precision, first_day date, last_day date,
        as_of timestamptz
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := sona.require_space(of_space);
    BEGIN
        RETURN QUERY
        WITH found AS MATERIALIZED (
            SELECT f.* FROM sona.figures f
            WHERE f.space = of_space AND f.kind = 'route' AND coalesce(f.day, '-infinity') BETWEEN since AND until
        ), delayed AS (
            SELECT h.name, array_agg(h.delay ORDER BY h.delay) AS delays, array_agg(h.n ORDER BY h.delay) AS delay_counts
            FROM (
                SELECT f.name, u.delay, sum(u.n)::bigint AS n
                FROM found f CROSS JOIN LATERAL unnest(f.delays, f.delay_counts) AS u (delay, n) GROUP BY f.name, u.delay
            ) h GROUP BY h.name
        ), summed AS (
            SELECT f.name, sum(f.trajectories)::bigint AS trajectories, sum(f.rated)::bigint AS rated,
                   sum(f.quality_sum) / nullif(sum(f.rated), 0)::float8 AS quality, sum(f.costed)::bigint AS costed,
                   sum(f.cost_sum) / nullif(sum(f.costed), 0)::float8 AS cost, min(f.day) AS first_day,
                   max(f.day) AS last_day, min(f.as_of) AS as_of
            FROM found f GROUP BY f.name
        ), judged AS (
            SELECT m.*, sona.mean_interval(m.quality, m.rated) AS bounds, m.rated < 10 AS small_sample FROM summed m
        )
        SELECT wanted, CASE WHEN NOT j.small_sample THEN rank() OVER (PARTITION BY j.small_sample ORDER BY j.bounds[1] DESC) END,
               nullif(j.name, ''), j.trajectories, j.rated, j.quality, j.bounds[1], j.bounds[2], j.small_sample, j.costed,
               j.cost, sona.quantile(d.delays, d.delay_counts, 0.5), sona.quantile(d.delays, d.delay_counts, 0.95),
               j.first_day, j.last_day, j.as_of
        FROM judged j LEFT JOIN delayed d ON d.name = j.name
        ORDER BY 2, j.rated DESC, j.name;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION sona.evaluate_policies(
        of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity', least_size double precision DEFAULT 50
    ) RETURNS TABLE (
        space_id int, policy text, decisions bigint, ips double precision, ips_low double precision,
        ips_high double precision, snips double precision, snips_low double precision, snips_high double precision,
        dr double precision, dr_low double precision, dr_high double precision, effective_size double precision,
        largest_weight double precision, cost double precision, refused text, as_of timestamptz
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := sona.require_space(of_space);
        z constant double precision := 1.959964;
    BEGIN
        RETURN QUERY
        WITH daily AS (
            SELECT f.*,
                   -- The model of DR: the route's mean on earlier days, so that no outcome predicts itself.
                   sum(f.reward) OVER earlier / nullif(sum(f.taken) OVER earlier, 0)::float8 AS q
            FROM (
                SELECT d.day, coalesce(d.summed_at, now()) AS as_of, x.*
                FROM sona.days_of(wanted) d
                CROSS JOIN LATERAL (
                    SELECT k.route, k.offered, k.taken, k.reward, k.reward_squares, k.weight, k.weight_squares, k.weighted,
                           k.square_weighted, k.weighted_squares, k.largest_weight, k.costed, k.cost
                    FROM sona.daily_decisions k WHERE NOT d.is_live AND k.space_id = wanted AND k.day = d.day
                    UNION ALL
                    SELECT l.* FROM sona.decision_figures_between(wanted, d.first_id, d.last_id) l WHERE d.is_live
                ) x
                WHERE d.day BETWEEN since AND until
            ) f
            WINDOW earlier AS (PARTITION BY f.route ORDER BY f.day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ), of_route AS (
            SELECT 'always ' || f.route AS policy, sum(f.offered)::float8 AS n, sum(f.weight) AS w, sum(f.weight_squares) AS w2,
                   sum(f.weighted) AS wr, sum(f.square_weighted) AS w2r, sum(f.weighted_squares) AS w2r2,
                   max(f.largest_weight) AS largest, sum(f.cost) / nullif(sum(f.costed), 0)::float8 AS cost,
                   sum(f.offered) FILTER (WHERE f.q IS NOT NULL)::float8 AS m,
                   sum(f.weight) FILTER (WHERE f.q IS NOT NULL) ^ 2
                       / nullif(sum(f.weight_squares) FILTER (WHERE f.q IS NOT NULL), 0) AS dr_size,
                   sum(f.offered * f.q + f.weighted - f.q * f.weight) AS dr,
                   sum(f.offered * f.q ^ 2 + 2 * f.q * (f.weighted - f.q * f.weight) + f.weighted_squares
                       - 2 * f.q * f.square_weighted + f.q ^ 2 * f.weight_squares) AS dr2,
                   min(f.as_of) AS as_of
            FROM daily f GROUP BY f.route
            UNION ALL
            SELECT 'logged', sum(f.taken)::float8, sum(f.taken)::float8, sum(f.taken)::float8, sum(f.reward), sum(f.reward),
                   sum(f.reward_squares), 1, sum(f.cost) / nullif(sum(f.costed), 0)::float8, NULL, NULL, NULL, NULL, min(f.as_of)
            FROM daily f HAVING sum(f.taken) > 0
        ), sized AS (
            SELECT r.*, CASE WHEN r.w2 > 0 THEN r.w ^ 2 / r.w2 ELSE 0 END AS size FROM of_route r
        ), told AS (
            SELECT s.*, s.size >= least_size AND s.n >= 2 AS enough, s.wr / s.n AS ips_mean, s.wr / nullif(s.w, 0) AS snips_mean,
                   s.dr / nullif(s.m, 0) AS dr_mean FROM sized s
        ), errors AS (
            SELECT t.*, sqrt(greatest(t.w2r2 - t.n * t.ips_mean ^ 2, 0) / nullif(t.n - 1, 0) / t.n) AS ips_error,
                   -- Delta method: the deviations w/mean(w) * (r - snips) have mean 0.
                   sqrt(greatest(t.w2r2 - 2 * t.snips_mean * t.w2r + t.snips_mean ^ 2 * t.w2, 0) * (t.n / nullif(t.w, 0)) ^ 2
                        / nullif(t.n - 1, 0) / t.n) AS snips_error,
                   sqrt(greatest(t.dr2 - t.m * t.dr_mean ^ 2, 0) / nullif(t.m - 1, 0) / t.m) AS dr_error
            FROM told t
        )
        SELECT wanted, e.policy, e.n::bigint,
               CASE WHEN e.enough THEN e.ips_mean END, CASE WHEN e.enough THEN e.ips_mean - z * e.ips_error END,
               CASE WHEN e.enough THEN e.ips_mean + z * e.ips_error END,
               CASE WHEN e.enough THEN e.snips_mean END, CASE WHEN e.enough THEN e.snips_mean - z * e.snips_error END,
               CASE WHEN e.enough THEN e.snips_mean + z * e.snips_error END,
               CASE WHEN e.dr_size >= least_size THEN e.dr_mean END,
               CASE WHEN e.dr_size >= least_size THEN e.dr_mean - z * e.dr_error END,
               CASE WHEN e.dr_size >= least_size THEN e.dr_mean + z * e.dr_error END,
               e.size, e.largest, e.cost,
               CASE WHEN NOT e.enough THEN format('effective sample size %s of %s decisions is below the floor of %s',
                   round(e.size::numeric, 1), e.n, least_size) END,
               e.as_of
        FROM errors e ORDER BY e.policy <> 'logged', e.policy;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION sona.sizes_of(of_space int) RETURNS TABLE (
        table_name text, month date, row_count bigint, bytes bigint
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        part record;
        held record;
    BEGIN
        FOR part IN
            SELECT ledger.name, date_trunc('week', f.day)::date AS monday,
                   sum(CASE ledger.name WHEN 'trajectories' THEN f.trajectories WHEN 'steps' THEN f.steps ELSE f.facts END)::bigint
                       AS n
            FROM sona.figures f
            CROSS JOIN (VALUES ('trajectories'), ('steps'), ('feedback')) AS ledger (name)
            WHERE f.space_id = of_space AND f.kind = 'space'
            GROUP BY 1, 2
        LOOP
            SELECT pg_total_relation_size(c.oid) AS size, c.reltuples INTO held FROM pg_class c
            WHERE c.oid = coalesce(to_regclass('sona.' || part.name || '_w' || to_char(part.monday, 'YYYYMMDD')),
                                   to_regclass('sona.' || part.name || '_rest'));
            table_name := part.name;
            month := date_trunc('month', part.monday);
            row_count := part.n;
            bytes := CASE WHEN part.n > 0 THEN held.size * (part.n / greatest(held.reltuples, part.n)::float8) ELSE 0 END;
            RETURN NEXT;
        END LOOP;
        month := NULL;
        FOR part IN
            SELECT c.relname::text AS name, sum(pg_total_relation_size(l.oid))::float8 AS size,
                   sum(greatest(l.reltuples, 0)) AS n
            FROM pg_class c
            LEFT JOIN LATERAL pg_partition_tree(c.oid) p ON true
            JOIN pg_class l ON l.oid = coalesce(p.relid, c.oid)
            WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND c.relname NOT IN ('trajectories', 'steps', 'feedback')
              AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'space_id' AND NOT a.attisdropped)
            GROUP BY c.relname
        LOOP
            EXECUTE format('SELECT count(*) FROM sona.%I WHERE space_id = $1', part.name) INTO row_count USING of_space;
            table_name := part.name;
            bytes := CASE WHEN row_count > 0 THEN part.size * (row_count / greatest(part.n, row_count)::float8) ELSE 0 END;
            RETURN NEXT;
        END LOOP;
    END $$
    """,
]
COMMENTS = [
    "COMMENT ON FUNCTION sona.routes_between(text, date, date) IS E'The routes of a space over some days, best first: by the "
    "lower end of the 95 % interval of their quality. Routes with fewer than 10 rated trajectories are small samples, and "
    "have no place.\nExample: SELECT place, route, rated, quality, low, high, cost FROM sona.routes_between(''support'', "
    "current_date - 30, current_date)'",
    "COMMENT ON FUNCTION sona.evaluate_policies(text, date, date, double precision) IS E'Estimates of the quality that a "
    "policy would have had on the decisions of some days: of each route alone, and of the policy that was logged. IPS, SNIPS "
    "and doubly robust (DR, with the mean of the route on earlier days as its model) with 95 % intervals; no figure where "
    "the effective sample size is below least_size.\nExample: SELECT policy, decisions, snips, snips_low, snips_high, "
    "effective_size, refused FROM sona.evaluate_policies(''support'', current_date - 30, current_date)'",
    "COMMENT ON FUNCTION sona.sizes_of(int) IS E'Rows of a space in every table, and its share of the bytes of table and "
    "indexes: of the ledger by month, by the weeks that begin in it.\nExample: SELECT table_name, sum(bytes) FROM "
    "sona.sizes_of(1) GROUP BY table_name ORDER BY 2 DESC'",
]
STEPS = [*FUNCTIONS, *COMMENTS]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for function in (
        "sizes_of(int)", "evaluate_policies(text, date, date, double precision)", "routes_between(text, date, date)",
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION sona.{function}")
