"""The SQL of the writer, one named block per query; psycopg fills the parameters in."""

from __future__ import annotations

from sona_pg.kernels import FEEDBACK_COLUMNS, STEP_COLUMNS, TRAJECTORY_COLUMNS

COLUMNS = {"trajectories": TRAJECTORY_COLUMNS, "steps": STEP_COLUMNS, "feedback": FEEDBACK_COLUMNS}


def name_of(number: int) -> str:
    """Return what a transaction calls itself: by it a replay finds it, whatever server or pooler runs it."""
    return f"sona-pg batch {number}"


def take_name(number: int) -> str:
    """Return the statement that gives the transaction its name; SET takes no parameters."""
    return f"SET LOCAL application_name = '{name_of(number)}'"


# A space of the same number in another database was made at another time.
SPACE_MADE = "SELECT created_at AT TIME ZONE 'UTC' FROM sona.spaces WHERE space_id = :space"

# Ends the backends of earlier attempts, whose links were lost: a replay would wait for the keys they hold.
END_EARLIER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %(name)s AND pid <> pg_backend_pid()
"""

# The proof that a batch is in: written first, so that a replay waits here for a transaction that may still commit.
MARK = """
INSERT INTO sona.batches
    (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
VALUES
    (%(space)s, %(batch)s, %(server)s, %(first_id)s, %(last_id)s, %(trajectories)s, %(steps)s, %(feedback)s,
     statement_timestamp())
ON CONFLICT DO NOTHING
RETURNING batch
"""

CORRECT_MARK = """
UPDATE sona.batches SET trajectories = %(trajectories)s, steps = %(steps)s, feedback = %(feedback)s
WHERE space_id = %(space)s AND batch = %(batch)s
"""

COUNT = """
UPDATE sona.servers
SET trajectories = trajectories + %(trajectories)s, feedback = feedback + %(feedback)s,
    dropped = dropped + %(dropped)s
WHERE space_id = %(space)s AND server_id = %(server)s
"""

COPY = {
    table: f"COPY sona.{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)" for table, columns in COLUMNS.items()
}

# Rows that may be in already go through a table of the transaction's own, and only new ones go on.
STAGE = {table: f"CREATE TEMP TABLE staged_{table} (LIKE sona.{table}) ON COMMIT DROP" for table in COLUMNS}
COPY_STAGED = {
    table: f"COPY pg_temp.staged_{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    for table, columns in COLUMNS.items()
}
UNSTAGE = {
    table: f"""
INSERT INTO sona.{table} ({", ".join(columns)})
SELECT {", ".join(columns)} FROM pg_temp.staged_{table} WHERE space_id = %(space)s
ON CONFLICT DO NOTHING
RETURNING 1
"""
    for table, columns in COLUMNS.items()
}
CLEAR_STAGE = {table: f"TRUNCATE pg_temp.staged_{table}" for table in COLUMNS}

STAGE_CANDIDATES = """
CREATE TEMP TABLE staged_candidates (
    position int GENERATED ALWAYS AS IDENTITY, candidate_id text, embedding halfvec
) ON COMMIT DROP
"""
COPY_CANDIDATES = "COPY pg_temp.staged_candidates (candidate_id, embedding) FROM STDIN (FORMAT BINARY)"
# In the order of the key: two servers that add the same candidates must not deadlock. A known candidate keeps its slot
# and gets the new embedding, the last one given; one that has not changed is left alone.
UNSTAGE_CANDIDATES = """
INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)
SELECT DISTINCT ON (candidate_id) %(space)s, candidate_id, %(now)s, embedding
FROM pg_temp.staged_candidates ORDER BY candidate_id, position DESC
ON CONFLICT (space_id, candidate_id) DO UPDATE SET embedding = excluded.embedding, recorded_at = excluded.recorded_at
WHERE candidates.space_id = %(space)s AND candidates.embedding <> excluded.embedding
"""
ADD_CANDIDATE_SET = """
INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids)
VALUES (%(space)s, %(set_id)s, %(ids)s)
ON CONFLICT DO NOTHING
"""
