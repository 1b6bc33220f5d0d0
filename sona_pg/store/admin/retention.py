"""Retention: deletes expired rows by the database's clock, and keeps facts that no cycle has learned from.

A trajectory is deleted with its week (``drop_week``) or from the default partitions (``expire``), once its batch and
its feedback have been learned from. Dependent rows follow: markers of empty batches, cycles without a batch, candidate
sets that no trajectory names, reasons of deleted trajectories that were set aside.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from sona_pg.domain.act import WHOLE_STORE
from sona_pg.limits import MOST_ACTS, MOST_RECEIPTS
from sona_pg.store import acts
from sona_pg.store.admin.weeks import LAST_ID, Week, drop, id_floor, table, weeks_of
from sona_pg.store.recorded_tables import SQL_SERVER

FAR = timedelta(weeks=53)  # an id further in the future carries no usable time
NAMED = timedelta(days=2)  # maximal lag of ``candidate_sets.named_at``, which is updated daily

# -- the ledger ---------------------------------------------------------------------------------------------

# Unlearned markers first: usually there are none, and the week's partition is not read.
UNLEARNED_TRAJECTORIES = sql.SQL("""
SELECT count(*) FROM (
    SELECT b.space_id, b.batch FROM sona.batches b
    WHERE b.cycle_id IS NULL AND b.left_out_by IS NULL AND b.first_id < %(end)s AND b.last_id >= %(first)s
) b JOIN {trajectories} t ON t.space_id = b.space_id AND t.batch = b.batch
WHERE t.id >= %(first)s AND t.id < %(end)s
""")
UNLEARNED_FEEDBACK = sql.SQL("""
SELECT count(*) FROM (
    SELECT b.space_id, b.batch FROM sona.batches b
    WHERE b.cycle_id IS NULL AND b.left_out_by IS NULL AND b.feedback > 0
) b
JOIN {feedback} f ON f.space_id = b.space_id AND f.batch = b.batch
WHERE f.trajectory_id >= %(first)s AND f.trajectory_id < %(end)s
""")
LOCK = sql.SQL("LOCK TABLE {parent} IN ACCESS EXCLUSIVE MODE")

# Ids without a usable time expire with their batch: once its marker is deleted, or older than retention.
EXPIRE = """
WITH gone AS (
    DELETE FROM sona.trajectories_rest t
    WHERE CASE
            WHEN substr(t.id::text, 15, 1) = '7' AND t.id < %(far)s THEN t.id < %(end)s
            ELSE NOT EXISTS (
                SELECT FROM sona.batches b
                WHERE b.space_id = t.space_id AND b.batch = t.batch AND b.recorded_at >= %(since)s)
        END
        AND (%(unlearned)s OR NOT EXISTS (
            SELECT FROM sona.batches b
            WHERE b.space_id = t.space_id AND b.batch = t.batch AND b.cycle_id IS NULL AND b.left_out_by IS NULL))
        AND (%(unlearned)s OR NOT EXISTS (
            SELECT FROM sona.feedback_rest f
            JOIN sona.batches b ON b.space_id = f.space_id AND b.batch = f.batch AND b.cycle_id IS NULL
                AND b.left_out_by IS NULL
            WHERE f.space_id = t.space_id AND f.trajectory_id = t.id))
    RETURNING t.space_id, t.id
), said AS (
    DELETE FROM sona.feedback_rest f USING gone WHERE f.space_id = gone.space_id AND f.trajectory_id = gone.id
), taken AS (
    DELETE FROM sona.steps_rest s USING gone WHERE s.space_id = gone.space_id AND s.trajectory_id = gone.id
)
SELECT count(*) FROM gone
"""
EXPIRE_STEPS = """
DELETE FROM sona.steps_rest s
WHERE s.trajectory_id < %(end)s AND substr(s.trajectory_id::text, 15, 1) = '7'
  AND (%(unlearned)s OR NOT EXISTS (
      SELECT FROM sona.trajectories_rest t
      JOIN sona.batches b ON b.space_id = t.space_id AND b.batch = t.batch AND b.cycle_id IS NULL
          AND b.left_out_by IS NULL
      WHERE t.space_id = s.space_id AND t.id = s.trajectory_id))
"""
GIVE_UP = sql.SQL("""
WITH gone AS (
    DELETE FROM {feedback} f
    WHERE f.space_id = %(space)s AND f.recorded_at < %(before)s
      AND NOT EXISTS (
          SELECT FROM sona.trajectories t
          WHERE t.space_id = %(space)s AND t.id = f.trajectory_id AND t.id >= %(first)s AND t.id <= %(last)s)
      AND (%(unlearned)s OR NOT EXISTS (
          SELECT FROM sona.batches b WHERE b.space_id = %(space)s AND b.batch = f.batch AND b.cycle_id IS NULL
              AND b.left_out_by IS NULL))
    RETURNING 1
), counted AS (SELECT count(*) AS facts FROM gone)
UPDATE sona.spaces SET given_up_feedback = given_up_feedback + counted.facts
FROM counted WHERE sona.spaces.space_id = %(space)s AND counted.facts > 0
RETURNING counted.facts
""")

# -- rows that depend on the ledger-----------------------------------------------------------------------------

# A learner treats a batch without a marker as learned; no kept row belongs to a batch this old.
COMPACT = f"""
WITH gone AS (
    DELETE FROM sona.batches
    WHERE space_id = %(space)s AND (cycle_id IS NOT NULL OR left_out_by IS NOT NULL) AND recorded_at < %(before)s
      AND (last_id IS NULL OR last_id < %(first)s OR last_id >= %(far)s OR substr(last_id::text, 15, 1) <> '7')
    RETURNING server_id = '{SQL_SERVER}' AS by_sql, trajectories, feedback
), summed AS (
    SELECT count(*) AS batches, coalesce(sum(trajectories) FILTER (WHERE by_sql), 0) AS trajectories,
           coalesce(sum(feedback) FILTER (WHERE by_sql), 0) AS feedback
    FROM gone
), counted AS (
    UPDATE sona.spaces
    SET departed_trajectories = departed_trajectories + summed.trajectories,
        departed_feedback = departed_feedback + summed.feedback
    FROM summed WHERE sona.spaces.space_id = %(space)s AND summed.trajectories + summed.feedback > 0
)
SELECT batches FROM summed
"""
# A failed cycle claimed nothing, so no batch refers to it. The cycles of a kept version stay even if they were undone
# since, because a rollback to that version restores them. Facts of undone cycles no longer count as learned.
FORGET_CYCLES = """
WITH gone AS (
    DELETE FROM sona.cycles c
    WHERE c.space_id = %(space)s AND c.started_at < CASE WHEN c.error IS NULL THEN %(before)s ELSE %(failed)s END
      AND NOT EXISTS (SELECT FROM sona.batches b WHERE b.space_id = %(space)s AND b.cycle_id = c.cycle_id)
      AND NOT EXISTS (SELECT FROM sona.state_versions v WHERE v.space_id = %(space)s AND v.cycle_id = c.cycle_id)
      AND NOT EXISTS (
          SELECT FROM sona.state_versions v
          WHERE v.space_id = %(space)s AND v.version <@ c.in_force AND NOT upper_inf(c.in_force))
    RETURNING CASE WHEN c.in_force IS NULL OR upper_inf(c.in_force) THEN c.trajectories + c.feedback ELSE 0 END AS facts
), summed AS (SELECT count(*) AS cycles, sum(facts) AS facts FROM gone)
UPDATE sona.spaces SET departed_learned = departed_learned + summed.facts
FROM summed WHERE sona.spaces.space_id = %(space)s AND summed.cycles > 0
RETURNING summed.cycles
"""
UNNAMED_SETS = "SELECT EXISTS (SELECT FROM sona.candidate_sets WHERE space_id = %(space)s AND named_at < %(before)s)"
FORGET_SETS = """
DELETE FROM sona.candidate_sets s
WHERE s.space_id = %(space)s AND s.named_at < %(before)s
  AND NOT EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = %(space)s AND t.candidate_set = s.set_id)
"""
# The remaining sets are named by kept trajectories: checked again once those may have expired.
STILL_NAMED = "UPDATE sona.candidate_sets SET named_at = %(at)s WHERE space_id = %(space)s AND named_at < %(before)s"
FORGET_IMPORTED = """
DELETE FROM sona.imported_ids i
WHERE i.space_id = %(space)s AND (i.trajectory_id < %(first)s OR i.trajectory_id >= %(far)s)
  AND NOT EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = %(space)s AND t.id = i.trajectory_id)
"""
FORGET_REASONS = """
DELETE FROM sona.set_aside s
WHERE s.space_id = %(space)s
  AND (s.trajectory_id < %(first)s OR s.trajectory_id >= %(far)s OR substr(s.trajectory_id::text, 15, 1) <> '7')
  AND NOT EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = %(space)s AND t.id = s.trajectory_id)
"""

# One statement each: a trajectory is given up as a whole, by its latest part.
FORGET_SHARED = """
DELETE FROM sona.shared_trajectories s
WHERE s.space_id = %(space)s AND s.recorded_at < %(before)s AND NOT EXISTS (
    SELECT FROM sona.shared_trajectories later
    WHERE later.space_id = %(space)s AND later.trajectory_id = s.trajectory_id AND later.recorded_at >= %(before)s
)
"""
FORGET_REQUESTS = "DELETE FROM sona.idempotent_requests WHERE space_id = %(space)s AND recorded_at < %(before)s"
FORGET_TELEMETRY = "DELETE FROM sona.telemetry_ids WHERE space_id = %(space)s AND recorded_at < %(before)s"
# A kept version may bring a pattern back.
FORGET_USES = """
DELETE FROM sona.pattern_uses u
WHERE u.space_id = %(space)s
  AND NOT EXISTS (SELECT FROM sona.patterns p WHERE p.space_id = %(space)s AND p.pattern_id = u.pattern_id)
  AND NOT EXISTS (SELECT FROM sona.version_patterns v WHERE v.space_id = %(space)s AND v.pattern_id = u.pattern_id)
"""
FORGET_ERASURES = f"""
DELETE FROM sona.erasures e WHERE e.space_id = %(space)s AND e.phase = 'done' AND e.erasure_id NOT IN (
    SELECT n.erasure_id FROM sona.erasures n WHERE n.space_id = %(space)s
    ORDER BY n.requested_at DESC LIMIT {MOST_RECEIPTS}
)
"""

# -- spaces that were removed -------------------------------------------------------------------------------

WITHOUT_SPACE = ("batches", "trajectories", "steps", "feedback", "sealed_weeks", "set_aside", "candidate_sets")
# Numbers above the sequence are ignored: during a restore, spaces may be missing while the sequence is at its start.
LAST_NUMBER = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('sona.space_names', 'space_id')), 0)"
NUMBERS = ("SELECT space_id FROM sona.spaces", "SELECT space_id FROM sona.space_names")
# By stretches of removed numbers: there are no more of them than spaces, however many were removed.
ORPHANS = sql.SQL("""
SELECT DISTINCT t.space_id
FROM unnest(%(first)s::int[], %(last)s::int[]) AS gone (first, last)
JOIN {table} t ON t.space_id >= gone.first AND t.space_id <= gone.last
WHERE NOT EXISTS (SELECT FROM sona.batches b WHERE b.space_id = t.space_id AND b.recorded_at >= %(since)s)
""")
DELETE_ORPHANS = sql.SQL("DELETE FROM {table} WHERE space_id = %(space)s")


def unlearned(raw: psycopg.Connection[Any], week: Week, parents: list[str]) -> int:
    """Return the number of trajectories and feedback facts of a week that no cycle has learned from."""
    span = {"first": week.first_id, "end": week.end_id}
    asked = [UNLEARNED_TRAJECTORIES.format(trajectories=table("trajectories"))]
    if "feedback" in parents:
        asked.append(UNLEARNED_FEEDBACK.format(feedback=table("feedback")))
    return sum(_count(raw, query, span) for query in asked)


def drop_week(raw: psycopg.Connection[Any], week: Week, parents: list[str], *, even_unlearned: bool) -> int:
    """Drop the week's partitions of ``parents``; return the number of unlearned facts if these prevent it.

    Counted under exclusive locks, so no fact is committed in between.
    """
    for parent in parents:
        raw.execute(LOCK.format(parent=table(parent)))
    waiting = 0 if even_unlearned else unlearned(raw, week, parents)
    if not waiting:
        drop(raw, week, parents)
        acts.note(raw, WHOLE_STORE, "weeks dropped", {"week": f"{week.monday:%Y-%m-%d}", "tables": parents})
    return waiting


def expire(raw: psycopg.Connection[Any], oldest: Week, at: datetime, *, even_unlearned: bool) -> int:
    """Delete trajectories older than ``oldest``, with their steps and feedback, from the default partitions."""
    values = {"end": oldest.first_id, "far": id_floor(at + FAR), "since": oldest.monday, "unlearned": even_unlearned}
    return _count(raw, EXPIRE, values)


def expire_steps(raw: psycopg.Connection[Any], oldest: Week, *, even_unlearned: bool) -> int:
    """Delete steps that are older than ``oldest`` from their default partition."""
    return raw.execute(EXPIRE_STEPS, {"end": oldest.first_id, "unlearned": even_unlearned}).rowcount


def give_up(
    raw: psycopg.Connection[Any], space: int, week: Week | None, before: datetime, *, even_unlearned: bool
) -> int:
    """Delete feedback recorded ``before`` whose trajectory never arrived, and count it in ``sona.spaces``.

    Reads the partition of ``week``, or the default one.
    """
    name = "feedback_rest" if week is None else week.partition("feedback")
    first, last = (UUID(int=0), LAST_ID) if week is None else (week.first_id, week.end_id)
    values = {"space": space, "before": before, "first": first, "last": last, "unlearned": even_unlearned}
    return _count(raw, GIVE_UP.format(feedback=table(name)), values)


def compact(raw: psycopg.Connection[Any], space: int, before: datetime, at: datetime) -> int:
    """Delete the markers of learned batches without kept rows; those of SQL functions count as departed."""
    values = {"space": space, "before": before, "first": id_floor(before), "far": id_floor(at + FAR)}
    return _count(raw, COMPACT, values)


def forget_cycles(raw: psycopg.Connection[Any], space: int, before: datetime, failed: datetime) -> int:
    """Delete cycles older than ``before`` (failed ones: than ``failed``) without a batch or a version."""
    return _count(raw, FORGET_CYCLES, {"space": space, "before": before, "failed": failed})


def forget_sets(raw: psycopg.Connection[Any], space: int, before: datetime, at: datetime) -> int:
    """Delete candidate sets last named ``before`` that no kept trajectory names.

    Reads all trajectories of the space if there is such a set, so ``before`` should move by whole weeks.
    """
    values = {"space": space, "before": before - NAMED, "at": at}
    if raw.execute(UNNAMED_SETS, values).fetchone() != (True,):
        return 0
    gone = raw.execute(FORGET_SETS, values).rowcount
    raw.execute(STILL_NAMED, values)
    return gone


def forget_reasons(raw: psycopg.Connection[Any], space: int, before: datetime, at: datetime) -> int:
    """Delete the reasons of deleted trajectories that were set aside."""
    values = {"space": space, "first": id_floor(before), "far": id_floor(at + FAR)}
    return raw.execute(FORGET_REASONS, values).rowcount


def forget_imported(raw: psycopg.Connection[Any], space: int, before: datetime, at: datetime) -> int:
    """Delete the files' own ids of imported trajectories that were deleted."""
    return raw.execute(FORGET_IMPORTED, {"space": space, "first": id_floor(before), "far": id_floor(at + FAR)}).rowcount


def forget_shared(raw: psycopg.Connection[Any], space: int, before: datetime) -> int:
    """Delete shared trajectories that nobody has ended, nor told anything of since ``before``; return how many rows."""
    return raw.execute(FORGET_SHARED, {"space": space, "before": before}).rowcount


def forget_requests(raw: psycopg.Connection[Any], space: int, before: datetime) -> int:
    """Delete requests with an idempotency key that came before ``before``, with their answers."""
    return raw.execute(FORGET_REQUESTS, {"space": space, "before": before}).rowcount


def forget_telemetry(raw: psycopg.Connection[Any], space: int, before: datetime) -> int:
    """Delete the ids of trajectories by spans that were heard of last before ``before``."""
    return raw.execute(FORGET_TELEMETRY, {"space": space, "before": before}).rowcount


def forget_uses(raw: psycopg.Connection[Any], space: int) -> int:
    """Delete the use of patterns that no kept version holds."""
    return raw.execute(FORGET_USES, {"space": space}).rowcount


def forget_erasures(raw: psycopg.Connection[Any], space: int) -> int:
    """Delete the oldest receipts of erasures beyond the number that a space keeps."""
    return raw.execute(FORGET_ERASURES, {"space": space}).rowcount


def forget_acts(raw: psycopg.Connection[Any], space: int) -> int:
    """Delete the oldest administrative acts beyond the number that a space keeps, and that the store keeps."""
    return acts.forget(raw, space, MOST_ACTS) + acts.forget(raw, WHOLE_STORE, MOST_ACTS)


def delete_orphans(raw: psycopg.Connection[Any], since: datetime) -> dict[tuple[str, int], int]:
    """Delete the rows of removed spaces without records ``since``; return their number by table and space."""
    gone: dict[tuple[str, int], int] = {}
    stretches = _removed(raw)
    if not stretches:
        return gone
    firsts, lasts = zip(*stretches, strict=True)
    values = {"first": list(firsts), "last": list(lasts), "since": since}
    for name in reversed(WITHOUT_SPACE):  # batches last: they show whether a server still records
        for (space,) in raw.execute(ORPHANS.format(table=table(name)), values).fetchall():
            gone[name, space] = raw.execute(DELETE_ORPHANS.format(table=table(name)), {"space": space}).rowcount
    return gone


def _removed(raw: psycopg.Connection[Any]) -> list[tuple[int, int]]:
    """Return the stretches of numbers that spaces have had and no space has, each by its first and its last."""
    end = _count(raw, LAST_NUMBER, {}) + 1
    known = {number for query in NUMBERS for (number,) in raw.execute(query.encode()).fetchall() if number < end}
    return [(before + 1, at - 1) for before, at in pairwise([0, *sorted(known), end]) if at - before > 1]


def oldest_kept(raw: psycopg.Connection[Any]) -> datetime | None:
    """Return the start of the oldest week with a partition of trajectories or feedback."""
    kept = [week.monday for parent in ("trajectories", "feedback") for week in weeks_of(raw, parent)[:1]]
    return min(kept, default=None)


def _count(raw: psycopg.Connection[Any], query: str | sql.Composed, values: dict[str, Any]) -> int:
    row = raw.execute(query, values).fetchone()
    return 0 if row is None else int(row[0])
