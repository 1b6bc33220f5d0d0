"""Changes of the mean quality, and their parts, as the functions of SQL find them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.level_change import ChangePart, FactsRevision, LevelChange, RouteChange
from sona_pg.domain.period_figures import DaySums
from sona_pg.domain.route_choice import RatingsSince
from sona_pg.store.connect import driver_connection

SPACE = "SELECT name FROM sona.spaces WHERE space_id = %(space)s"  # it may have been renamed
CHANGES = """
SELECT changed_on, difference, low, high, before_from, before_rated, before_quality, after_until, after_rated,
    after_quality, chance, earliest, latest
FROM sona.quality_changes(%(name)s, %(days)s) ORDER BY changed_on
"""
PARTS = """
SELECT kind, name, title, before_rated, before_quality, after_rated, after_quality, before_share, after_share,
    share_effect, quality_effect, effect, is_clear, sampled, own_effect, first_day, last_day
FROM sona.change_parts(%(name)s, %(day)s, %(before_from)s, %(after_until)s)
"""

ROUTES = """
SELECT route, changed_on, before_from, before_rated, before_quality, after_until, after_rated, after_quality,
    others_before, others_after, chance, former_from, former_rated, former_quality
FROM sona.route_changes(%(name)s, %(days)s) ORDER BY after_rated * abs(after_quality - before_quality) DESC, route
"""

# Batches of the last minute before days were noted are looked at again, as summing up does: a transaction commits later
# than its marker's time.
REVISION = """
SELECT (now() AT TIME ZONE 'UTC')::date, b.batches, b.newest, d.days, d.summed_at, d.stale, d.stale_since, e.removed
FROM (
    SELECT count(*) AS batches, max(k.recorded_at) AS newest FROM sona.batches k
    WHERE k.space_id = %(space)s AND k.recorded_at > coalesce(
        (SELECT p.noted_until - interval '1 minute' FROM sona.summary_progress p WHERE p.space_id = %(space)s),
        '-infinity')
) b CROSS JOIN (
    SELECT count(*) AS days, max(k.summed_at) AS summed_at, count(k.stale_since) AS stale,
           max(k.stale_since) AS stale_since
    FROM sona.summary_days k WHERE k.space_id = %(space)s
) d CROSS JOIN (
    SELECT (count(*) + coalesce(sum(k.late), 0))::bigint AS removed FROM sona.erasures k WHERE k.space_id = %(space)s
) e
"""

# Of routes that got worse, what was rated of each topic since.
SINCE = """
SELECT j.pattern_id, c.route, c.since, count(*)::int, avg(j.quality)
FROM unnest(%(routes)s::text[], %(days)s::date[]) AS c (route, since)
JOIN sona.judged_topics(%(space)s, %(first)s, %(last)s) j ON j.route = c.route AND sona.day_of(j.id) >= c.since
WHERE j.pattern_id IS NOT NULL
GROUP BY 1, 2, 3
"""

# By how much more neighbouring days differ than chance explains; the running sums begin with a 0.
EXCESS = "SELECT (sona.level_spread(%(rated)s::float8[], %(quality)s::float8[], 0, %(days)s)).excess"


def read_changes(connection: Connection, space_id: int, days: int) -> list[LevelChange]:
    """Return the changes of the last ``days``, oldest first."""
    asked = {"name": _name(connection, space_id), "days": days}
    return [LevelChange(*row) for row in driver_connection(connection).execute(CHANGES, asked)]


def read_parts(
    connection: Connection, space_id: int, day: date, before_from: date, after_until: date
) -> list[ChangePart]:
    """Return what a change came with, the largest effect first."""
    asked = {
        "name": _name(connection, space_id), "day": day, "before_from": before_from, "after_until": after_until,
    }  # fmt: skip
    return [ChangePart(*row) for row in driver_connection(connection).execute(PARTS, asked)]


def read_route_changes(connection: Connection, space_id: int, days: int) -> list[RouteChange]:
    """Return the routes whose own quality changed in the last ``days``, those that changed most ratings first."""
    asked = {"name": _name(connection, space_id), "days": days}
    return [RouteChange(*row) for row in driver_connection(connection).execute(ROUTES, asked)]


def read_excess(connection: Connection, days: Sequence[DaySums]) -> float:
    """Return by how much more days, which all have ratings, differ than chance explains; 1: no more."""
    if not days:
        return 1.0
    rated = [0.0, *itertools.accumulate(float(one.rated) for one in days)]
    quality = [0.0, *itertools.accumulate(float(one.quality) for one in days)]
    asked = {"rated": rated, "quality": quality, "days": len(days)}
    row = driver_connection(connection).execute(EXCESS, asked).fetchone()
    assert row is not None
    return float(row[0])


def read_revision(connection: Connection, space_id: int) -> FactsRevision:
    """Return the state of the facts that daily figures are of."""
    row = driver_connection(connection).execute(REVISION, {"space": space_id}).fetchone()
    assert row is not None
    return FactsRevision(*row)


def read_since(
    connection: Connection, space_id: int, worse: Sequence[RouteChange]
) -> dict[UUID, dict[str, RatingsSince]]:
    """Return the ratings of each pattern for routes that got worse, since then."""
    asked = {
        "space": space_id, "routes": [one.route for one in worse], "days": [one.changed_on for one in worse],
        "first": min(one.changed_on for one in worse), "last": max(one.after_until for one in worse),
    }  # fmt: skip
    found: dict[UUID, dict[str, RatingsSince]] = {}
    for pattern, route, since, rated, quality in driver_connection(connection).execute(SINCE, asked):
        found.setdefault(pattern, {})[route] = RatingsSince(since, rated, quality)
    return found


def _name(connection: Connection, space_id: int) -> str:
    row = driver_connection(connection).execute(SPACE, {"space": space_id}).fetchone()
    return "" if row is None else str(row[0])
