"""Learner leases, failed cycles, version formats, and the columns that retention needs.

Every column has a default, so that the previous release continues to work beside this one. No statement scans or
rewrites a partitioned table.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE IF NOT EXISTS sona.leases (
        space_id int NOT NULL REFERENCES sona.spaces,
        role text NOT NULL CHECK (role IN ('learner')),
        server_id uuid NOT NULL,
        epoch bigint NOT NULL CHECK (epoch >= 1),
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, role)
    )
    """,
    "COMMENT ON TABLE sona.leases IS 'Who may learn in a space now. A lease that has expired may be taken over.'",
    "COMMENT ON COLUMN sona.leases.epoch IS "
    "'Fencing token: grows with every holder; a cycle commits only if the epoch is still the one it began with.'",
    "COMMENT ON COLUMN sona.leases.expires_at IS 'By the clock of the database.'",
]

COLUMNS = [
    "ALTER TABLE sona.cycles ADD COLUMN IF NOT EXISTS error text",
    "COMMENT ON COLUMN sona.cycles.error IS 'Why the cycle failed: it claimed nothing and changed nothing; null if it did not.'",
    "CREATE INDEX IF NOT EXISTS cycles_by_start ON sona.cycles (space_id, started_at)",
    "COMMENT ON INDEX sona.cycles_by_start IS 'Serves: the last cycles of a space, and those that retention deletes.'",
    "ALTER TABLE sona.state_versions ADD COLUMN IF NOT EXISTS format smallint NOT NULL DEFAULT 1 CHECK (format >= 1)",
    "COMMENT ON COLUMN sona.state_versions.format IS 'Of its arrays; a server that does not know it serves an earlier version.'",
    "ALTER TABLE sona.candidate_sets ADD COLUMN IF NOT EXISTS named_at timestamptz NOT NULL DEFAULT now()",
    "COMMENT ON COLUMN sona.candidate_sets.named_at IS 'When a server named it last, to the day; retention goes by it.'",
    "CREATE INDEX IF NOT EXISTS candidates_new ON sona.candidates (space_id) WHERE slot IS NULL",
    "COMMENT ON INDEX sona.candidates_new IS 'Serves: candidates of a space that have no slot yet.'",
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS departed_learned bigint NOT NULL DEFAULT 0, "
    "ADD COLUMN IF NOT EXISTS given_up_feedback bigint NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN sona.spaces.departed_learned IS 'Facts read by cycles that are no longer in sona.cycles.'",
    "COMMENT ON COLUMN sona.spaces.given_up_feedback IS 'Facts deleted because their trajectory never came.'",
    "ALTER TABLE sona.servers ADD COLUMN IF NOT EXISTS skew_ms double precision, ADD COLUMN IF NOT EXISTS abandoned bigint NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN sona.servers.skew_ms IS 'By how much its clock is ahead of the database, as last measured.'",
    "COMMENT ON COLUMN sona.servers.abandoned IS 'Trajectories that were begun and never ended.'",
]

# Times before 1970, or beyond 48 bits of milliseconds, gave an id of another time, or none.
FUNCTIONS = [
    """
    CREATE OR REPLACE FUNCTION sona.uuid_floor(at timestamptz) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN rpad(lpad(to_hex(
            greatest(0, least(extract(epoch FROM at) * 1000, 281474976710655))::bigint), 12, '0'), 32, '0')::uuid;
    END $$
    """,
]
FUNCTIONS_BEFORE = [
    """
    CREATE OR REPLACE FUNCTION sona.uuid_floor(at timestamptz) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN rpad(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
    END $$
    """,
]

VIEWS = [
    """
    CREATE VIEW sona.fleet AS
    SELECT s.name AS space, v.server_id, v.host, v.pid, v.release,
           CASE WHEN v.ended_at IS NOT NULL THEN 'ended'
                WHEN v.seen_at < now() - interval '2 minutes' THEN 'gone'
                WHEN v.seen_at < now() - interval '15 seconds' THEN 'silent'
                ELSE 'live' END AS state,
           v.started_at, v.seen_at, v.serving_version,
           s.live_version - v.serving_version AS versions_behind, v.trajectories, v.feedback, v.dropped, v.abandoned,
           v.skew_ms
    FROM sona.servers v
    JOIN sona.spaces s ON s.space_id = v.space_id
    """,
    "COMMENT ON VIEW sona.fleet IS 'Servers of each space: the version each serves and how far it is behind; live, silent "
    "(nothing was heard of it for 15 seconds), gone (for two minutes), or ended (it was closed).'",
    """
    CREATE VIEW sona.cycle_log AS
    SELECT s.name AS space, c.loop, c.version, c.started_at,
           extract(epoch FROM c.finished_at - c.started_at) * 1000 AS milliseconds,
           c.trajectories, c.feedback, c.set_aside, c.patterns, c.server_id, c.error, c.detail
    FROM sona.cycles c
    JOIN sona.spaces s ON s.space_id = c.space_id
    """,
    "COMMENT ON VIEW sona.cycle_log IS "
    "'Learning cycles: when, what they read, which version they made, how long they took, and why one failed.'",
    """
    CREATE VIEW sona.learning AS
    SELECT s.name AS space, s.space_id, s.live_version, v.created_at AS learned_at, now() - v.created_at AS age,
           w.facts AS waiting_facts, w.since AS waiting_since, f.failed AS failed_cycles, f.last_error,
           l.server_id AS learner, l.expires_at AS lease_expires_at
    FROM sona.spaces s
    LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
    LEFT JOIN sona.leases l ON l.space_id = s.space_id AND l.role = 'learner' AND l.expires_at > now()
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(b.trajectories + b.feedback), 0) AS facts, min(b.recorded_at) AS since
        FROM sona.batches b WHERE b.space_id = s.space_id AND b.cycle_id IS NULL
    ) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS failed, (array_agg(c.error ORDER BY c.started_at DESC))[1] AS last_error
        FROM sona.cycles c
        WHERE c.space_id = s.space_id AND c.error IS NOT NULL AND c.started_at > coalesce(v.created_at, '-infinity')
    ) f
    """,
    "COMMENT ON VIEW sona.learning IS 'Whether each space learns: the age of its live version, the facts that no cycle has "
    "learned from and since when, cycles that have failed since, and who learns now.'",
]

# One table and one transaction each: several locks at once deadlocked with learners and recorders, under load at every
# attempt. Steps done by an interrupted run are skipped.
STEPS = [*TABLES, *COLUMNS, *FUNCTIONS]

VIEWS_BEFORE = [
    """
    CREATE VIEW sona.fleet AS
    SELECT s.name AS space, v.server_id, v.host, v.pid, v.release,
           CASE WHEN v.ended_at IS NOT NULL THEN 'ended'
                WHEN v.seen_at < now() - interval '2 minutes' THEN 'gone'
                ELSE 'live' END AS state,
           v.started_at, v.seen_at, v.serving_version,
           s.live_version - v.serving_version AS versions_behind, v.trajectories, v.feedback, v.dropped
    FROM sona.servers v
    JOIN sona.spaces s ON s.space_id = v.space_id
    """,
    "COMMENT ON VIEW sona.fleet IS 'Servers of each space: the version each serves and how far it is behind; live, ended "
    "(it was closed), or gone (nothing was heard of it for two minutes).'",
    """
    CREATE VIEW sona.cycle_log AS
    SELECT s.name AS space, c.loop, c.version, c.started_at,
           extract(epoch FROM c.finished_at - c.started_at) * 1000 AS milliseconds,
           c.trajectories, c.feedback, c.set_aside, c.patterns, c.server_id, c.detail
    FROM sona.cycles c
    JOIN sona.spaces s ON s.space_id = c.space_id
    """,
    "COMMENT ON VIEW sona.cycle_log IS 'Learning cycles: when, what they read, which version they made, how long they took.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)
    op.execute("DROP VIEW sona.fleet, sona.cycle_log")
    for statement in VIEWS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.learning, sona.fleet, sona.cycle_log")
    op.execute("DROP TABLE sona.leases")
    op.execute("DROP INDEX sona.candidates_new, sona.cycles_by_start")
    op.execute("DELETE FROM sona.cycles WHERE error IS NOT NULL")
    op.execute("ALTER TABLE sona.cycles DROP COLUMN error")
    op.execute("ALTER TABLE sona.state_versions DROP COLUMN format")
    op.execute("ALTER TABLE sona.candidate_sets DROP COLUMN named_at")
    op.execute("ALTER TABLE sona.spaces DROP COLUMN departed_learned, DROP COLUMN given_up_feedback")
    op.execute("ALTER TABLE sona.servers DROP COLUMN skew_ms, DROP COLUMN abandoned")
    for statement in [*FUNCTIONS_BEFORE, *VIEWS_BEFORE]:
        op.execute(statement)
