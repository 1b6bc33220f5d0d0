"""Statements of an erasure; each says the space, also of every table that it joins."""

from __future__ import annotations

FIND = {
    True: """
SELECT id, batch, step_count FROM sona.trajectories WHERE space_id = %(space)s AND context @> ARRAY[%(label)s::text]
ORDER BY id
""",
    False: """
SELECT t.id, t.batch, t.step_count FROM sona.trajectories t
JOIN unnest(%(ids)s::uuid[]) AS wanted (id) ON t.id = wanted.id
WHERE t.space_id = %(space)s AND t.id >= %(first)s AND t.id <= %(last)s ORDER BY t.id
""",
}
# Each within the bounds of the ids, which prune the partitions.
FEEDBACK = """
FROM unnest(%(ids)s::uuid[]) AS gone (id)
WHERE f.space_id = %(space)s AND f.trajectory_id = gone.id
    AND f.trajectory_id >= %(first)s AND f.trajectory_id <= %(last)s
"""
REMOVE_FEEDBACK = f"""
WITH taken AS (DELETE FROM sona.feedback f USING {FEEDBACK.strip().removeprefix("FROM")} RETURNING f.batch)
SELECT batch, count(*) FROM taken GROUP BY batch
"""
COUNT_FEEDBACK = """
SELECT count(*) FROM sona.feedback f JOIN unnest(%(ids)s::uuid[]) AS gone (id) ON f.trajectory_id = gone.id
WHERE f.space_id = %(space)s AND f.trajectory_id >= %(first)s AND f.trajectory_id <= %(last)s
"""
# Candidates that the subject has probably written: told as the right answer, stored since, known to nobody else. Doubt
# speaks against: a set that is unknown or empty (of a very large catalog), an imported decision, an embedding stored
# anew (which hides when the candidate was first stored; a copy of a space hides it as well), a decision before that had
# it, or that has no time in its id, and other people's rows that name it. Ids carry the database's time to some
# milliseconds: a decision within a second of the storing counts as one before.
# Nested loops are off around it: without statistics of parts of a statement the planner takes them for few rows.
HASHED = ("SET LOCAL enable_nestloop = off", "SET LOCAL enable_nestloop TO DEFAULT")
WRITTEN = """
WITH gone AS (SELECT id FROM unnest(%(ids)s::uuid[]) AS given (id)), told AS (
    SELECT DISTINCT ON (f.correction) f.correction, c.recorded_at AS stored,
        sona.uuid_floor(c.recorded_at + interval '1 second') AS until,
        b.recorded_at AS asked,
        bool_and(coalesce(cardinality(s.candidate_ids) > 0
            AND b.recorded_at - sona.uuid_time(t.id) BETWEEN interval '-1 minute' AND interval '1 hour', false)
        ) OVER (PARTITION BY f.correction) AS sure
    FROM sona.feedback f
    JOIN gone ON gone.id = f.trajectory_id
    JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = f.trajectory_id
        AND t.id >= %(first)s AND t.id <= %(last)s
    JOIN sona.candidates c ON c.space_id = %(space)s AND c.candidate_id = f.correction AND c.changed_at IS NULL
    LEFT JOIN sona.batches b ON b.space_id = %(space)s AND b.batch = t.batch
    LEFT JOIN sona.candidate_sets s ON s.space_id = %(space)s AND s.set_id = t.candidate_set
    WHERE f.space_id = %(space)s AND f.trajectory_id >= %(first)s AND f.trajectory_id <= %(last)s
    ORDER BY f.correction, t.id
), used AS (
    SELECT o.candidate_set AS set_id, min(o.id::text COLLATE "C") AS since,
        bool_or(substr(o.id::text, 15, 1) <> '7') AS undated
    FROM sona.trajectories o
    WHERE o.space_id = %(space)s AND o.candidate_set IS NOT NULL AND EXISTS (SELECT FROM told) GROUP BY o.candidate_set
)
SELECT told.correction FROM told
WHERE told.sure AND told.stored > told.asked
    AND NOT EXISTS (
        SELECT FROM sona.candidate_contents n
        WHERE n.space_id = %(space)s AND n.candidate_id = told.correction AND n.created_at <= told.asked)
    AND NOT EXISTS (
        SELECT FROM sona.spaces p
        WHERE p.space_id = %(space)s AND p.predecessor IS NOT NULL AND p.created_at >= told.stored)
    AND NOT EXISTS (
        SELECT FROM (
            SELECT s.set_id, unnest(s.candidate_ids) AS id FROM sona.candidate_sets s WHERE s.space_id = %(space)s
        ) shown
        LEFT JOIN used ON used.set_id = shown.set_id
        WHERE shown.id = told.correction AND (used.set_id IS NULL OR used.undated OR used.since <= told.until::text))
    AND NOT EXISTS (
        SELECT FROM sona.trajectories o LEFT JOIN gone ON gone.id = o.id
        WHERE o.space_id = %(space)s AND o.route = told.correction
            AND (gone.id IS NULL OR o.id <= told.until OR substr(o.id::text, 15, 1) <> '7'))
    AND NOT EXISTS (
        SELECT FROM sona.feedback o LEFT JOIN gone ON gone.id = o.trajectory_id
        WHERE o.space_id = %(space)s AND o.correction = told.correction AND gone.id IS NULL)
ORDER BY told.correction
"""
DROP_CONTENTS = """
DELETE FROM sona.candidate_contents d WHERE d.space_id = %(space)s AND d.candidate_id = ANY(%(written)s::text[])
"""
REMOVE = {
    "steps": """
DELETE FROM sona.steps s USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE s.space_id = %(space)s AND s.trajectory_id = gone.id
    AND s.trajectory_id >= %(first)s AND s.trajectory_id <= %(last)s
""",
    "trajectories": """
DELETE FROM sona.trajectories t USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE t.space_id = %(space)s AND t.id = gone.id AND t.id >= %(first)s AND t.id <= %(last)s
""",
    "set_aside": """
DELETE FROM sona.set_aside a USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE a.space_id = %(space)s AND a.trajectory_id = gone.id
""",
    "imported_ids": """
DELETE FROM sona.imported_ids i USING unnest(%(ids)s::uuid[]) AS gone (id)
WHERE i.space_id = %(space)s AND i.trajectory_id = gone.id
""",
    "telemetry_ids": """
DELETE FROM sona.telemetry_ids o WHERE o.space_id = %(space)s AND (
    o.trajectory_id = ANY(%(ids)s::uuid[])
    OR o.key IN (SELECT set_byte(p.key, place, 255 - get_byte(p.key, place))
        FROM sona.telemetry_ids p CROSS JOIN generate_series(0, 1) AS place
        WHERE p.space_id = %(space)s AND p.trajectory_id = ANY(%(ids)s::uuid[])))
""",
    "shared_trajectories": """
DELETE FROM sona.shared_trajectories o WHERE o.space_id = %(space)s AND (
    o.trajectory_id = ANY(%(ids)s::uuid[])
    OR EXISTS (SELECT FROM sona.shared_trajectories p WHERE p.space_id = %(space)s
        AND p.trajectory_id = o.trajectory_id AND p.call = 'add_trajectory_context'
        AND p.content ->> 'value' = %(label)s))
""",
}
COUNT_LESS = """
UPDATE sona.batches SET trajectories = greatest(sona.batches.trajectories - gone.trajectories, 0),
    steps = greatest(sona.batches.steps - gone.steps, 0), feedback = greatest(sona.batches.feedback - gone.facts, 0)
FROM unnest(%(batches)s::bigint[], %(trajectories)s::integer[], %(steps)s::integer[], %(facts)s::integer[])
    AS gone (batch, trajectories, steps, facts)
WHERE sona.batches.space_id = %(space)s AND sona.batches.batch = gone.batch
"""
READ_LESS = """
UPDATE sona.cycles SET trajectories = greatest(sona.cycles.trajectories - gone.trajectories, 0)
FROM (SELECT b.cycle_id, sum(t.trajectories) AS trajectories
      FROM unnest(%(batches)s::bigint[], %(trajectories)s::integer[]) AS t (batch, trajectories)
      JOIN sona.batches b ON b.space_id = %(space)s AND b.batch = t.batch GROUP BY b.cycle_id) gone
WHERE sona.cycles.space_id = %(space)s AND sona.cycles.cycle_id = gone.cycle_id
"""
FIGURES = (
    "DELETE FROM sona.daily_figures WHERE space_id = %(space)s AND kind IN ('user', 'label') AND name = %(label)s",
    """
UPDATE sona.summary_days SET stale_since = %(at)s WHERE space_id = %(space)s AND stale_since IS NULL
    AND day = ANY(SELECT DISTINCT sona.day_of(gone.id) FROM unnest(%(ids)s::uuid[]) AS gone (id))
""",
)
FIRST_VERSION = """
SELECT least(
    (SELECT min(c.version) FROM sona.cycles c
     WHERE c.space_id = %(space)s AND c.error IS NULL AND c.version > c.base_version
       AND (c.batches && %(batches)s::bigint[] OR c.cycle_id IN (
           SELECT b.cycle_id FROM sona.batches b
           WHERE b.space_id = %(space)s AND b.batch = ANY(%(batches)s::bigint[]) AND b.cycle_id IS NOT NULL))),
    (SELECT min(g.version) FROM sona.staged_versions g
     WHERE g.space_id = %(space)s AND g.batches && %(batches)s::bigint[]))
"""
# The content of a version loaded from a file comes from there, and a rebuild starts from it.
HOLDING = """
FROM sona.state_versions v WHERE v.space_id = %(space)s AND v.version >= %(first)s AND v.version <> %(kept)s
    AND NOT EXISTS (
        SELECT FROM sona.cycles c WHERE c.space_id = %(space)s AND c.cycle_id = v.cycle_id AND c.loop = 'load'
            AND (c.in_force IS NULL OR upper_inf(c.in_force)))
"""
LIST_HOLDING = f"SELECT v.version {HOLDING} ORDER BY v.version"
DROP_HOLDING = f"DELETE {HOLDING} RETURNING v.version"
EXPIRED = """
SELECT s.departed_learned + coalesce((
    SELECT sum(greatest(c.trajectories - coalesce(b.trajectories, 0), 0))
    FROM sona.cycles c
    LEFT JOIN (SELECT o.cycle_id, sum(o.trajectories) AS trajectories FROM sona.batches o
               WHERE o.space_id = %(space)s AND o.cycle_id IS NOT NULL GROUP BY o.cycle_id) b ON b.cycle_id = c.cycle_id
    WHERE c.space_id = %(space)s AND c.loop = 'background' AND c.error IS NULL AND c.version > c.base_version
      AND (c.in_force IS NULL OR upper_inf(c.in_force))), 0)
FROM sona.spaces s WHERE s.space_id = %(space)s
"""
# The trajectories that cycles have read, as the ledger has them now.
RECOUNT = (
    """
UPDATE sona.cycles SET trajectories = b.trajectories
FROM (SELECT o.cycle_id, sum(o.trajectories) AS trajectories FROM sona.batches o
      WHERE o.space_id = %(space)s AND o.cycle_id IS NOT NULL GROUP BY o.cycle_id) b
WHERE sona.cycles.space_id = %(space)s AND sona.cycles.cycle_id = b.cycle_id
    AND sona.cycles.trajectories > b.trajectories
""",
    """
UPDATE sona.cycles SET trajectories = 0
WHERE space_id = %(space)s AND trajectories > 0 AND loop = 'background' AND error IS NULL AND version > base_version
  AND NOT EXISTS (SELECT FROM sona.batches b WHERE b.space_id = %(space)s AND b.cycle_id = sona.cycles.cycle_id)
""",
    "UPDATE sona.spaces SET departed_learned = 0 WHERE space_id = %(space)s",
)
# Versions that a rebuild reaches: of the cycles that the live version holds, each holds exactly the earlier ones, all
# learned by this release.
CLEAN = """
SELECT v.version FROM sona.state_versions v
JOIN sona.version_contents k ON k.space_id = %(space)s AND k.version = v.version
WHERE v.space_id = %(space)s AND v.version < %(first)s AND v.status IN ('live', 'retired') AND NOT EXISTS (
    SELECT FROM sona.cycles c
    WHERE c.space_id = %(space)s AND c.error IS NULL AND c.version > c.base_version
      AND c.loop IN ('background', 'deep', 'load')
      AND ((coalesce(c.in_force, int8multirange(int8range(c.version, NULL))) @> v.version)
              <> ((c.in_force IS NULL OR upper_inf(c.in_force)) AND c.version <= v.version)
           OR (c.version <= v.version AND c.loop <> 'load' AND (c.detail ->> 'release') IS DISTINCT FROM %(release)s)))
ORDER BY v.version
"""
INSERT = """
INSERT INTO sona.erasures (space_id, erasure_id, kind, hashes, until_id, first_version, phase, requested_at, removed)
VALUES (%(space)s, %(erasure)s, %(kind)s, %(hashes)s, %(until)s, %(first)s, 'removed', %(at)s, %(removed)s)
"""
COLUMNS = "erasure_id, kind, hashes, until_id, first_version, phase, requested_at, finished_at, removed, late, receipt"
OF_SPACE = f"SELECT {COLUMNS} FROM sona.erasures WHERE space_id = %(space)s"
LIST = f"{OF_SPACE} ORDER BY requested_at DESC, erasure_id LIMIT %(limit)s"
UNFINISHED = f"{OF_SPACE} AND phase = 'removed' ORDER BY requested_at"
ONE = f"{OF_SPACE} AND erasure_id = %(erasure)s"
FINISH = """
UPDATE sona.erasures SET phase = 'done', finished_at = %(at)s, receipt = %(receipt)s
WHERE space_id = %(space)s AND erasure_id = %(erasure)s AND phase = 'removed'
"""
ANY_BETWEEN = """
SELECT EXISTS (SELECT FROM sona.erasures WHERE space_id = %(space)s AND phase = 'done'
    AND (receipt ->> 'version')::bigint > %(served)s AND (receipt ->> 'version')::bigint <= %(version)s)
"""
# Batches that were recorded after an erasure with records from before it; nearly always there are none.
LATE_BATCHES = f"""
SELECT {", ".join("e." + name for name in COLUMNS.split(", "))}, array_agg(b.batch) FROM sona.erasures e
JOIN sona.batches b ON b.space_id = %(space)s AND b.cycle_id IS NULL AND b.left_out_by IS NULL
    AND b.first_id < e.until_id AND b.recorded_at >= e.requested_at - interval '1 minute'
WHERE e.space_id = %(space)s GROUP BY e.space_id, e.erasure_id
"""
LATE = """
SELECT id, batch, step_count, context FROM sona.trajectories
WHERE space_id = %(space)s AND batch = ANY(%(batches)s::bigint[]) AND id < %(until)s
"""
COUNT_LATE = "UPDATE sona.erasures SET late = late + %(count)s WHERE space_id = %(space)s AND erasure_id = %(erasure)s"
