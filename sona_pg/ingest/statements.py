"""The SQL of the writer, one named block per query; psycopg fills the parameters in."""

from __future__ import annotations

from sona_pg.ingest.parts import POSTGRES_EPOCH
from sona_pg.recorder import FEEDBACK_COLUMNS, STEP_COLUMNS, TRAJECTORY_COLUMNS

COLUMNS = {"trajectories": TRAJECTORY_COLUMNS, "steps": STEP_COLUMNS, "feedback": FEEDBACK_COLUMNS}


def name_of(number: int) -> str:
    """Return the name of a transaction, which a replay uses to find it behind any pooler."""
    return f"sona-pg batch {number}"


def take_name(number: int) -> str:
    """Return the statement that gives the transaction its name; SET takes no parameters."""
    return f"SET LOCAL application_name = '{name_of(number)}'"


# Other servers wait for the candidates that a transaction changes: the transaction of a stopped process must end.
END_IF_IDLE = "SET LOCAL idle_in_transaction_session_timeout = '10s'"

# Tells spaces of the same number in different databases apart.
SPACE_MADE = "SELECT created_at FROM sona.spaces WHERE space_id = :space"

# Ends the backends of earlier attempts with lost connections: a replay would wait for their locks. Another role that
# took the name, which all can see, must not make this fail.
END_EARLIER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = %(name)s AND pid <> pg_backend_pid() AND usename = session_user
"""

# Locked until the transaction ends, so that the space cannot be removed meanwhile; no row: it is removed. No other
# writer or learner waits for this lock. While a removal holds the row, the transaction is retried later.
HOLD_SPACE = "SELECT created_at FROM sona.spaces WHERE space_id = %(space)s FOR KEY SHARE NOWAIT"
# A transaction that meets any other lock is retried later: the thread has other spaces to serve.
WAIT_BRIEFLY = "SET LOCAL lock_timeout = '1s'"

# Proof that a batch is committed; written first, so that a replay waits here for a transaction that may still commit.
MARK = """
INSERT INTO sona.batches
    (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
VALUES
    (%(space)s, %(batch)s, %(server)s, %(first_id)s, %(last_id)s, %(trajectories)s, %(steps)s, %(feedback)s,
     statement_timestamp())
ON CONFLICT DO NOTHING
RETURNING batch
"""

# Other servers weigh what was said until a cycle has learned it.
ANNOUNCE = "SELECT pg_notify(%(channel)s, %(payload)s)"

# A marker proves a commit only to the server that wrote it.
MARKED_BY = "SELECT server_id FROM sona.batches WHERE space_id = %(space)s AND batch = %(batch)s"

CORRECT_MARK = """
UPDATE sona.batches SET trajectories = %(trajectories)s, steps = %(steps)s, feedback = %(feedback)s
WHERE space_id = %(space)s AND batch = %(batch)s
"""

# A server deleted by maintenance, while its machine slept, is counted as departed until its next heartbeat registers it
# again.
COUNT = """
UPDATE sona.servers
SET trajectories = trajectories + %(trajectories)s, feedback = feedback + %(feedback)s,
    dropped = dropped + %(dropped)s, abandoned = abandoned + %(abandoned)s, conflicting = conflicting + %(conflicting)s
WHERE space_id = %(space)s AND server_id = %(server)s
RETURNING space_id
"""
COUNT_DEPARTED = """
UPDATE sona.spaces
SET departed_trajectories = departed_trajectories + %(trajectories)s,
    departed_feedback = departed_feedback + %(feedback)s, departed_dropped = departed_dropped + %(dropped)s
WHERE space_id = %(space)s
"""

COPY = {
    table: f"COPY sona.{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)" for table, columns in COLUMNS.items()
}

# RETURNING wherever added rows are counted: Citus tells how many were selected.
# Rows that may be stored already go through a temporary table, and only new ones are inserted. Emptied by DELETE:
# TRUNCATE would write the catalog, and so WAL, each time.
STAGED = ("trajectories", "steps")
STAGE = {table: f"CREATE TEMP TABLE staged_{table} (LIKE sona.{table}) ON COMMIT DROP" for table in COLUMNS}
COPY_STAGED = {
    table: f"COPY pg_temp.staged_{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    for table, columns in COLUMNS.items()
}
# COPY refuses a table with row-level security: a role that it applies to writes new rows by the same way. Without
# RETURNING, Citus would pass the rows on to the shards by COPY.
PASS_ON = {
    table: f"""
INSERT INTO sona.{table} ({", ".join(columns)})
SELECT {", ".join(columns)} FROM pg_temp.staged_{table} WHERE space_id = %(space)s
RETURNING 1
"""
    for table, columns in COLUMNS.items()
}
UNSTAGE = {
    table: f"""
INSERT INTO sona.{table} ({", ".join(COLUMNS[table])})
SELECT {", ".join(COLUMNS[table])} FROM pg_temp.staged_{table} WHERE space_id = %(space)s
ON CONFLICT DO NOTHING
RETURNING {"id, step_count" if table == "trajectories" else "1"}
"""
    for table in STAGED
}
# Leaves the steps of trajectories that were just added: of one that stands twice in a part, those of the first.
DROP_STEPS = """
DELETE FROM pg_temp.staged_steps s WHERE NOT EXISTS (
    SELECT FROM unnest(%(ids)s::uuid[], %(counts)s::int[]) AS new (id, step_count)
    WHERE new.id = s.trajectory_id AND s.ordinal < new.step_count
)
"""
# What an application says of a trajectory; a retry may be measured, sampled and served by another version anew. A new
# embedder changes the vector of a text, not the text.
CONTENTS = """sha256(convert_to(ROW(
    quality, cost, paid, lowest_reward, step_count, route, context, query, parameters,
    CASE WHEN query IS NULL THEN embedding END
)::text, 'UTF8'))"""
STAGED_CONTENTS = f"SELECT id, {CONTENTS} FROM pg_temp.staged_trajectories"
# No rows but ids and hashes go to the workers of Citus.
CONFLICTING = f"""
SELECT DISTINCT stored.id FROM (
    SELECT t.id, {CONTENTS} AS contents FROM unnest(%(ids)s::uuid[]) AS named (id)
    JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = named.id
) AS stored
JOIN unnest(%(ids)s::uuid[], %(contents)s::bytea[]) AS told (id, contents)
    ON told.id = stored.id AND told.contents <> stored.contents
"""
# The trajectories' contents tell the lowest reward and the number of steps.
STAGED_REWARDS = """
SELECT trajectory_id, ordinal, reward FROM pg_temp.staged_steps WHERE trajectory_id = ANY(%(ids)s::uuid[])
"""
OTHER_REWARDS = """
SELECT DISTINCT stored.trajectory_id
FROM unnest(%(ids)s::uuid[], %(ordinals)s::smallint[], %(rewards)s::real[]) AS told (id, ordinal, reward)
JOIN sona.steps stored ON stored.space_id = %(space)s AND stored.trajectory_id = told.id
    AND stored.ordinal = told.ordinal AND stored.reward IS DISTINCT FROM told.reward
"""
CLEAR_STAGE = {table: f"DELETE FROM pg_temp.staged_{table}" for table in STAGED}

# Feedback that may be stored already. In the order of the key: two servers with the same feedback must not deadlock.
ADD_FEEDBACK = f"""
INSERT INTO sona.feedback (space_id, batch, trajectory_id, sequence, recorded_at, quality, source, correction, paid)
SELECT %(space)s, %(batch)s, f.trajectory_id, f.sequence,
       timestamptz '{POSTGRES_EPOCH}' + f.recorded_us * interval '1 microsecond', f.quality, f.source, f.correction,
       f.paid
FROM unnest(
    %(trajectory_id)s::uuid[], %(sequence)s::bigint[], %(recorded_us)s::bigint[], %(quality)s::real[],
    %(source)s::text[], %(correction)s::text[], %(paid)s::real[]
) AS f (trajectory_id, sequence, recorded_us, quality, source, correction, paid)
ORDER BY f.trajectory_id, f.source, f.sequence
ON CONFLICT DO NOTHING
RETURNING 1
"""

# Feedback whose key a different fact has: two servers recorded it in the same microsecond.
OVERTAKEN = """
SELECT f.row - 1 FROM unnest(
    %(trajectory_id)s::uuid[], %(sequence)s::bigint[], %(quality)s::real[], %(source)s::text[], %(correction)s::text[],
    %(paid)s::real[]
) WITH ORDINALITY AS f (trajectory_id, sequence, quality, source, correction, paid, row)
JOIN sona.feedback AS known ON known.space_id = %(space)s AND known.trajectory_id = f.trajectory_id
    AND known.source = f.source AND known.sequence = f.sequence
WHERE (known.quality, known.correction, known.paid) IS DISTINCT FROM (f.quality, f.correction, f.paid)
ORDER BY f.row
"""

# Readers use it to find embeddings replaced since they read, so it must be the database's clock.
CLOCK = "SELECT statement_timestamp()"

STAGE_CANDIDATES = """
CREATE TEMP TABLE staged_candidates (
    position int GENERATED ALWAYS AS IDENTITY, candidate_id text, embedding halfvec
) ON COMMIT DROP
"""
COPY_CANDIDATES = "COPY pg_temp.staged_candidates (candidate_id, embedding) FROM STDIN (FORMAT BINARY)"
# Number of candidates a space may still add; index-only.
CANDIDATE_ROOM = """
SELECT %(most)s - coalesce((SELECT max(slot) + 1 FROM sona.candidates WHERE space_id = %(space)s), 0)
    - (SELECT count(*) FROM sona.candidates WHERE space_id = %(space)s AND slot IS NULL)
"""
# Leaves out new candidates beyond that number.
TRIM_CANDIDATES = """
DELETE FROM pg_temp.staged_candidates WHERE candidate_id IN (
    SELECT DISTINCT s.candidate_id FROM pg_temp.staged_candidates s
    LEFT JOIN sona.candidates known ON known.space_id = %(space)s AND known.candidate_id = s.candidate_id
    WHERE known.candidate_id IS NULL ORDER BY s.candidate_id OFFSET greatest(%(room)s, 0)
)
"""
# In the order of the key: two servers that add the same candidates must not deadlock. A known candidate keeps its slot
# and gets the latest embedding; an unchanged one is not updated.
UNSTAGE_CANDIDATES = """
INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)
SELECT DISTINCT ON (candidate_id) %(space)s, candidate_id, %(now)s, embedding
FROM pg_temp.staged_candidates ORDER BY candidate_id, position DESC
ON CONFLICT (space_id, candidate_id) DO UPDATE
SET embedding = excluded.embedding, recorded_at = excluded.recorded_at, changed_at = %(changed)s
WHERE candidates.space_id = excluded.space_id AND candidates.embedding <> excluded.embedding
RETURNING 1
"""
# Locked in the order of the key, as above. Servers read the order anew for new candidates and for changed ones.
ORDER_CANDIDATES = """
WITH given AS (
    SELECT id, %(first)s + min(place) - 1 AS position
    FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS listed (id, place) GROUP BY id
), held AS (
    SELECT c.candidate_id FROM sona.candidates c JOIN given ON given.id = c.candidate_id
    WHERE c.space_id = %(space)s ORDER BY c.candidate_id FOR NO KEY UPDATE OF c
)
UPDATE sona.candidates SET group_name = %(group)s, position = given.position,
    changed_at = CASE WHEN recorded_at < %(recorded)s THEN %(changed)s ELSE changed_at END
FROM given JOIN held ON held.candidate_id = given.id
WHERE sona.candidates.space_id = %(space)s AND sona.candidates.candidate_id = given.id
  AND (sona.candidates.group_name, sona.candidates.position) IS DISTINCT FROM (%(group)s, given.position)
"""
# `named_at` of a set is updated at most twice a day; a server reports a use once a day.
ADD_CANDIDATE_SET = """
INSERT INTO sona.candidate_sets AS known (space_id, set_id, candidate_ids, named_at)
VALUES (%(space)s, %(set_id)s, %(ids)s, now())
ON CONFLICT (space_id, set_id) DO UPDATE SET named_at = excluded.named_at
WHERE known.space_id = excluded.space_id AND excluded.named_at - known.named_at > interval '12 hours'
"""
ANNOUNCE_CANDIDATES = "SELECT pg_notify(%(channel)s, %(payload)s)"
