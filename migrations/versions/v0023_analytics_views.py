"""Views of the ledger for analysts: daily figures and what is made of them; ``quality_by_day`` is read from sums.

It used to read every partition of the ledger, and its median was exact; now it is within 2.5 %.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0001_first_schema import VIEWS as FIRST_VIEWS
from sona_pg.migrations.versions.v0016_real_costs import COMMENTS_BEFORE, LATEST, OUTCOMES

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

SAID = "WHERE quality IS NOT NULL OR correction IS NOT NULL OR paid IS NULL"
SPACE_OF = "(SELECT s.name FROM sona.spaces s WHERE s.space_id = {of}.space_id) AS space"
FIGURES = """
    CREATE OR REPLACE VIEW sona.figures AS
    SELECT s.name AS space, s.space_id, CASE WHEN isfinite(d.day) THEN d.day END AS day, f.kind, f.name, f.trajectories,
           f.steps, f.facts, f.corrections, f.retractions, f.rated, f.quality AS quality_sum,
           f.quality / nullif(f.rated, 0) AS quality, f.costed, f.cost AS cost_sum, f.delays, f.delay_counts,
           coalesce(d.summed_at, now()) AS as_of
    FROM sona.spaces s
    CROSS JOIN LATERAL sona.days_of(s.space_id) d
    CROSS JOIN LATERAL (
        SELECT k.kind, k.name, k.trajectories, k.steps, k.facts, k.corrections, k.retractions, k.rated, k.quality, k.costed,
               k.cost, k.delays, k.delay_counts
        FROM sona.daily_figures k WHERE NOT d.is_live AND k.space_id = s.space_id AND k.day = d.day
        UNION ALL
        SELECT l.kind, l.name, l.trajectories, l.steps, l.facts, l.corrections, l.retractions, l.rated, l.quality, l.costed,
               l.cost, l.delays, l.delay_counts
        FROM sona.figures_between(s.space_id, d.first_id, d.last_id) l WHERE d.is_live
    ) f
"""
BY_DAY = """
    CREATE OR REPLACE VIEW sona.quality_by_day AS
    SELECT f.space, f.day, nullif(f.name, '') AS route, f.trajectories, f.rated, f.quality,
           sona.quantile(f.delays, f.delay_counts, 0.5) AS median_latency_us, f.space_id,
           (sona.mean_interval(f.quality, f.rated))[1] AS low, (sona.mean_interval(f.quality, f.rated))[2] AS high,
           f.rated < 10 AS small_sample, sona.quantile(f.delays, f.delay_counts, 0.95) AS p95_latency_us,
           f.cost_sum / nullif(f.costed, 0) AS cost, f.as_of
    FROM sona.figures f
    WHERE f.kind = 'route'
"""
COLUMNS = """f.trajectories, f.rated, f.quality,
           (sona.mean_interval(f.quality, f.rated))[1] AS low, (sona.mean_interval(f.quality, f.rated))[2] AS high,
           f.rated < 10 AS small_sample, sona.quantile(f.delays, f.delay_counts, 0.5) AS median_latency_us,
           sona.quantile(f.delays, f.delay_counts, 0.95) AS p95_latency_us, f.cost_sum / nullif(f.costed, 0) AS cost,
           f.as_of"""
VIEWS = {
    "quality_by_space": f"""
        SELECT f.space, f.space_id, f.day, {COLUMNS}
        FROM sona.figures f
        WHERE f.kind = 'space' AND f.trajectories > 0
    """,
    "quality_by_server": f"""
        SELECT f.space, f.space_id, f.day, nullif(f.name, '')::uuid AS server_id,
               (SELECT v.host FROM sona.servers v WHERE v.space_id = f.space_id AND v.server_id::text = f.name) AS host,
               {COLUMNS}
        FROM sona.figures f
        WHERE f.kind = 'server'
    """,
    "route_leaderboard": """
        SELECT s.name AS space, r.*
        FROM sona.spaces s
        CROSS JOIN LATERAL sona.routes_between(s.name) r
    """,
    "users": """
        SELECT g.space, g.space_id, substr(g.name, 6) AS user_name, g.trajectories, g.rated, g.quality,
               (sona.mean_interval(g.quality, g.rated))[1] AS low, (sona.mean_interval(g.quality, g.rated))[2] AS high,
               g.rated < 10 AS small_sample, g.cost_sum, g.first_day, g.last_day, g.days
        FROM (
            SELECT f.space, f.space_id, f.name, sum(f.trajectories)::bigint AS trajectories, sum(f.rated)::bigint AS rated,
                   sum(f.quality_sum) / nullif(sum(f.rated), 0)::float8 AS quality, sum(f.cost_sum) AS cost_sum,
                   min(f.day) AS first_day, max(f.day) AS last_day, count(*) AS days
            FROM sona.figures f WHERE f.kind = 'user' GROUP BY f.space, f.space_id, f.name
        ) g
    """,
    "labels": """
        SELECT g.space, g.space_id, g.name AS label, g.trajectories, g.rated, g.quality,
               (sona.mean_interval(g.quality, g.rated))[1] AS low, (sona.mean_interval(g.quality, g.rated))[2] AS high,
               g.rated < 10 AS small_sample, g.cost_sum, g.first_day, g.last_day, g.days
        FROM (
            SELECT f.space, f.space_id, f.name, sum(f.trajectories)::bigint AS trajectories, sum(f.rated)::bigint AS rated,
                   sum(f.quality_sum) / nullif(sum(f.rated), 0)::float8 AS quality, sum(f.cost_sum) AS cost_sum,
                   min(f.day) AS first_day, max(f.day) AS last_day, count(*) AS days
            FROM sona.figures f WHERE f.kind = 'label' GROUP BY f.space, f.space_id, f.name
        ) g
    """,
    "feedback_sources": """
        SELECT f.space, f.space_id, f.day, f.name AS source, f.facts, f.trajectories, f.corrections, f.retractions, f.rated,
               f.quality, (sona.mean_interval(f.quality, f.rated))[1] AS low,
               (sona.mean_interval(f.quality, f.rated))[2] AS high, f.rated < 10 AS small_sample,
               sona.quantile(f.delays, f.delay_counts, 0.5) * interval '1 microsecond' AS median_lag,
               sona.quantile(f.delays, f.delay_counts, 0.95) * interval '1 microsecond' AS p95_lag, f.as_of
        FROM sona.figures f
        WHERE f.kind = 'source'
    """,
    "growth": """
        SELECT f.space, f.space_id, f.day, f.trajectories, f.steps, f.facts, sum(f.trajectories) OVER past AS trajectories_so_far,
               sum(f.facts) OVER past AS facts_so_far, v.version, h.patterns, cardinality(h.routes) AS routes, f.as_of
        FROM sona.figures f
        LEFT JOIN LATERAL (
            SELECT max(m.version) AS version FROM sona.state_versions m
            WHERE m.space_id = f.space_id AND m.status IN ('live', 'retired') AND m.created_at < f.day + 1
        ) v ON true
        LEFT JOIN sona.version_contents h ON h.space_id = f.space_id AND h.version = v.version
        WHERE f.kind = 'space'
        WINDOW past AS (PARTITION BY f.space, f.space_id ORDER BY f.day NULLS FIRST)
    """,
    "decisions": """
        SELECT s.name AS space, s.space_id, CASE WHEN isfinite(d.day) THEN d.day END AS day, j.id AS trajectory_id,
               sona.uuid_time(j.id) AS decided_at, j.route, j.propensity, c.candidate_ids AS candidates, j.policy_version,
               j.quality, j.cost, j.paid, j.latency_us
        FROM sona.spaces s
        CROSS JOIN LATERAL sona.days_of(s.space_id, 0) d
        CROSS JOIN LATERAL sona.judged_between(s.space_id, d.first_id, d.last_id) j
        LEFT JOIN sona.candidate_sets c ON c.space_id = s.space_id AND c.set_id = j.candidate_set
        WHERE j.propensity IS NOT NULL
    """,
    "off_policy": """
        SELECT s.name AS space, e.*
        FROM sona.spaces s
        CROSS JOIN LATERAL sona.evaluate_policies(s.name) e
    """,
    "store_size": """
        SELECT s.name AS space, s.space_id, z.table_name, z.month, sum(z.row_count)::bigint AS row_count,
               sum(z.bytes)::bigint AS bytes
        FROM sona.spaces s
        CROSS JOIN LATERAL sona.sizes_of(s.space_id) z
        GROUP BY s.name, s.space_id, z.table_name, z.month
    """,
}
WHERE_OF = "WHERE space = ''support''"
COMMENTS = {
    "figures": "Sums by space, day (UTC) and one property (kind: space, route, server, version, user, label, source); the "
    "other views are made from them. Days of up to 20,000 trajectories that are not summed yet are summed as it is read, "
    "larger ones are as of the time shown; the maintainer sums them every minute. Ids that tell no time have day null.\\n"
    f"Example: SELECT day, name, trajectories, quality FROM sona.figures {WHERE_OF} AND kind = ''route'' "
    "AND day >= current_date - 7 ORDER BY day, name",
    "quality_by_day": "Trajectories, quality and latency per space, day (UTC) and route; low and high are the 95 % interval "
    "of the quality, and small samples have fewer than 10 ratings. Latencies are to within 2.5 %.\\nExample: SELECT day, "
    f"route, rated, quality, low, high FROM sona.quality_by_day {WHERE_OF} AND day >= current_date - 30 ORDER BY day, route",
    "quality_by_space": "Trajectories, quality, latency and cost per space and day (UTC).\\nExample: SELECT space, "
    "sum(trajectories) FROM sona.quality_by_space WHERE day >= current_date - 6 GROUP BY space",
    "quality_by_server": "Trajectories, quality and latency per space, day (UTC) and server that recorded them. The server "
    "is null where the marker of the batch is deleted, its host where the server is forgotten.\\nExample: SELECT day, host, "
    f"trajectories, quality, p95_latency_us FROM sona.quality_by_server {WHERE_OF} AND day >= current_date - 6",
    "route_leaderboard": "Routes of each space over all days, best first: by the lower end of the 95 % interval of their "
    "quality. Small samples (fewer than 10 ratings) have no place. sona.routes_between does it for some days.\\n"
    f"Example: SELECT place, route, rated, quality, low, high, cost, p95_latency_us FROM sona.route_leaderboard {WHERE_OF}",
    "users": "Users (labels user:…), with quality and cost; of each day the 1,000 most active.\\nExample: SELECT user_name, "
    f"trajectories, quality, low, high FROM sona.users {WHERE_OF} AND NOT small_sample ORDER BY quality LIMIT 20",
    "labels": "Labels of trajectories (context), but users and sessions, with quality and cost; of each day the 1,000 most "
    f"frequent.\\nExample: SELECT label, trajectories, quality FROM sona.labels {WHERE_OF} ORDER BY trajectories DESC LIMIT 20",
    "feedback_sources": "What each source said about the trajectories of a day: facts, corrections, retractions, mean of "
    "what it said last, and how long after a trajectory it spoke.\\nExample: SELECT source, sum(facts), max(p95_lag) FROM "
    f"sona.feedback_sources {WHERE_OF} AND day >= current_date - 30 GROUP BY source",
    "growth": "Trajectories, steps and facts by day, and in all so far; and the version of that day with its patterns and "
    "routes, while it is kept.\\nExample: SELECT day, trajectories, trajectories_so_far, version, patterns FROM sona.growth "
    f"{WHERE_OF} ORDER BY day",
    "decisions": "Trajectories whose route was drawn with a known probability, with candidates and outcome. A condition on "
    f"day reads only its weeks.\\nExample: SELECT decided_at, route, propensity, quality FROM sona.decisions {WHERE_OF} AND "
    "day >= current_date - 1 ORDER BY decided_at DESC LIMIT 20",
    "off_policy": "Estimates of what each route alone would have done on all logged decisions, and what the logged policy "
    "did; no figure below an effective sample size of 50, but the reason. sona.evaluate_policies does it for some days.\\n"
    f"Example: SELECT policy, snips, snips_low, snips_high, dr, effective_size, refused FROM sona.off_policy {WHERE_OF}",
    "store_size": "Rows and estimated bytes (indexes included) of each space by table; of the ledger by month, which is null "
    "for other tables.\\nExample: SELECT table_name, month, row_count, pg_size_pretty(bytes) FROM sona.store_size "
    f"{WHERE_OF} ORDER BY bytes DESC",
    "latest_feedback": "What each source said last of each trajectory.\\nExample: SELECT trajectory_id, source, quality FROM "
    "sona.latest_feedback WHERE space_id = 1 AND trajectory_id >= sona.first_id(current_date - 1)",
    "outcomes": "Each trajectory with its quality now: the mean of what its sources said last, else what it ended with; and "
    "with its real cost, as told last. It groups all feedback: sona.judged_between reads some weeks.\\nExample: SELECT "
    "trajectory_id, route, quality FROM sona.outcomes WHERE space_id = 1 AND trajectory_id >= sona.first_id(current_date)",
}


def _with_space(view: str, last: str, of: str) -> str:
    """Return the definition of an earlier revision with the name of the space as one more column."""
    before, found, after = view.partition(last)
    assert found
    return f"{before}{last}, {SPACE_OF.format(of=of)}{after}"


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    latest = LATEST.format(condition=SAID)
    driver.execute(_with_space(latest, "quality, correction, recorded_at", "feedback"))
    grouped = OUTCOMES.replace("SELECT t.space_id", "SELECT o.*, {space} FROM (SELECT t.space_id", 1) + ") o"
    driver.execute(grouped.replace("{space}", SPACE_OF.format(of="o")))
    driver.execute(FIGURES)
    driver.execute(BY_DAY)
    for name, query in VIEWS.items():
        driver.execute(f"CREATE VIEW sona.{name} AS {query}")
    for name, comment in COMMENTS.items():
        driver.execute(f"COMMENT ON VIEW sona.{name} IS E'{comment}'")


def downgrade() -> None:
    for name in (*reversed(VIEWS), "quality_by_day", "figures", "outcomes", "latest_feedback"):
        op.execute(f"DROP VIEW sona.{name}")
    driver = op.get_bind().connection.driver_connection
    driver.execute(LATEST.format(condition=SAID))
    driver.execute(OUTCOMES)
    driver.execute(next(view for view in FIRST_VIEWS if "CREATE VIEW sona.quality_by_day" in view))
    driver.execute("COMMENT ON VIEW sona.latest_feedback IS 'What each source said last of each trajectory.'")
    for name, comment in COMMENTS_BEFORE.items():
        driver.execute(f"COMMENT ON VIEW sona.{name} IS '{comment}'")
