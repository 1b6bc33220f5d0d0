"""Functions that compute the daily figures, of any range of ids, and tell which days are summed.

They are the only definition of a figure: ``sona.figures`` calls them for days that are not summed yet, the maintainer to
sum one.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Without statistics (after a bulk load) the planner would join the outcomes by nested loops, quadratic in the rows.
JUDGED = """
CREATE OR REPLACE FUNCTION sona.judged_between(of_space int, first_id uuid, last_id uuid) RETURNS TABLE (
    id uuid, batch bigint, route text, candidate_set bigint, policy_version bigint, propensity real, latency_us int,
    step_count smallint, context text[], quality double precision, cost double precision, paid boolean
)
LANGUAGE plpgsql STABLE SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH said AS (
        SELECT l.trajectory_id, count(l.quality) FILTER (WHERE l.correction IS NULL) AS ratings,
               sum(l.quality::float8) FILTER (WHERE l.correction IS NULL) AS rating,
               array_agg(l.correction) FILTER (WHERE l.correction IS NOT NULL) AS corrections
        FROM (
            SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.quality, f.correction
            FROM sona.feedback f
            WHERE f.space_id = of_space AND f.trajectory_id >= $2 AND f.trajectory_id <= $3
              AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
            ORDER BY f.trajectory_id, f.source, f.sequence DESC
        ) l
        GROUP BY l.trajectory_id
    ), told AS (
        SELECT DISTINCT ON (f.trajectory_id) f.trajectory_id, f.paid
        FROM sona.feedback f
        WHERE f.space_id = of_space AND f.trajectory_id >= $2 AND f.trajectory_id <= $3 AND f.paid IS NOT NULL
        ORDER BY f.trajectory_id, f.sequence DESC, f.source DESC
    )
    SELECT t.id, t.batch, t.route, t.candidate_set, t.policy_version, t.propensity, t.latency_us, t.step_count,
           t.context,
           CASE WHEN coalesce(s.ratings, 0) + CASE WHEN t.route IS NULL THEN 0 ELSE coalesce(cardinality(s.corrections), 0) END > 0
                THEN (coalesce(s.rating, 0) + coalesce(cardinality(array_positions(s.corrections, t.route)), 0))
                     / (s.ratings + CASE WHEN t.route IS NULL THEN 0 ELSE coalesce(cardinality(s.corrections), 0) END)
                ELSE t.quality END,
           coalesce(p.paid, t.paid, t.cost)::float8, coalesce(p.paid, t.paid) IS NOT NULL
    FROM sona.trajectories t
    LEFT JOIN said s ON s.trajectory_id = t.id
    LEFT JOIN told p ON p.trajectory_id = t.id
    WHERE t.space_id = of_space AND t.id >= $2 AND t.id <= $3;
END $$
"""
SUM_UP = """
CREATE OR REPLACE FUNCTION sona.figures_between(of_space int, first_id uuid, last_id uuid) RETURNS TABLE (
    kind text, name text, trajectories bigint, steps bigint, facts bigint, corrections bigint, retractions bigint,
    rated bigint, quality double precision, costed bigint, cost double precision, delays smallint[], delay_counts bigint[]
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT coalesce(j.route, '') AS route, coalesce(j.policy_version::text, '') AS version,
               coalesce(b.server_id::text, '') AS server, j.context, j.step_count, j.quality, j.cost,
               floor(16 * ln(j.latency_us + 1.0::float8) / ln(2::float8))::smallint AS delay
        FROM sona.judged_between(of_space, $2, $3) j
        LEFT JOIN sona.batches b ON b.space_id = of_space AND b.batch = j.batch
    ), said AS MATERIALIZED (
        SELECT f.trajectory_id, f.source, f.quality, f.correction, f.paid, f.recorded_at,
               row_number() OVER (PARTITION BY f.trajectory_id, f.source ORDER BY f.sequence DESC) = 1 AS is_last
        FROM sona.feedback f WHERE f.space_id = of_space AND f.trajectory_id >= $2 AND f.trajectory_id <= $3
    ), counted AS (
        SELECT CASE WHEN grouping(j.route) = 0 THEN 'route' WHEN grouping(j.version) = 0 THEN 'version'
                    WHEN grouping(j.server) = 0 THEN 'server' ELSE 'space' END AS kind,
               coalesce(j.route, j.version, j.server, '') AS name, j.delay, count(*) AS trajectories,
               sum(j.step_count) AS steps, 0 AS facts, 0 AS corrections, 0 AS retractions, count(j.quality) AS rated,
               sum(j.quality) AS quality, count(j.cost) AS costed, sum(j.cost) AS cost, count(j.delay) AS delayed
        FROM judged j
        GROUP BY GROUPING SETS ((j.delay), (j.route, j.delay), (j.version, j.delay), (j.server, j.delay))
        UNION ALL
        SELECT CASE WHEN l.label LIKE 'user:%' THEN 'user' ELSE 'label' END, l.label, j.delay, count(*),
               sum(j.step_count), 0, 0, 0, count(j.quality), sum(j.quality), count(j.cost), sum(j.cost), count(j.delay)
        FROM judged j CROSS JOIN LATERAL unnest(j.context) AS l (label)
        WHERE l.label NOT LIKE 'session:%'
        GROUP BY l.label, j.delay
        UNION ALL
        SELECT 'source', s.source, s.delay, count(*) FILTER (WHERE s.is_last), 0, count(*), count(s.correction),
               count(*) FILTER (WHERE s.quality IS NULL AND s.correction IS NULL AND s.paid IS NULL),
               count(s.said) FILTER (WHERE s.is_last), sum(s.said) FILTER (WHERE s.is_last), count(s.paid), sum(s.paid::float8),
               count(s.delay)
        FROM (
            SELECT f.*, CASE WHEN f.correction IS NULL THEN f.quality::float8 ELSE (f.correction = t.route)::int END AS said,
                   CASE WHEN f.is_last THEN floor(16 * ln(greatest(extract(epoch FROM
                       f.recorded_at - sona.uuid_time(f.trajectory_id)), 0)::float8 * 1e6 + 1) / ln(2::float8))::smallint
                   END AS delay
            FROM said f
            LEFT JOIN sona.trajectories t ON t.space_id = of_space AND t.id = f.trajectory_id AND f.correction IS NOT NULL
                AND t.id >= $2 AND t.id <= $3
        ) s
        GROUP BY s.source, s.delay
        UNION ALL
        SELECT 'space', '', NULL, 0, 0, count(*), count(f.correction),
               count(*) FILTER (WHERE f.quality IS NULL AND f.correction IS NULL AND f.paid IS NULL), 0, NULL, 0, NULL, 0
        FROM said f
    ), summed AS (
        SELECT c.kind, c.name, sum(c.trajectories)::bigint AS trajectories, coalesce(sum(c.steps), 0)::bigint AS steps,
               sum(c.facts)::bigint AS facts, sum(c.corrections)::bigint AS corrections, sum(c.retractions)::bigint AS retractions,
               sum(c.rated)::bigint AS rated, coalesce(sum(c.quality), 0) AS quality, sum(c.costed)::bigint AS costed,
               coalesce(sum(c.cost), 0) AS cost,
               coalesce(array_agg(c.delay ORDER BY c.delay) FILTER (WHERE c.delayed > 0), '{}') AS delays,
               coalesce(array_agg(c.delayed ORDER BY c.delay) FILTER (WHERE c.delayed > 0), '{}') AS delay_counts
        FROM counted c GROUP BY c.kind, c.name
    )
    SELECT r.kind, r.name, r.trajectories, r.steps, r.facts, r.corrections, r.retractions, r.rated, r.quality, r.costed,
           r.cost, r.delays, r.delay_counts
    FROM (
        SELECT s.*, row_number() OVER (PARTITION BY s.kind ORDER BY s.trajectories DESC, s.name) AS place FROM summed s
    ) r
    WHERE r.trajectories + r.facts > 0 AND r.place <= CASE WHEN r.kind IN ('user', 'label') THEN 1000 ELSE 10000 END;
END $$
"""
DECISIONS = """
CREATE OR REPLACE FUNCTION sona.decision_figures_between(of_space int, first_id uuid, last_id uuid) RETURNS TABLE (
    route text, offered bigint, taken bigint, reward double precision, reward_squares double precision,
    weight double precision, weight_squares double precision, weighted double precision, square_weighted double precision,
    weighted_squares double precision, largest_weight double precision, costed bigint, cost double precision
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH decided AS MATERIALIZED (
        SELECT j.route, j.candidate_set, j.quality AS r, 1 / least(j.propensity::float8, 1) AS w, j.cost
        FROM sona.judged_between(of_space, $2, $3) j
        WHERE j.propensity > 0 AND j.route IS NOT NULL AND j.quality IS NOT NULL
    ), by_set AS (
        SELECT d.candidate_set, count(*) AS decisions FROM decided d GROUP BY d.candidate_set
    ), known AS (
        SELECT b.decisions, s.candidate_ids FROM by_set b
        LEFT JOIN sona.candidate_sets s ON s.space_id = of_space AND s.set_id = b.candidate_set
    ), by_taken AS (
        SELECT d.route, count(*) AS taken, sum(d.r) AS reward, sum(d.r * d.r) AS reward_squares, sum(d.w) AS weight,
               sum(d.w * d.w) AS weight_squares, sum(d.w * d.r) AS weighted, sum(d.w * d.w * d.r) AS square_weighted,
               sum(d.w * d.w * d.r * d.r) AS weighted_squares, max(d.w) AS largest_weight, count(d.cost) AS costed,
               coalesce(sum(d.cost), 0) AS cost
        FROM decided d GROUP BY d.route
    ), by_offer AS (
        SELECT n.name AS route, sum(k.decisions)::bigint AS offered
        FROM known k CROSS JOIN LATERAL (SELECT DISTINCT u.name FROM unnest(k.candidate_ids) AS u (name)) n
        GROUP BY n.name
    ), of_route AS (
        SELECT coalesce(o.route, t.route) AS route, o.offered, t.taken, t.reward, t.reward_squares, t.weight,
               t.weight_squares, t.weighted, t.square_weighted, t.weighted_squares, t.largest_weight, t.costed, t.cost
        FROM by_offer o FULL JOIN by_taken t ON t.route = o.route
    )
    SELECT a.route,
           coalesce(a.offered, 0) + coalesce((SELECT sum(k.decisions) FROM known k WHERE k.candidate_ids IS NULL), 0)::bigint,
           coalesce(a.taken, 0), coalesce(a.reward, 0), coalesce(a.reward_squares, 0), coalesce(a.weight, 0),
           coalesce(a.weight_squares, 0), coalesce(a.weighted, 0), coalesce(a.square_weighted, 0),
           coalesce(a.weighted_squares, 0), coalesce(a.largest_weight, 0), coalesce(a.costed, 0), coalesce(a.cost, 0)
    FROM of_route a
    ORDER BY coalesce(a.taken, 0) DESC, coalesce(a.offered, 0) DESC, a.route LIMIT 1000;
END $$
"""
# A day belongs to a batch if a trajectory of the batch lies in it, or one that its feedback is about. Batches that span days
# (imports) are looked through day by day, by a skip scan.
TOUCHED = """
CREATE OR REPLACE FUNCTION sona.touched_days(of_space int, since timestamptz) RETURNS TABLE (
    day date, touched_at timestamptz
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    span record;
    at uuid;
    bound uuid;
BEGIN
    FOR span IN
        SELECT sona.day_of(b.first_id) AS first_day, sona.day_of(b.last_id) AS last_day, max(b.recorded_at) AS recorded_at
        FROM sona.batches b
        WHERE b.space_id = of_space AND b.recorded_at > since AND b.first_id IS NOT NULL
        GROUP BY 1, 2
    LOOP
        day := span.first_day;
        touched_at := span.recorded_at;
        RETURN NEXT;
        bound := sona.last_id(span.last_day);
        WHILE day < span.last_day LOOP
            SELECT t.id INTO at FROM sona.trajectories t
            WHERE t.space_id = of_space AND t.id > sona.last_id(day) AND t.id <= bound
            ORDER BY t.id LIMIT 1;
            EXIT WHEN at IS NULL;
            day := sona.day_of(at);
            RETURN NEXT;
        END LOOP;
    END LOOP;
    RETURN QUERY
    SELECT sona.day_of(f.trajectory_id), max(b.recorded_at)
    FROM sona.batches b
    JOIN sona.feedback f ON f.space_id = b.space_id AND f.batch = b.batch
    WHERE b.space_id = of_space AND b.recorded_at > since AND b.feedback > 0
    GROUP BY 1;
END $$
"""
DAYS = """
CREATE OR REPLACE FUNCTION sona.days_of(of_space int, most_live bigint DEFAULT 20000) RETURNS TABLE (
    day date, first_id uuid, last_id uuid, is_live boolean, summed_at timestamptz
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    known record;
    seen bigint := 0;
    found bigint;
BEGIN
    FOR known IN
        SELECT coalesce(d.day, t.day) AS day, d.summed_at,
               d.summed_at IS NULL OR d.stale_since IS NOT NULL
               OR coalesce(t.touched_at > d.summed_at - interval '1 minute', false) AS is_stale
        FROM (SELECT k.day, k.summed_at, k.stale_since FROM sona.summary_days k WHERE k.space_id = of_space) d
        FULL JOIN (
            SELECT n.day, max(n.touched_at) AS touched_at
            FROM sona.touched_days(of_space, coalesce(
                (SELECT p.noted_until - interval '1 minute' FROM sona.summary_progress p WHERE p.space_id = of_space),
                '-infinity')) n
            GROUP BY n.day
        ) t ON t.day = d.day
        ORDER BY 1 DESC
    LOOP
        day := known.day;
        first_id := sona.first_id(day);
        last_id := sona.last_id(day);
        summed_at := known.summed_at;
        is_live := false;
        IF known.is_stale AND seen <= most_live THEN
            SELECT count(*) INTO found FROM (
                SELECT FROM sona.trajectories t
                WHERE t.space_id = of_space AND t.id >= sona.first_id(known.day) AND t.id <= sona.last_id(known.day)
                LIMIT most_live - seen + 1
            ) counted;
            seen := seen + found;
            is_live := seen <= most_live;
        END IF;
        IF is_live THEN
            summed_at := NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$
"""
COMMENTS = [
    "COMMENT ON FUNCTION sona.judged_between(int, uuid, uuid) IS E'The trajectories of a range of ids with their outcomes "
    "and costs, as sona.outcomes has them, but reading only these weeks.\\nExample: SELECT route, avg(quality) FROM "
    "sona.judged_between(1, sona.first_id(current_date - 6), sona.last_id(current_date)) GROUP BY route'",
    "COMMENT ON FUNCTION sona.figures_between(int, uuid, uuid) IS E'The sums of sona.daily_figures over a range of ids.\\n"
    "Example: SELECT name, trajectories, quality / nullif(rated, 0) AS quality FROM sona.figures_between(1, "
    "sona.first_id(current_date), sona.last_id(current_date)) WHERE kind = ''route'''",
    "COMMENT ON FUNCTION sona.decision_figures_between(int, uuid, uuid) IS E'The sums of sona.daily_decisions over a range "
    "of ids.\\nExample: SELECT route, offered, taken, weighted / nullif(offered, 0) AS ips FROM "
    "sona.decision_figures_between(1, sona.first_id(current_date - 6), sona.last_id(current_date))'",
    "COMMENT ON FUNCTION sona.touched_days(int, timestamptz) IS E'The days whose figures the batches recorded since then "
    "change.\\nExample: SELECT * FROM sona.touched_days(1, now() - interval ''1 hour'')'",
    "COMMENT ON FUNCTION sona.days_of(int, bigint) IS E'The days of a space with their ranges of ids. Live ones have rows "
    "that are not summed yet, and together at most so many trajectories: sona.figures sums them up as it is read.\\n"
    "Example: SELECT day, is_live, summed_at FROM sona.days_of(1)'",
]
STEPS = [JUDGED, SUM_UP, DECISIONS, TOUCHED, DAYS, *COMMENTS]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for function in (
        "days_of(int, bigint)", "touched_days(int, timestamptz)", "decision_figures_between(int, uuid, uuid)",
        "figures_between(int, uuid, uuid)", "judged_between(int, uuid, uuid)",
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION sona.{function}")
