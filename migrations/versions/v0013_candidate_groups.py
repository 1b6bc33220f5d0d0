"""Groups of candidates and their order: turns of a conversation, sections of a document; ``recall`` follows them."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.candidates ADD COLUMN IF NOT EXISTS group_name text, ADD COLUMN IF NOT EXISTS position bigint",
    "COMMENT ON COLUMN sona.candidates.group_name IS 'Conversation or document that it is a part of; null: none.'",
    "COMMENT ON COLUMN sona.candidates.position IS 'Its place in the order of the group; only the order counts.'",
    "CREATE INDEX IF NOT EXISTS candidates_in_order ON sona.candidates (space_id, group_name, position) "
    "WHERE group_name IS NOT NULL",
    "COMMENT ON INDEX sona.candidates_in_order IS 'Serves: neighbours of a candidate in its group, for recall.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX sona.candidates_in_order")
    op.execute("ALTER TABLE sona.candidates DROP COLUMN position, DROP COLUMN group_name")
