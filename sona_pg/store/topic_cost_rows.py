"""Costs of the questions of each live pattern, by the latest trajectories: bounded, however large a space is."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.store.connect import driver_connection

LATEST = 5_000  # trajectories that are looked at
COMPARED = 500_000  # pairs of a trajectory and a pattern: 1 to 2 microseconds each
PATTERNS = "SELECT count(*) FROM sona.patterns WHERE space_id = %(space)s"
# As the daily figures: the real cost that was told last, else the one told at the end, else the decision's estimate.
COSTS = """
WITH latest AS MATERIALIZED (
    SELECT t.id, t.embedding, t.paid, t.cost FROM sona.trajectories t
    WHERE t.space_id = %(space)s ORDER BY t.id DESC LIMIT %(most)s
), costed AS MATERIALIZED (
    SELECT l.id, l.embedding, coalesce(
        (SELECT f.paid FROM sona.feedback f
         WHERE f.space_id = %(space)s AND f.trajectory_id = l.id AND f.paid IS NOT NULL
         ORDER BY f.sequence DESC, f.source DESC LIMIT 1), l.paid, l.cost) AS cost
    FROM latest l
), placed AS (
    SELECT c.cost, (
        SELECT p.pattern_id FROM sona.patterns p
        WHERE p.space_id = %(space)s AND p.dim = vector_dims(c.embedding)
        ORDER BY p.centroid <=> c.embedding::vector LIMIT 1
    ) AS pattern_id
    FROM costed c WHERE c.cost IS NOT NULL
)
SELECT p.pattern_id, count(*), sum(p.cost::float8) FROM placed p WHERE p.pattern_id IS NOT NULL
GROUP BY p.pattern_id ORDER BY 3 DESC, 1
"""
MORE = """
SELECT count(*) FROM (
    SELECT FROM sona.trajectories t WHERE t.space_id = %(space)s LIMIT %(most)s + 1
) t
"""


class TopicCost(NamedTuple):
    """Costs of a pattern's questions."""

    pattern: UUID
    costed: int  # questions with a cost
    cost: float  # their sum


class TopicCosts(NamedTuple):
    """Costs of each pattern's questions, the most costly first."""

    topics: list[TopicCost]
    latest: int | None  # of how many trajectories, the latest; None: of all


def read_topic_costs(connection: Connection, space_id: int) -> TopicCosts:
    """Return the costs of the questions of each live pattern, each question counted for the pattern nearest to it."""
    raw = driver_connection(connection)
    patterns = int((raw.execute(PATTERNS, {"space": space_id}).fetchone() or (0,))[0])
    asked = {"space": space_id, "most": min(LATEST, max(200, COMPARED // max(patterns, 1)))}
    topics = [TopicCost(*row) for row in raw.execute(COSTS, asked)]
    counted = int((raw.execute(MORE, asked).fetchone() or (0,))[0])
    return TopicCosts(topics, asked["most"] if counted > asked["most"] else None)
