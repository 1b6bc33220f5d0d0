"""Sums and samples of outcomes, and the versions that learned them: bounded, however large a space is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.ids import made_at
from sona_pg.domain.overview_figures import SpanSums
from sona_pg.store.admin.weeks import id_floor
from sona_pg.store.connect import driver_connection

MOST_READ = 100_000  # trajectories that curves count one by one: more are sampled
# A range of ids and a limit for each span, so that a space of any size is read by its primary key alone.
SAMPLE = """
SELECT s.place, count(*), count(s.quality), coalesce(sum(s.quality), 0)::float8
FROM (
    SELECT span.place,
           coalesce((SELECT avg(CASE WHEN f.correction IS NULL THEN f.quality ELSE (f.correction = t.route)::int END)
                     FROM sona.latest_feedback f WHERE f.space_id = %(space)s AND f.trajectory_id = t.id), t.quality)
           AS quality
    FROM unnest(%(firsts)s::uuid[], %(ends)s::uuid[]) WITH ORDINALITY AS span (first, beyond, place)
    CROSS JOIN LATERAL (
        SELECT t.id, t.route, t.quality FROM sona.trajectories t
        WHERE t.space_id = %(space)s AND t.id >= span.first AND t.id < span.beyond
        ORDER BY t.id LIMIT %(each)s
    ) t
) s
GROUP BY s.place
"""
COUNTED = """
SELECT count(*) FROM (
    SELECT FROM sona.trajectories t WHERE t.space_id = %(space)s AND t.id >= %(first)s AND t.id < %(beyond)s
    LIMIT %(most)s + 1
) t
"""
SUMMED = """
SELECT width_bucket(j.id, %(firsts)s::uuid[]), count(*), count(j.quality), coalesce(sum(j.quality), 0)::float8
FROM sona.judged_between(%(space)s, %(first)s, %(beyond)s) j
WHERE j.id < %(beyond)s
GROUP BY 1
"""
OLDEST = "SELECT id FROM sona.trajectories WHERE space_id = %(space)s AND id >= %(since)s ORDER BY id LIMIT 1"
NEWEST = "SELECT id FROM sona.trajectories WHERE space_id = %(space)s ORDER BY id DESC LIMIT 1"
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
        WHERE f.space_id = %(space)s AND f.trajectory_id = wanted.id),
       CASE WHEN t.propensity IS NOT NULL THEN t.policy_version END,
       ARRAY(SELECT last.source FROM (
           SELECT DISTINCT ON (f.source) f.source, f.quality, f.correction FROM sona.feedback f
           WHERE f.space_id = %(space)s AND f.trajectory_id = wanted.id
           ORDER BY f.source, f.recorded_at DESC, f.sequence DESC
       ) last
       WHERE last.quality IS NOT NULL OR last.correction IS NOT NULL ORDER BY last.source)
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
JOIN LATERAL (
    SELECT t.batch, t.propensity, t.policy_version FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id = wanted.id
) t ON true
"""


class TimeSpan(NamedTuple):
    """A span of time, without its end."""

    start: datetime
    end: datetime


class FoundFact(NamedTuple):
    """Which versions have learned a trajectory and its feedback, which one chose its route, and whose word stands."""

    correction: str | None
    version: int | None
    feedback_version: int | None
    decided_by: int | None
    sources: Sequence[str]


def read_bounds(connection: Connection, space_id: int, since: datetime) -> TimeSpan | None:
    """Return the times of the oldest trajectory since ``since`` and of the newest one; None without any."""
    raw = driver_connection(connection)
    first = raw.execute(OLDEST, {"space": space_id, "since": id_floor(since)}).fetchone()
    last = raw.execute(NEWEST, {"space": space_id}).fetchone()
    return None if first is None or last is None else TimeSpan(made_at(first[0]), made_at(last[0]))


def read_sums(connection: Connection, space_id: int, spans: Sequence[TimeSpan]) -> list[SpanSums] | None:
    """Return the sums of spans of which each ends where the next begins; None if they hold more than ``MOST_READ``."""
    raw = driver_connection(connection)
    firsts = list(accumulate((id_floor(span.start) for span in spans), max))  # width_bucket asks for an order
    asked = {"space": space_id, "first": firsts[0], "beyond": id_floor(spans[-1].end), "most": MOST_READ}
    counted = raw.execute(COUNTED, asked).fetchone()
    if counted is None or counted[0] > MOST_READ:
        return None
    return _by_place(raw.execute(SUMMED, asked | {"firsts": firsts}), len(spans))


def read_samples(connection: Connection, space_id: int, spans: Sequence[TimeSpan], each: int) -> list[SpanSums]:
    """Return the sums of the first ``each`` trajectories of each span."""
    asked = {
        "space": space_id,
        "each": each,
        "firsts": [id_floor(span.start) for span in spans],
        "ends": [id_floor(span.end) for span in spans],
    }
    return _by_place(driver_connection(connection).execute(SAMPLE, asked), len(spans))


def _by_place(rows: Iterable[tuple[int, int, int, float]], count: int) -> list[SpanSums]:
    found = {place: SpanSums(trajectories, rated, quality) for place, trajectories, rated, quality in rows}
    return [found.get(place + 1, SpanSums(0, 0, 0.0)) for place in range(count)]


def read_learned_by(connection: Connection, space_id: int, ids: Sequence[UUID]) -> dict[UUID, FoundFact]:
    """Return for each trajectory its latest correction, and the versions that have learned it and its feedback."""
    rows = driver_connection(connection).execute(LEARNED, {"space": space_id, "ids": list(ids)})
    return {row[0]: FoundFact(*row[1:]) for row in rows}
