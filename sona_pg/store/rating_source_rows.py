"""Ratings of routes since they changed, by the source that gave them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from sona_pg.domain.level_change import RouteChange
from sona_pg.domain.rating_source import SourceRatings
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_samples import MOST_READ

# Of tables alone: on Citus a function that reads the shards cannot run beside them. A request that nobody rated has the
# quality that it ended with, of the source ''.
SOURCES = """
WITH asked AS MATERIALIZED (
    SELECT t.id, t.route, t.quality FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id >= sona.first_id(%(first)s) AND t.id <= sona.last_id(%(last)s)
    ORDER BY t.id DESC LIMIT %(read)s
), said AS (
    SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.source, f.quality, f.correction
    FROM sona.feedback f
    WHERE f.space_id = %(space)s AND f.trajectory_id >= (SELECT a.id FROM asked a ORDER BY a.id LIMIT 1)
        AND f.trajectory_id <= sona.last_id(%(last)s)
        AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
    ORDER BY f.trajectory_id, f.source, f.sequence DESC
), heard AS (
    SELECT a.id, a.route, coalesce(s.source, '') AS source
    FROM asked a LEFT JOIN said s ON s.trajectory_id = a.id AND (s.quality IS NOT NULL OR s.correction IS NOT NULL)
    WHERE s.source IS NOT NULL OR a.quality IS NOT NULL
), by_source AS (
    SELECT h.source, count(*) AS rated FROM heard h GROUP BY h.source
), of_route AS (
    SELECT c.route, h.source, count(*) AS rated
    FROM unnest(%(routes)s::text[], %(days)s::date[]) AS c (route, since)
    JOIN heard h ON h.route = c.route AND h.id >= sona.first_id(c.since)
    GROUP BY c.route, h.source
)
SELECT c.route, b.source, coalesce(o.rated, 0), b.rated
FROM unnest(%(routes)s::text[]) AS c (route) CROSS JOIN by_source b
LEFT JOIN of_route o ON o.route = c.route AND o.source = b.source
"""


def read_sources(
    connection: Connection, space_id: int, changes: Sequence[RouteChange]
) -> dict[str, list[SourceRatings]]:
    """Return the sources of the newest ratings since the first of ``changes`` began, with those of each route since."""
    asked = {
        "space": space_id, "routes": [one.route for one in changes], "days": [one.changed_on for one in changes],
        "first": min(one.before_from for one in changes), "last": max(one.after_until for one in changes),
        "read": MOST_READ,
    }  # fmt: skip
    found: dict[str, list[SourceRatings]] = {}
    for route, *row in driver_connection(connection).execute(SOURCES, asked):
        found.setdefault(route, []).append(SourceRatings(*row))
    return found
