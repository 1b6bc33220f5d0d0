"""Trajectories that were rated bad: the latest of a route, and how many of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.leaderboard import BadRatings
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_samples import MOST_READ

MOST_JUDGED = 2_000  # of one route, among which those rated bad are looked for
# Bounded by the newest trajectories of the days: routes have no index.
OF_ROUTE = """
SELECT n.id FROM (
    SELECT t.id, t.route FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id >= sona.first_id(%(first)s) AND t.id <= sona.last_id(%(last)s)
    ORDER BY t.id DESC LIMIT %(read)s
) n WHERE n.route = %(route)s ORDER BY n.id DESC LIMIT %(judged)s
"""
# A statement of its own: on Citus a function that reads the shards cannot run beside a query of them.
JUDGED = """
SELECT j.id, j.quality FROM sona.judged_of(%(space)s, %(ids)s::uuid[]) j WHERE j.quality IS NOT NULL ORDER BY j.id DESC
"""
CORRECTED = """
SELECT DISTINCT s.trajectory_id FROM (
    SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.correction
    FROM sona.feedback f
    WHERE f.space_id = %(space)s AND f.trajectory_id = ANY(%(ids)s::uuid[])
        AND f.trajectory_id >= %(lowest)s AND f.trajectory_id <= %(highest)s
        AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
    ORDER BY f.trajectory_id, f.source, f.sequence DESC
) s JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = s.trajectory_id
    AND t.id >= %(lowest)s AND t.id <= %(highest)s
WHERE s.correction <> t.route
"""
# Of tables alone, for the same reason: the quality of a trajectory is that of sona.judged_of.
COUNTED = """
WITH asked AS MATERIALIZED (
    SELECT t.id, t.route, t.quality, coalesce(t.context && %(users)s::text[], false) AS is_by_users
    FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id >= sona.first_id(%(first)s) AND t.id <= sona.last_id(%(last)s)
    ORDER BY t.id DESC LIMIT %(read)s
), said AS (
    SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.quality, f.correction
    FROM sona.feedback f
    WHERE f.space_id = %(space)s AND f.trajectory_id >= (SELECT a.id FROM asked a ORDER BY a.id LIMIT 1)
        AND f.trajectory_id <= sona.last_id(%(last)s)
        AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
    ORDER BY f.trajectory_id, f.source, f.sequence DESC
), judged AS (
    SELECT a.id, a.route, a.is_by_users, coalesce(bool_or(s.correction <> a.route), false) AS is_corrected,
           coalesce(avg(CASE WHEN s.correction IS NULL THEN s.quality ELSE (s.correction = a.route)::int END),
                    a.quality) AS quality
    FROM asked a LEFT JOIN said s ON s.trajectory_id = a.id
    WHERE a.route IS NOT NULL
    GROUP BY a.id, a.route, a.is_by_users, a.quality
)
SELECT j.route, count(*), count(*) FILTER (WHERE j.quality <= %(worst)s OR j.is_corrected),
       count(*) FILTER (WHERE j.is_corrected), count(*) FILTER (WHERE j.is_by_users),
       avg(j.quality) FILTER (WHERE NOT j.is_by_users)
FROM judged j WHERE j.quality IS NOT NULL GROUP BY j.route
"""


def bad_among(
    connection: Connection, space_id: int, judged: Iterable[tuple[UUID, float]], worst: float
) -> frozenset[UUID]:
    """Return those of ``judged``, ids with their quality, that count as rated bad.

    These are rated ``worst`` at most, or were corrected: whoever names another answer says that this one was wrong,
    which somebody else's thumb up does not make right.
    """
    known = list(judged)
    told = {id_ for id_, quality in known if quality <= worst}
    # A correction counts as 0, so that the mean of all sources is below 1.
    doubtful = sorted(id_ for id_, quality in known if worst < quality < 1)
    if not doubtful:
        return frozenset(told)
    asked = {"space": space_id, "ids": doubtful, "lowest": doubtful[0], "highest": doubtful[-1]}
    return frozenset(told | {id_ for (id_,) in driver_connection(connection).execute(CORRECTED, asked)})


def read_rated_bad(
    connection: Connection, space_id: int, route: str, days: tuple[date, date], worst: float, most: int
) -> list[UUID]:
    """Return the latest ``most`` trajectories of a route and of ``days`` that were rated bad, see ``bad_among``."""
    raw, (first, last) = driver_connection(connection), days
    asked = {"space": space_id, "route": route, "first": first, "last": last, "read": MOST_READ, "judged": MOST_JUDGED}
    ids = [id_ for (id_,) in raw.execute(OF_ROUTE, asked)]
    judged = raw.execute(JUDGED, {"space": space_id, "ids": ids}).fetchall()
    bad = bad_among(connection, space_id, judged, worst)
    return [id_ for id_, _ in judged if id_ in bad][:most]


def read_bad_ratings(
    connection: Connection, space_id: int, days: tuple[date, date], worst: float, users: Sequence[str] = ()
) -> dict[str, BadRatings]:
    """Return for each route how many of the latest trajectories of ``days`` were rated bad, see ``bad_among``.

    And their quality without the trajectories with one of the labels ``users``.
    """
    first, last = days
    asked = {"space": space_id, "first": first, "last": last, "read": MOST_READ, "worst": worst, "users": [*users]}
    return {route: BadRatings(*counts) for route, *counts in driver_connection(connection).execute(COUNTED, asked)}
