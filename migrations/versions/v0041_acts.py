"""Administrative acts: who made, changed or removed what, recorded in the transaction that did it."""

from __future__ import annotations

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.acts (
        space_id int NOT NULL CHECK (space_id >= 0),
        act_id uuid NOT NULL,
        at timestamptz NOT NULL,
        act text NOT NULL CHECK (octet_length(act) BETWEEN 1 AND 100),
        login text NOT NULL,
        actor text NOT NULL,
        details jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (space_id, act_id)
    )
    """,
    "COMMENT ON TABLE sona.acts IS 'Administrative acts: each stands in the transaction that did it, and is never changed.'",
    "COMMENT ON COLUMN sona.acts.space_id IS '0: about the whole store, or a space that is removed.'",
    "COMMENT ON COLUMN sona.acts.login IS 'The login of the database; row-level security lets nobody write another one.'",
    "COMMENT ON COLUMN sona.acts.actor IS 'Who asked, as the server says: an API key, or a user of a machine.'",
    "CREATE INDEX IF NOT EXISTS acts_by_time ON sona.acts (space_id, at)",
    "COMMENT ON INDEX sona.acts_by_time IS 'Serves: the latest acts of a space, and forgetting the others.'",
    """
    CREATE OR REPLACE VIEW sona.audit_log WITH (security_invoker = true) AS
    SELECT s.name AS space, a.space_id, a.at, a.act, a.login, a.actor, a.details
    FROM sona.acts a LEFT JOIN sona.spaces s ON s.space_id = a.space_id
    """,
    "COMMENT ON VIEW sona.audit_log IS E'Administrative acts: spaces, settings, budgets, keys, logins, versions, erasures and "
    "retention, with who did them. space is null for acts about the whole store.\\nExample: SELECT * FROM sona.audit_log "
    "WHERE space = ''support'' ORDER BY at DESC LIMIT 20'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.audit_log")
    op.execute("DROP TABLE sona.acts")
