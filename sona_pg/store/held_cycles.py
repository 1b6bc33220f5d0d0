"""Cycles held by the live version, and the state of their batches after a change of the live version.

``sona.cycles.in_force`` has the ranges of live versions that include a cycle's learning; null means from its own
version on.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, cast, literal, text, update

from sona_pg.store.schema import batches

HELD_AT = "coalesce(in_force, int8multirange(int8range(version, NULL))) @> CAST(:target AS bigint)"
HELD_NOW = "(in_force IS NULL OR upper_inf(in_force))"
MADE = "space_id = :space AND error IS NULL AND version > base_version AND loop IN ('background', 'deep', 'load')"
TO_UNDO = text(f"SELECT cycle_id FROM sona.cycles WHERE {MADE} AND {HELD_NOW} AND NOT {HELD_AT}")
TO_REDO = text(f"SELECT cycle_id FROM sona.cycles WHERE {MADE} AND NOT {HELD_NOW} AND {HELD_AT}")
REMEMBER = text("""
UPDATE sona.cycles SET batches = held.batches
FROM (
    SELECT b.cycle_id, array_agg(b.batch ORDER BY b.batch) AS batches FROM sona.batches b
    WHERE b.space_id = :space AND b.cycle_id = ANY(:undone) GROUP BY b.cycle_id
) held
WHERE sona.cycles.space_id = :space AND sona.cycles.cycle_id = held.cycle_id
""")
UNDO = text("""
UPDATE sona.cycles
SET in_force = coalesce(in_force, int8multirange(int8range(version, NULL)))
    * int8multirange(int8range(NULL, CAST(:version AS bigint)))
WHERE space_id = :space AND cycle_id = ANY(:undone)
""")
REDO = text("""
UPDATE sona.cycles SET in_force = in_force + int8multirange(int8range(CAST(:version AS bigint), NULL))
WHERE space_id = :space AND cycle_id = ANY(:redone)
""")
# Feedback on trajectories that were left out was skipped; when they come back, it becomes unlearned again.
HEARD_AGAIN = text("""
UPDATE sona.batches SET cycle_id = NULL
WHERE space_id = :space AND feedback > 0 AND cycle_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM sona.cycles c WHERE c.space_id = :space AND c.cycle_id = sona.batches.cycle_id)
  AND recorded_at >= (
    SELECT min(r.started_at) FROM sona.cycles c JOIN sona.cycles r ON r.space_id = c.space_id
    WHERE c.space_id = :space AND c.cycle_id = ANY(:redone) AND r.space_id = :space AND r.version = upper(c.in_force)
      AND r.loop IN ('rollback', 'load'))
""")
LEARNED_AGAIN = text("""
UPDATE sona.batches SET cycle_id = held.cycle_id, left_out_by = NULL
FROM (
    SELECT c.cycle_id, unnest(c.batches) AS batch FROM sona.cycles c
    WHERE c.space_id = :space AND c.cycle_id = ANY(:redone)
) held
WHERE sona.batches.space_id = :space AND sona.batches.batch = held.batch
""")


def hold_those_of(
    connection: Connection, space_id: int, target: int, version: int, keep_facts: bool
) -> tuple[int, int, int]:
    """Make the live ``version`` hold the cycles of ``target``; return the numbers undone, redone, and of batches."""
    values = {"space": space_id, "target": target, "version": version}
    undone = list(connection.scalars(TO_UNDO, values))
    redone = list(connection.scalars(TO_REDO, values))
    connection.execute(REMEMBER, {"space": space_id, "undone": undone})
    connection.execute(UNDO, {"space": space_id, "version": version, "undone": undone})
    of_undone = (batches.c.space_id == space_id) & batches.c.cycle_id.in_(undone)
    left_out = cast(literal(None if keep_facts else version), BigInteger)
    count = connection.execute(update(batches).where(of_undone).values(cycle_id=None, left_out_by=left_out)).rowcount
    connection.execute(HEARD_AGAIN, {"space": space_id, "redone": redone})
    connection.execute(REDO, {"space": space_id, "version": version, "redone": redone})
    connection.execute(LEARNED_AGAIN, {"space": space_id, "redone": redone})
    return len(undone), len(redone), count
