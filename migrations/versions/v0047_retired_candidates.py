"""Retired candidates: never answered with until they are restored; and a view over all candidates."""

from __future__ import annotations

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.candidates ADD COLUMN IF NOT EXISTS retired_at timestamptz",
    "ALTER TABLE sona.candidates ADD COLUMN IF NOT EXISTS restored_at timestamptz",
    "COMMENT ON COLUMN sona.candidates.retired_at IS "
    "'When it was retired last: no server answers with it until it is restored. Null: never.'",
    "COMMENT ON COLUMN sona.candidates.restored_at IS 'When that was taken back; null: it is still retired, or never was.'",
    "CREATE INDEX IF NOT EXISTS candidates_retired ON sona.candidates (space_id, (coalesce(restored_at, retired_at))) "
    "WHERE retired_at IS NOT NULL",
    "COMMENT ON INDEX sona.candidates_retired IS 'Serves: candidates retired or restored since a server has read them.'",
    """
    CREATE OR REPLACE VIEW sona.catalog WITH (security_invoker = true) AS
    SELECT s.name AS space, c.space_id, c.candidate_id, c.group_name, c.position, c.recorded_at,
           CASE WHEN c.restored_at IS NULL THEN c.retired_at END AS retired_at
    FROM sona.candidates c JOIN sona.spaces s ON s.space_id = c.space_id
    """,
    "COMMENT ON VIEW sona.catalog IS E'Candidates: what can be answered, with the time since which it is retired; null "
    "of those that are ranked.\\nExample: SELECT candidate_id, recorded_at, retired_at FROM sona.catalog WHERE space = ''support'' "
    "ORDER BY retired_at LIMIT 20'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.catalog")
    op.execute("DROP INDEX sona.candidates_retired")
    op.execute("ALTER TABLE sona.candidates DROP COLUMN restored_at")
    op.execute("ALTER TABLE sona.candidates DROP COLUMN retired_at")
