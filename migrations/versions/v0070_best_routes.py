"""The best route of a topic as the dashboard tells it, in SQL: of routes that got worse only the ratings since count."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0060_offered_routes as offered

revision = "0070"
down_revision = "0069"
branch_labels = None
depends_on = None

# Differences of means: Newcombe (1998), method 10.
BEST = """
CREATE OR REPLACE FUNCTION sona.best_routes(of_space text, days int DEFAULT 90) RETURNS TABLE (
    pattern_id uuid, best_route text, rated bigint, quality double precision, low double precision, high double precision,
    since date, former_best_route text, succeeded_route text
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    gone text[] := (SELECT sona.routes_not_offered(s.space_id) FROM sona.spaces s WHERE s.space_id = wanted);
    worse text[];
    days_of date[];
    first date;
    last date;
    rated_patterns uuid[];
    rated_routes text[];
    weights double precision[];
    means double precision[];
BEGIN
    SELECT array_agg(c.route), array_agg(c.changed_on), min(c.changed_on), max(c.after_until)
    INTO worse, days_of, first, last
    FROM sona.route_changes(of_space, days) c WHERE c.after_quality < c.before_quality;
    SELECT array_agg(l.pattern_id), array_agg(l.route), array_agg(l.weight), array_agg(l.quality)
    INTO rated_patterns, rated_routes, weights, means
    FROM (
        SELECT j.pattern_id, c.route, count(*)::float8 AS weight, avg(j.quality) AS quality
        FROM unnest(worse, days_of) AS c (route, since)
        JOIN sona.judged_topics(wanted, first, last) j ON j.route = c.route AND sona.day_of(j.id) >= c.since
        GROUP BY 1, 2
    ) l;
    RETURN QUERY
    WITH changed AS MATERIALIZED (
        SELECT c.route, c.since FROM unnest(worse, days_of) AS c (route, since)
    ), lately AS MATERIALIZED (
        SELECT l.pattern_id, l.route, l.weight, l.quality
        FROM unnest(rated_patterns, rated_routes, weights, means) AS l (pattern_id, route, weight, quality)
    ), stored AS MATERIALIZED (
        SELECT o.pattern_id, o.route, o.weight, o.quality FROM sona.pattern_routes o WHERE o.space_id = wanted
    ), told AS (
        SELECT o.pattern_id, o.route, o.route <> ALL(gone) AS is_offered, c.since, o.weight AS all_weight,
               (sona.mean_interval(least(greatest(o.quality, 0), 1), greatest(round(o.weight)::bigint, 1)))[1] AS all_low,
               CASE WHEN c.route IS NULL THEN o.weight ELSE coalesce(l.weight, 0) END AS weight,
               CASE WHEN c.route IS NOT NULL THEN l.quality WHEN o.weight > 0 THEN o.quality END AS quality
        FROM stored o LEFT JOIN changed c ON c.route = o.route
        LEFT JOIN lately l ON l.pattern_id = o.pattern_id AND l.route = o.route
    ), known AS MATERIALIZED (
        SELECT t.*, i.bounds[1] AS low, i.bounds[2] AS high
        FROM told t CROSS JOIN LATERAL (
            SELECT sona.mean_interval(least(greatest(t.quality, 0), 1), greatest(round(t.weight)::bigint, 1)) AS bounds
        ) i
    ), firsts AS (
        SELECT DISTINCT ON (k.pattern_id) k.* FROM known k WHERE k.weight >= 10 AND k.is_offered AND k.quality IS NOT NULL
        ORDER BY k.pattern_id, k.low DESC, k.route
    ), bests AS (  -- where a route got worse, five ratings are enough of one that is shown to be better
        SELECT DISTINCT ON (f.pattern_id) k.*
        FROM firsts f JOIN known k ON k.pattern_id = f.pattern_id AND k.is_offered AND k.quality IS NOT NULL
        WHERE k.route = f.route OR (
            round(k.weight) >= 5 AND f.quality - k.quality + sqrt((f.high - f.quality) ^ 2 + (k.quality - k.low) ^ 2) < 0
            AND EXISTS (SELECT FROM known x WHERE x.pattern_id = f.pattern_id AND x.since IS NOT NULL))
        ORDER BY f.pattern_id, k.route <> f.route DESC, k.low DESC, k.route
    ), ever AS (
        SELECT DISTINCT ON (k.pattern_id) k.* FROM known k WHERE k.weight >= 10 AND k.quality IS NOT NULL
        ORDER BY k.pattern_id, k.low DESC, k.route
    ), before AS (
        SELECT DISTINCT ON (k.pattern_id) k.* FROM known k WHERE k.all_weight >= 10 AND k.is_offered
        ORDER BY k.pattern_id, k.all_low DESC, k.route
    )
    SELECT p.pattern_id, b.route, round(b.weight)::bigint, b.quality, b.low, b.high, b.since,
           CASE WHEN NOT e.is_offered THEN e.route END,
           CASE WHEN a.since IS NOT NULL AND a.route IS DISTINCT FROM b.route THEN a.route END
    FROM (SELECT DISTINCT k.pattern_id FROM known k) p
    LEFT JOIN bests b ON b.pattern_id = p.pattern_id
    LEFT JOIN ever e ON e.pattern_id = p.pattern_id
    LEFT JOIN before a ON a.pattern_id = p.pattern_id
    ORDER BY p.pattern_id;
END $$
"""
NAME = "FUNCTION sona.best_routes(text, int)"
SUMMARY = "VIEW sona.pattern_summary"
SUMMARY_BEFORE = offered.COMMENTS[SUMMARY]
COMMENTS = {
    NAME: "The best route of each pattern as the dashboard tells it: one that is offered now, with the highest lower end of its "
    "95 % interval among those with at least 10 ratings. Of routes that got worse within so many days (sona.route_changes) only the "
    "ratings since then count, from the day since on; then another that is shown to be better needs five ratings to be the best, "
    "and succeeded_route is the one that was until then. All other ratings count, older ones less. former_best_route is one that "
    "was better and is no longer offered. Of many trajectories the ratings since are of a sample.\\nExample: SELECT "
    "pattern_id, best_route, quality, rated, succeeded_route FROM sona.best_routes(''support'', 90)",
    SUMMARY: SUMMARY_BEFORE.replace(
        "with at least 10 recent ratings; ",
        "with at least 10 recent ratings. All of its ratings count: sona.best_routes leaves out those from before a route got "
        "worse, as the dashboard and the commands do; ",
    ),
}
STEPS = [BEST, *(f"COMMENT ON {name} IS E'{text}'" for name, text in COMMENTS.items())]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    driver.execute(f"COMMENT ON {SUMMARY} IS E'{SUMMARY_BEFORE}'")
    driver.execute(f"DROP {NAME}")
