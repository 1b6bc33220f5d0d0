"""Time of the last change of a candidate's embedding: learners and servers read only these again."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.candidates ADD COLUMN IF NOT EXISTS changed_at timestamptz",
    "COMMENT ON COLUMN sona.candidates.changed_at IS "
    "'When its embedding was replaced last, by the clock of the database; null: never.'",
    "CREATE INDEX IF NOT EXISTS candidates_changed ON sona.candidates (space_id, changed_at) WHERE changed_at IS NOT NULL",
    "COMMENT ON INDEX sona.candidates_changed IS 'Serves: embeddings that were replaced since a catalog was read.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX sona.candidates_changed")
    op.execute("ALTER TABLE sona.candidates DROP COLUMN changed_at")
