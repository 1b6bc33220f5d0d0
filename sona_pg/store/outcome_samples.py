"""Samples of outcomes, and facts with the version that learned them: bounded reads, however large a space is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.ids import made_at
from sona_pg.domain.overview_figures import SampledOutcome, ToldFact
from sona_pg.store.admin.weeks import id_floor
from sona_pg.store.connect import driver_connection

# A range of ids and a limit for each span, so that a space of any size is read by its primary key alone.
SAMPLE = """
SELECT span.place, t.route,
       coalesce((SELECT avg(CASE WHEN f.correction IS NULL THEN f.quality ELSE (f.correction = t.route)::int END)
                 FROM sona.latest_feedback f WHERE f.space_id = %(space)s AND f.trajectory_id = t.id), t.quality),
       t.latency_us, t.cost,
       coalesce((SELECT c.paid FROM sona.feedback c
                 WHERE c.space_id = %(space)s AND c.trajectory_id = t.id AND c.paid IS NOT NULL
                 ORDER BY c.sequence DESC, c.source DESC LIMIT 1), t.paid)
FROM unnest(%(firsts)s::uuid[], %(ends)s::uuid[]) WITH ORDINALITY AS span (first, beyond, place)
CROSS JOIN LATERAL (
    SELECT t.id, t.route, t.quality, t.latency_us, t.cost, t.paid
    FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id >= span.first AND t.id < span.beyond
    ORDER BY t.id LIMIT %(each)s
) t
"""
OLDEST = "SELECT id FROM sona.trajectories WHERE space_id = %(space)s AND id >= %(since)s ORDER BY id LIMIT 1"
NEWEST = "SELECT id FROM sona.trajectories WHERE space_id = %(space)s ORDER BY id DESC LIMIT 1"
# Facts are found by their trajectories: their own time has no index.
FACTS = """
SELECT t.id, f.recorded_at, f.source, f.quality, f.correction, f.paid, t.query, t.route
FROM (
    SELECT t.id, t.query, t.route FROM sona.trajectories t
    WHERE t.space_id = %(space)s ORDER BY t.id DESC LIMIT %(trajectories)s
) t
JOIN LATERAL (
    SELECT f.recorded_at, f.source, f.quality, f.correction, f.paid FROM sona.feedback f
    WHERE f.space_id = %(space)s AND f.trajectory_id = t.id
) f ON true
ORDER BY f.recorded_at DESC LIMIT %(most)s
"""
LEARNED = """
SELECT wanted.id,
       (SELECT f.correction FROM sona.feedback f
        WHERE f.space_id = %(space)s AND f.trajectory_id = wanted.id AND f.correction IS NOT NULL
        ORDER BY f.recorded_at DESC, f.sequence DESC LIMIT 1),
       (SELECT c.version FROM sona.batches b
        JOIN sona.cycles c ON c.space_id = %(space)s AND c.cycle_id = b.cycle_id
        WHERE b.space_id = %(space)s AND b.batch = t.batch),
       (SELECT max(c.version) FROM sona.feedback f
        JOIN sona.batches b ON b.space_id = %(space)s AND b.batch = f.batch
        JOIN sona.cycles c ON c.space_id = %(space)s AND c.cycle_id = b.cycle_id
        WHERE f.space_id = %(space)s AND f.trajectory_id = wanted.id)
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
JOIN LATERAL (SELECT t.batch FROM sona.trajectories t WHERE t.space_id = %(space)s AND t.id = wanted.id) t ON true
"""


class TimeSpan(NamedTuple):
    """A span of time, without its end."""

    start: datetime
    end: datetime


class FoundFact(NamedTuple):
    """Which versions have learned a trajectory and its feedback."""

    correction: str | None
    version: int | None
    feedback_version: int | None


def read_bounds(connection: Connection, space_id: int, since: datetime) -> TimeSpan | None:
    """Return the times of the oldest trajectory since ``since`` and of the newest one; None without any."""
    raw = driver_connection(connection)
    first = raw.execute(OLDEST, {"space": space_id, "since": id_floor(since)}).fetchone()
    last = raw.execute(NEWEST, {"space": space_id}).fetchone()
    return None if first is None or last is None else TimeSpan(made_at(first[0]), made_at(last[0]))


def read_samples(connection: Connection, space_id: int, spans: Sequence[TimeSpan], each: int) -> list[SampledOutcome]:
    """Return the outcomes of the first ``each`` trajectories of each span."""
    asked = {
        "space": space_id,
        "each": each,
        "firsts": [id_floor(span.start) for span in spans],
        "ends": [id_floor(span.end) for span in spans],
    }
    rows = driver_connection(connection).execute(SAMPLE, asked)
    return [SampledOutcome(int(place) - 1, *rest) for place, *rest in rows]


def read_facts(connection: Connection, space_id: int, trajectories: int, most: int) -> list[ToldFact]:
    """Return the latest ``most`` facts about the newest ``trajectories``, latest first."""
    asked = {"space": space_id, "trajectories": trajectories, "most": most}
    return [ToldFact(*row) for row in driver_connection(connection).execute(FACTS, asked)]


def read_learned_by(connection: Connection, space_id: int, ids: Sequence[UUID]) -> dict[UUID, FoundFact]:
    """Return for each trajectory its latest correction, and the versions that have learned it and its feedback."""
    rows = driver_connection(connection).execute(LEARNED, {"space": space_id, "ids": list(ids)})
    return {row[0]: FoundFact(*row[1:]) for row in rows}
