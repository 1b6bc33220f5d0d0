"""Feedback that finds no trajectory in its space."""

from __future__ import annotations

from typing import Any

import psycopg

from sona_pg.domain.strayed_feedback import StrayedFeedback

# Joined by space, so that each node of Citus answers for its own. Of the last days: what retention has left of earlier
# feedback may be without its trajectory.
STRAYED = """
SELECT s.space_id, s.name, count(*)::bigint, min(f.recorded_at)
FROM sona.feedback f JOIN sona.spaces s ON s.space_id = f.space_id
WHERE f.recorded_at BETWEEN now() - interval '7 days' AND now() - interval '1 hour' AND NOT EXISTS (
    SELECT FROM sona.trajectories t WHERE t.space_id = f.space_id AND t.id = f.trajectory_id
)"""
GROUPED = " GROUP BY s.space_id, s.name ORDER BY 3 DESC"
OF_ALL = STRAYED + GROUPED
OF_ONE = f"{STRAYED} AND f.space_id = %(space)s{GROUPED}"


def strayed_feedback(raw: psycopg.Connection[Any], space_id: int | None = None) -> list[StrayedFeedback]:
    """Return the spaces that have such feedback, or the one with this number, those with most of it first."""
    found = raw.execute(OF_ALL) if space_id is None else raw.execute(OF_ONE, {"space": space_id})
    return [StrayedFeedback(*row) for row in found]
