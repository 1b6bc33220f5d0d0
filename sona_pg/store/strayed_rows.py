"""Feedback that finds no trajectory in its space, apart from what retention explains."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from sona_pg.domain.act import WHOLE_STORE
from sona_pg.domain.strayed_feedback import StrayedFeedback

MAY_READ = "SELECT has_table_privilege('sona.acts', 'SELECT') AND has_table_privilege('sona.erasures', 'SELECT')"
# Retention deletes by whole weeks, of a space or of the whole store, and notes it. A copied space has no such notes.
EXPIRED = """
SELECT a.space_id, max(CASE a.act WHEN 'facts expired' THEN (a.details ->> 'before')::date
                       ELSE (a.details ->> 'week')::date + 7 END)
FROM sona.acts a
WHERE a.act = 'facts expired' OR (a.act = 'weeks dropped' AND a.details -> 'tables' ? 'trajectories')
GROUP BY a.space_id
"""
# An erasure keeps no ids: any request from before it may be one that it has removed.
ERASED = "SELECT e.space_id, max(e.until_id::text) FROM sona.erasures e GROUP BY e.space_id"
# Only a UUIDv7 carries its time. Joined by space alone, so that each node of Citus answers for its own.
STRAYED = """
SELECT g.space_id, g.name, count(*) FILTER (WHERE NOT g.is_expired)::bigint,
       min(g.recorded_at) FILTER (WHERE NOT g.is_expired), count(*) FILTER (WHERE g.is_expired)::bigint,
       count(*) FILTER (WHERE g.is_before_erasure AND NOT g.is_expired)::bigint
FROM (
    SELECT s.space_id, s.name, f.recorded_at, substr(f.trajectory_id::text, 15, 1) = '7' AND coalesce(
               f.trajectory_id < sona.uuid_floor(greatest(
                   (date_trunc('week', now() AT TIME ZONE 'UTC') - s.keep_weeks * interval '7 days') AT TIME ZONE 'UTC',
                   (%(expired)s::jsonb ->> s.space_id::text)::date::timestamp AT TIME ZONE 'UTC',
                   (%(expired)s::jsonb ->> '{store}')::date::timestamp AT TIME ZONE 'UTC')), false) AS is_expired,
           coalesce(f.trajectory_id < (%(erased)s::jsonb ->> s.space_id::text)::uuid, false) AS is_before_erasure
    FROM sona.feedback f JOIN sona.spaces s ON s.space_id = f.space_id
    WHERE f.recorded_at BETWEEN now() - interval '7 days' AND now() - interval '1 hour' AND NOT EXISTS (
        SELECT FROM sona.trajectories t WHERE t.space_id = f.space_id AND t.id = f.trajectory_id
    ){which}
) g GROUP BY g.space_id, g.name ORDER BY 3 DESC, 5 DESC, g.name
"""
OF_ALL = STRAYED.format(store=WHOLE_STORE, which="")
OF_ONE = STRAYED.format(store=WHOLE_STORE, which=" AND f.space_id = %(space)s")


def strayed_feedback(raw: psycopg.Connection[Any], space_id: int | None = None) -> list[StrayedFeedback]:
    """Return the spaces that have such feedback, or the one with this number, those with most of it first."""
    may_read = raw.execute(MAY_READ).fetchone() == (True,)  # a role may have no grants on these since an upgrade
    expired, erased = (
        json.dumps({space: str(at) for space, at in raw.execute(query)} if may_read else {})
        for query in (EXPIRED, ERASED)
    )
    values = {"expired": expired, "erased": erased, "space": space_id}
    return [StrayedFeedback(*row) for row in raw.execute(OF_ALL if space_id is None else OF_ONE, values)]
