"""Sums by day and route from the daily figures; days that are not summed yet are summed as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection

from sona_pg.domain.period_figures import DaySums, FoundRoutes, LikeQuality, RouteSums, SummedDays
from sona_pg.store.connect import driver_connection

CHAT = "chat"  # label of what the chat records: ratings of whoever tries the space out
# As the view sona.figures, but only for these days: the view would sum up live days that are not asked for.
DAYS = f"""
WITH days AS MATERIALIZED (
    SELECT d.day, d.first_id, d.last_id, d.is_live, d.summed_at FROM sona.days_of(%(space)s) d
    WHERE isfinite(d.day) AND d.day BETWEEN %(first)s AND %(last)s
), found AS MATERIALIZED (
    SELECT d.day, f.kind, f.name, f.trajectories, f.rated, f.quality, f.costed, f.cost, f.delays, f.delay_counts
    FROM days d
    CROSS JOIN LATERAL (
        SELECT k.kind, k.name, k.trajectories, k.rated, k.quality, k.costed, k.cost, k.delays, k.delay_counts
        FROM sona.daily_figures k
        WHERE NOT d.is_live AND k.space_id = %(space)s AND k.day = d.day
            AND (k.kind IN ('space', 'route') OR (k.kind = 'label' AND k.name = '{CHAT}'))
        UNION ALL
        SELECT l.kind, l.name, l.trajectories, l.rated, l.quality, l.costed, l.cost, l.delays, l.delay_counts
        FROM sona.figures_between(%(space)s, d.first_id, d.last_id) l
        WHERE d.is_live AND (l.kind IN ('space', 'route') OR (l.kind = 'label' AND l.name = '{CHAT}'))
    ) f
)
"""
SUMS = f"""{DAYS}, listed AS (
    SELECT f.name FROM found f WHERE f.kind = 'route'
    GROUP BY f.name ORDER BY sum(f.cost) DESC, sum(f.trajectories) DESC, f.name LIMIT %(routes)s
)
SELECT f.kind, f.day, CASE WHEN f.kind = 'route' THEN f.name END, f.trajectories, f.rated, f.quality, f.costed, f.cost
FROM found f
WHERE f.kind IN ('space', 'label') OR f.name IN (SELECT l.name FROM listed l)
ORDER BY f.day, f.kind DESC, f.name
"""
# A route's histograms of latency are added up before its median is taken, as sona.routes_between does. A day keeps the
# figures of the 10,000 routes taken most often in it.
ROUTES = f"""{DAYS}, listed AS (
    SELECT f.name, sum(f.trajectories)::bigint AS trajectories, sum(f.rated)::bigint AS rated,
           sum(f.quality) AS quality, sum(f.costed)::bigint AS costed, sum(f.cost) AS cost, count(*) OVER () AS routes
    FROM found f WHERE f.kind = 'route' AND f.name <> '' AND strpos(lower(f.name), lower(%(find)s)) > 0
    GROUP BY f.name ORDER BY f.name = ANY(%(always)s) DESC, sum(f.trajectories) DESC, f.name LIMIT %(routes)s
), whole AS (
    SELECT coalesce(sum(CASE f.kind WHEN 'space' THEN f.trajectories WHEN 'route' THEN -f.trajectories END), 0)::bigint
        AS left_out
    FROM found f
), delayed AS (
    SELECT h.name, array_agg(h.delay ORDER BY h.delay) AS delays, array_agg(h.n ORDER BY h.delay) AS counts
    FROM (
        SELECT f.name, u.delay, sum(u.n)::bigint AS n
        FROM found f CROSS JOIN LATERAL unnest(f.delays, f.delay_counts) AS u (delay, n)
        WHERE f.kind = 'route' GROUP BY f.name, u.delay
    ) h GROUP BY h.name
)
SELECT l.name, l.trajectories, l.rated, l.quality, l.costed, l.cost, sona.quantile(d.delays, d.counts, 0.5), l.routes,
       w.left_out
FROM whole w LEFT JOIN listed l ON true LEFT JOIN delayed d ON d.name = l.name
"""
LIKE = """
SELECT l.route, l.compared, l.like_quality, l.low, l.high, l.sampled
FROM sona.spaces s CROSS JOIN LATERAL sona.routes_on_like_questions(s.name, %(first)s, %(last)s) l
WHERE s.space_id = %(space)s
"""
FRESHNESS = """
SELECT min(d.summed_at) FILTER (WHERE NOT d.is_live AND s.stale_since IS NOT NULL),
       count(*) FILTER (WHERE NOT d.is_live AND d.summed_at IS NULL)
FROM sona.days_of(%(space)s) d
LEFT JOIN sona.summary_days s ON s.space_id = %(space)s AND s.day = d.day
WHERE isfinite(d.day) AND d.day BETWEEN %(first)s AND %(last)s
"""

# Of all time; no row while a day has no sums, and so would be missing.
FEEDBACK = """
SELECT sum(f.facts - f.retractions)::bigint FROM sona.figures f WHERE f.space_id = %(space)s AND f.kind = 'space'
HAVING NOT EXISTS (SELECT FROM sona.days_of(%(space)s) d WHERE NOT d.is_live AND d.summed_at IS NULL)
"""


def read_feedback(connection: Connection, space_id: int) -> int | None:
    """Return how many facts were given, without those that took one back; None where days are not summed yet."""
    found = driver_connection(connection).execute(FEEDBACK, {"space": space_id}).fetchone()
    return None if found is None else found[0]


def read_sums(connection: Connection, space_id: int, first: date, last: date, routes: int) -> SummedDays:
    """Return the sums of the days from ``first`` to ``last``, and of the ``routes`` that cost most in them."""
    raw = driver_connection(connection)
    asked = {"space": space_id, "first": first, "last": last, "routes": routes}
    rows = raw.execute(SUMS, asked).fetchall()
    sums = [DaySums(*row) for kind, *row in rows if kind != "label"]
    as_of, missing = raw.execute(FRESHNESS, asked).fetchone() or (None, 0)
    return SummedDays(sums, as_of, missing, [DaySums(*row) for kind, *row in rows if kind == "label"])


def read_routes(
    connection: Connection, space_id: int, days: tuple[date, date], find: str, routes: int, always: Sequence[str]
) -> FoundRoutes:
    """Return the sums of the ``routes`` taken most often in ``days``, of those in ``always`` before all others.

    Only those with ``find`` in their names, in any case of letters.
    """
    asked = {"space": space_id, "first": days[0], "last": days[1], "find": find, "routes": routes, "always": [*always]}
    rows = driver_connection(connection).execute(ROUTES, asked).fetchall()
    sums = [RouteSums(*row[:-2]) for row in rows if row[0] is not None]
    return FoundRoutes(sums, rows[0][-2] or 0, rows[0][-1])


def read_like_questions(connection: Connection, space_id: int, first: date, last: date) -> list[LikeQuality]:
    """Return the quality of the routes on like questions from ``first`` to ``last``."""
    asked = {"space": space_id, "first": first, "last": last}
    return [LikeQuality(*row) for row in driver_connection(connection).execute(LIKE, asked)]
