"""Daily figures: notes which days new batches belong to, and computes the figures of these days anew.

A day is computed as a whole, by ``sona.figures_between``, so a figure never drifts from the ledger. A large day is
computed again only once ``PAUSES`` times as long has passed as it took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, NamedTuple

import psycopg

LOCK = 0x736F6E64  # 'sond', the advisory lock of summing up
SHORT_MS = 200  # duration of a day's computation up to which it is repeated at once
PAUSES = 20  # durations of a day's computation before the next one: at most a twentieth of one core
LIMIT = 60.0  # seconds of one run; the next one goes on

TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
CLOCK = "SELECT statement_timestamp()"
# Batches of the last minute are looked at again: a transaction commits later than its marker's time.
NEWS = """
SELECT s.space_id FROM sona.spaces s LEFT JOIN sona.summary_progress p ON p.space_id = s.space_id
WHERE EXISTS (
    SELECT FROM sona.batches b
    WHERE b.space_id = s.space_id AND b.recorded_at > coalesce(p.noted_until - interval '1 minute', '-infinity')
) OR EXISTS (SELECT FROM sona.summary_days d WHERE d.space_id = s.space_id AND d.stale_since IS NOT NULL)
ORDER BY s.space_id
"""
# Read before they are noted: on Citus a function may not ask other tables within a statement that is sent to a worker.
TOUCHED = """
SELECT n.day::text, max(n.touched_at) FROM sona.touched_days(%(space)s, coalesce(
    (SELECT p.noted_until - interval '1 minute' FROM sona.summary_progress p WHERE p.space_id = %(space)s),
    '-infinity')) n
GROUP BY n.day
"""
NOTE = """
INSERT INTO sona.summary_days AS known (space_id, day, stale_since)
SELECT %(space)s::int, t.day, %(at)s::timestamptz
FROM unnest(%(days)s::date[], %(touched)s::timestamptz[]) AS t (day, touched_at)
LEFT JOIN sona.summary_days d ON d.space_id = %(space)s AND d.day = t.day
WHERE d.summed_at IS NULL OR t.touched_at > d.summed_at - interval '1 minute'
ORDER BY t.day
ON CONFLICT (space_id, day) DO UPDATE SET stale_since = excluded.stale_since
WHERE known.space_id = excluded.space_id AND known.stale_since IS NULL
"""
PROGRESS = """
INSERT INTO sona.summary_progress AS known (space_id, noted_until) VALUES (%(space)s, %(at)s)
ON CONFLICT (space_id) DO UPDATE SET noted_until = excluded.noted_until
WHERE known.space_id = excluded.space_id AND known.noted_until < excluded.noted_until
"""
STALE = """
SELECT d.day::text FROM sona.summary_days d
WHERE d.space_id = %(space)s AND d.stale_since IS NOT NULL
  AND (d.summed_at IS NULL OR d.took_ms <= %(short)s
       OR d.summed_at + d.took_ms * %(pauses)s * interval '1 millisecond' <= %(at)s)
ORDER BY d.day DESC
"""
HOLD = "SELECT FROM sona.summary_days WHERE space_id = %(space)s AND day = %(day)s FOR UPDATE"
CLEAR = tuple(
    f"DELETE FROM sona.{table} WHERE space_id = %(space)s AND day = %(day)s"
    for table in ("daily_figures", "daily_decisions")
)
SUM_FIGURES = """
INSERT INTO sona.daily_figures (space_id, day, kind, name, trajectories, steps, facts, corrections, retractions, rated,
    quality, costed, cost, delays, delay_counts)
SELECT %(space)s, %(day)s, f.kind, f.name, f.trajectories, f.steps, f.facts, f.corrections, f.retractions, f.rated,
    f.quality, f.costed, f.cost, f.delays, f.delay_counts
FROM sona.figures_between(%(space)s, sona.first_id(%(day)s), sona.last_id(%(day)s)) f
"""
SUM_DECISIONS = """
INSERT INTO sona.daily_decisions (space_id, day, route, offered, taken, reward, reward_squares, weight, weight_squares,
    weighted, square_weighted, weighted_squares, largest_weight, costed, cost)
SELECT %(space)s, %(day)s, f.route, f.offered, f.taken, f.reward, f.reward_squares, f.weight, f.weight_squares,
    f.weighted, f.square_weighted, f.weighted_squares, f.largest_weight, f.costed, f.cost
FROM sona.decision_figures_between(%(space)s, sona.first_id(%(day)s), sona.last_id(%(day)s)) f
"""
SUMMED = """
UPDATE sona.summary_days SET summed_at = %(at)s, stale_since = NULL, took_ms = %(took_ms)s
WHERE space_id = %(space)s AND day = %(day)s
"""
GONE = "DELETE FROM sona.summary_days WHERE space_id = %(space)s AND day = %(day)s"
# Rows past retention are deleted by week, and those whose id tells no time with their batch: both days may have fewer.
EXPIRED = """
UPDATE sona.summary_days SET stale_since = %(at)s
WHERE space_id = %(space)s AND (day < %(before)s OR day = 'infinity') AND stale_since IS NULL
"""
ANEW = tuple(f"DELETE FROM sona.{table} WHERE space_id = %(space)s" for table in ("summary_progress", "summary_days"))


class SummedDay(NamedTuple):
    """A day whose figures were computed."""

    space_id: int
    day: str  # an ISO date, or one of -infinity and infinity
    figures: int  # rows of sona.daily_figures
    seconds: float


def expire(raw: psycopg.Connection[Any], space: int, before: date, at: datetime) -> int:
    """Have the days computed again from which retention may have deleted rows; return how many."""
    return raw.execute(EXPIRED, {"space": space, "before": before, "at": at}).rowcount


def note_anew(raw: psycopg.Connection[Any], space: int) -> None:
    """Have all days of a space noted and computed again: batches came in that are dated earlier."""
    for statement in ANEW:
        raw.execute(statement, {"space": space})


def sum_up(raw: psycopg.Connection[Any], at: datetime | None = None) -> Iterator[SummedDay]:
    """Compute the figures that are due in all spaces; yield each day once it is committed.

    Another process that is at work is left to it.

    Args:
        raw: an autocommit connection.
        at: the time in place of the database's clock, for tests.
    """
    until = time.monotonic() + LIMIT
    for (space,) in raw.execute(NEWS).fetchall():
        values: dict[str, Any] = {"space": space, "at": at or _clock(raw), "pauses": PAUSES, "short": SHORT_MS}
        try:
            with raw.transaction():
                if not _is_first(raw):
                    return
                _note(raw, values)
        except psycopg.errors.ForeignKeyViolation:  # the space was removed meanwhile
            continue
        for (day,) in raw.execute(STALE, values).fetchall():
            with raw.transaction():
                if not _is_first(raw):
                    return
                summed = _sum_day(raw, space, day, at)
            yield summed
            if time.monotonic() > until:
                return


def _note(raw: psycopg.Connection[Any], values: dict[str, Any]) -> None:
    """Note the days that new batches belong to."""
    touched = raw.execute(TOUCHED, values).fetchall()
    raw.execute(NOTE, {**values, "days": [day for day, _ in touched], "touched": [at for _, at in touched]})
    raw.execute(PROGRESS, values)


def _sum_day(raw: psycopg.Connection[Any], space: int, day: str, at: datetime | None) -> SummedDay:
    began = time.perf_counter()
    values: dict[str, Any] = {"space": space, "day": day, "at": at or _clock(raw)}  # before what is read
    raw.execute(HOLD, values)
    for statement in CLEAR:
        raw.execute(statement, values)
    figures = raw.execute(SUM_FIGURES, values).rowcount
    raw.execute(SUM_DECISIONS, values)
    took = time.perf_counter() - began
    raw.execute(SUMMED if figures else GONE, {**values, "took_ms": 1000 * took})
    return SummedDay(space, day, figures, round(took, 3))


def _is_first(raw: psycopg.Connection[Any]) -> bool:
    return raw.execute(TRY_LOCK).fetchone() == (True,)


def _clock(raw: psycopg.Connection[Any]) -> datetime:
    row = raw.execute(CLOCK).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at
