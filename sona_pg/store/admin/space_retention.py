"""Retention of a single space: deletes its facts past ``spaces.keep_weeks``, where that is shorter than the store's.

Weeks of the whole store are dropped as partitions (``retention.drop_week``); the rows of one space are deleted from
them, by the time in their ids. Facts that no cycle has learned from are kept.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import psycopg

from sona_pg.store import acts
from sona_pg.store.admin.weeks import WEEK, Week
from sona_pg.store.erasure_statements import COUNT_LESS, FIGURES, REMOVE, REMOVE_FEEDBACK

MOST = 20_000  # trajectories a run: one transaction, beside recorders

KEPT = "SELECT keep_weeks FROM sona.spaces WHERE space_id = %(space)s"
OLD = """
SELECT t.id, t.batch, t.step_count FROM sona.trajectories t
WHERE t.space_id = %(space)s AND t.id < %(end)s AND substr(t.id::text, 15, 1) = '7'
  AND NOT EXISTS (
      SELECT FROM sona.batches b
      WHERE b.space_id = %(space)s AND b.batch = t.batch AND b.cycle_id IS NULL AND b.left_out_by IS NULL)
  AND NOT EXISTS (
      SELECT FROM sona.feedback f
      JOIN sona.batches b ON b.space_id = %(space)s AND b.batch = f.batch AND b.cycle_id IS NULL
          AND b.left_out_by IS NULL
      WHERE f.space_id = %(space)s AND f.trajectory_id = t.id)
ORDER BY t.id LIMIT %(most)s
"""


def expire(raw: psycopg.Connection[Any], space: int, at: datetime, most: int = MOST) -> int:
    """Delete the oldest facts of a space past its own retention, ``most`` trajectories at once; return their number.

    In the transaction that is open; the markers of their batches count less, as after an erasure.
    """
    row = raw.execute(KEPT, {"space": space}).fetchone()
    if row is None or row[0] is None:
        return 0
    oldest = Week(Week.of(at).monday - row[0] * WEEK)
    rows = raw.execute(OLD, {"space": space, "end": oldest.first_id, "most": most}).fetchall()
    if not rows:
        return 0
    ids = [id_ for id_, _, _ in rows]
    values = {"space": space, "ids": ids, "first": ids[0], "last": ids[-1], "label": None, "at": at}
    facts = dict(raw.execute(REMOVE_FEEDBACK, values).fetchall())
    for statement in REMOVE.values():
        raw.execute(statement, values)
    trajectories = Counter(batch for _, batch, _ in rows)
    steps: Counter[int] = Counter()
    for _, batch, count in rows:
        steps[batch] += count
    batches = sorted({*trajectories, *facts})
    raw.execute(COUNT_LESS, {
        "space": space, "batches": batches, "trajectories": [trajectories[batch] for batch in batches],
        "steps": [steps[batch] for batch in batches], "facts": [facts.get(batch, 0) for batch in batches],
    })  # fmt: skip
    for statement in FIGURES[1:]:  # the figures of these days are computed again
        raw.execute(statement, values)
    told = {"trajectories": len(ids), "before": f"{oldest.monday:%Y-%m-%d}"}
    acts.note(raw, space, "facts expired", told)
    return len(ids)
