"""Best routes are those that are offered now: a model that was taken out is no advice any more, and stays in the history."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0014_pattern_uses, v0026_learning_views

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

# One row with an array: called in a SELECT list it is computed once for each space, and Citus sends it to the nodes.
NOT_OFFERED = """
CREATE OR REPLACE FUNCTION sona.routes_not_offered(of_space int) RETURNS SETOF text[]
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN NEXT ARRAY(
        WITH recent AS MATERIALIZED (
            SELECT l.route, l.candidate_set, l.propensity, row_number() OVER (ORDER BY l.id DESC) AS place
            FROM (
                SELECT t.id, t.route, t.candidate_set, t.propensity FROM sona.trajectories t
                WHERE t.space_id = of_space ORDER BY t.id DESC LIMIT 1000
            ) l
            WHERE l.route IS NOT NULL
        ), seen AS (
            SELECT x.route, min(x.place) - 1 AS later
            FROM (
                SELECT r.route, r.place FROM recent r
                UNION ALL
                SELECT u.name, d.place
                FROM (
                    SELECT r.candidate_set, min(r.place) AS place FROM recent r
                    WHERE r.propensity IS NOT NULL GROUP BY r.candidate_set
                ) d
                JOIN sona.candidate_sets c ON c.space_id = of_space AND c.set_id = d.candidate_set
                CROSS JOIN LATERAL unnest(c.candidate_ids) AS u (name)
            ) x
            GROUP BY x.route
        ), tried AS (
            SELECT r.route, sum(r.size) / nullif(sum(sum(r.size)) OVER (), 0) AS share
            FROM sona.pattern_routes r WHERE r.space_id = of_space GROUP BY r.route
        ), known AS (
            SELECT t.route, t.share, coalesce(s.later, (SELECT count(*) FROM recent)) AS later, c.candidate_id,
                   c.retired_at IS NOT NULL AND c.restored_at IS NULL AS is_retired
            FROM tried t
            LEFT JOIN seen s ON s.route = t.route
            LEFT JOIN sona.candidates c ON c.space_id = of_space AND c.candidate_id = t.route
        )
        SELECT k.route FROM known k
        WHERE CASE WHEN k.candidate_id IS NOT NULL THEN k.is_retired
                   ELSE k.later >= 200 AND k.later * k.share >= 20 END
        ORDER BY k.route
    );
END $$
"""
SPACES = "JOIN sona.spaces s ON s.space_id = p.space_id"
OFFERING = (
    "JOIN (SELECT o.name, o.space_id, sona.routes_not_offered(o.space_id) AS gone FROM sona.spaces o) s "
    "ON s.space_id = p.space_id"
)
BEST = """
    LEFT JOIN LATERAL (
        SELECT o.route AS {name} FROM sona.pattern_routes o
        WHERE o.space_id = p.space_id AND o.pattern_id = p.pattern_id AND o.weight >= 10{which}
        ORDER BY (sona.mean_interval(o.quality, round(o.weight)::bigint))[1] DESC, o.route LIMIT 1
    ) {alias} ON true"""
COLUMNS = v0014_pattern_uses.COLUMNS + ", p.space_id, b.best_route, p.weight < 10 AS small_sample"
SUMMARY = v0014_pattern_uses.SUMMARY.format(
    columns=COLUMNS + ",\n           CASE WHEN e.best_of_all = ANY(s.gone) THEN e.best_of_all END AS former_best_route",
    joins=v0014_pattern_uses.JOINS
    + BEST.format(name="best_route", which=" AND o.route <> ALL(s.gone)", alias="b")
    + BEST.format(name="best_of_all", which="", alias="e"),
).replace(SPACES, OFFERING)
ROUTES = """
    SELECT b.*, NOT b.small_sample AND b.is_offered AND rank() OVER (
               PARTITION BY b.space, b.space_id, b.pattern_id, b.small_sample, b.is_offered ORDER BY b.low DESC) = 1 AS is_best
    FROM (
        SELECT s.name AS space, s.space_id, p.pattern_id, p.kind, p.typical_queries[1] AS typical_query, r.route,
               r.size AS trajectories, r.weight AS recent_ratings,
               CASE WHEN r.weight > 0 THEN r.quality END AS quality,
               (sona.mean_interval(r.quality, round(r.weight)::bigint))[1] AS low,
               (sona.mean_interval(r.quality, round(r.weight)::bigint))[2] AS high,
               r.weight < 10 AS small_sample, r.success_count, r.recovered_count, r.partial_count, r.failure_count,
               r.route <> ALL(s.gone) AS is_offered
        FROM (SELECT o.name, o.space_id, sona.routes_not_offered(o.space_id) AS gone FROM sona.spaces o) s
        JOIN sona.patterns p ON p.space_id = s.space_id
        JOIN sona.pattern_routes r ON r.space_id = s.space_id AND r.pattern_id = p.pattern_id
    ) b
"""
# A column may only be added at the end of a view.
ROUTE_COLUMNS = (
    "space, space_id, pattern_id, kind, typical_query, route, trajectories, recent_ratings, quality, low, high, "
    "small_sample, success_count, recovered_count, partial_count, failure_count, is_best, is_offered"
)
SECURE = "WITH (security_invoker = true) AS"
WHERE_OF = "WHERE space = ''support''"
COMMENTS = {
    "VIEW sona.pattern_summary": "Patterns with their most typical queries, how their trajectories and each route went (the "
    "verdict is the most frequent one), and the settings that went well. The best route is one that is offered now, with at "
    "least 10 recent ratings; former_best_route is one that was better and is no longer offered (sona.routes_not_offered). A "
    f"small sample has fewer ratings.\\nExample: SELECT typical_query, size, quality, best_route, routes FROM "
    f"sona.pattern_summary {WHERE_OF} ORDER BY size DESC LIMIT 10",
    "VIEW sona.routes_by_pattern": "How each route did in each pattern. Ratings fade with age: recent_ratings is what is left of "
    "them, low and high are the 95 % interval. Small samples have fewer than 10, and are never the best, nor are routes that are "
    f"no longer offered (sona.routes_not_offered).\\nExample: SELECT typical_query, route, quality, low, high FROM "
    f"sona.routes_by_pattern {WHERE_OF} AND is_best",
    "FUNCTION sona.routes_not_offered(int)": "The routes of the patterns of a space that are no longer offered, as one array: a "
    "stored candidate that is retired; of any other route, one that none of the latest requests (200 to 1,000) took or had "
    "among the candidates of its decision, though by its share of all requests 20 or more would have.\\nExample: SELECT "
    "sona.routes_not_offered(space_id) FROM sona.spaces WHERE name = ''support''",
}
STEPS = [
    NOT_OFFERED,
    f"CREATE OR REPLACE VIEW sona.pattern_summary {SECURE} {SUMMARY}",
    f"CREATE OR REPLACE VIEW sona.routes_by_pattern {SECURE} SELECT {ROUTE_COLUMNS} FROM ({ROUTES}) a",
    *(f"COMMENT ON {what} IS E'{text}'" for what, text in COMMENTS.items()),
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    before = {"pattern_summary": v0026_learning_views.SUMMARY} | {
        "routes_by_pattern": v0026_learning_views.VIEWS["routes_by_pattern"]
    }
    for name, query in before.items():
        driver.execute(f"DROP VIEW sona.{name}")
        driver.execute(f"CREATE VIEW sona.{name} {SECURE} {query}")
        driver.execute(f"COMMENT ON VIEW sona.{name} IS E'{v0026_learning_views.COMMENTS[name]}'")
    driver.execute("DROP FUNCTION sona.routes_not_offered(int)")
