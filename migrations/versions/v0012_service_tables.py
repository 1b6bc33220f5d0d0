"""Tables of servers: trajectories that any process of a space goes on with, API keys, and answered requests.

The previous release reads none of them.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.shared_trajectories (
        space_id int NOT NULL REFERENCES sona.spaces,
        trajectory_id uuid NOT NULL,
        part bigint NOT NULL CHECK (part >= 0),
        call text NOT NULL,
        content jsonb NOT NULL,
        recorded_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, trajectory_id, part)
    )
    """,
    "COMMENT ON TABLE sona.shared_trajectories IS 'Trajectories that are open, and that any process of the space may go "
    "on with: their beginning (part 0), then each call about them. Ending one moves it to the ledger.'",
    "CREATE INDEX IF NOT EXISTS shared_trajectories_by_time ON sona.shared_trajectories (space_id, recorded_at)",
    "COMMENT ON INDEX sona.shared_trajectories_by_time IS 'Serves: retention of those that nobody ends.'",
    """
    CREATE TABLE IF NOT EXISTS sona.api_keys (
        space_id int NOT NULL REFERENCES sona.spaces,
        key_id uuid NOT NULL,
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        hash bytea NOT NULL CHECK (length(hash) = 32),
        scopes text[] NOT NULL CHECK (scopes <@ ARRAY['record', 'read', 'learn', 'admin'] AND cardinality(scopes) > 0),
        created_at timestamptz NOT NULL,
        revoked_at timestamptz,
        PRIMARY KEY (space_id, key_id)
    )
    """,
    "COMMENT ON TABLE sona.api_keys IS 'Keys of the HTTP service, by the SHA-256 of their secret, with what each may do; "
    "live: revoked_at is null.'",
    """
    CREATE TABLE IF NOT EXISTS sona.idempotent_requests (
        space_id int NOT NULL REFERENCES sona.spaces,
        key text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
        fingerprint bytea NOT NULL,
        recorded_at timestamptz NOT NULL,
        status smallint,
        media_type text,
        answer bytea,
        PRIMARY KEY (space_id, key)
    )
    """,
    "COMMENT ON TABLE sona.idempotent_requests IS 'HTTP requests that carried an idempotency key, by key, with the SHA-256 "
    "of the request and its answer; being answered: status is null.'",
    "CREATE INDEX IF NOT EXISTS idempotent_requests_by_time ON sona.idempotent_requests (space_id, recorded_at)",
    "COMMENT ON INDEX sona.idempotent_requests_by_time IS 'Serves: retention.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE sona.idempotent_requests")
    op.execute("DROP TABLE sona.api_keys")
    op.execute("DROP TABLE sona.shared_trajectories")
