"""Retention of a single space, in weeks; null: as long as the store keeps them."""

from __future__ import annotations

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS keep_weeks int CHECK (keep_weeks >= 1)",
    "COMMENT ON COLUMN sona.spaces.keep_weeks IS 'Weeks for which learned facts of this space are kept; null: as long as the "
    "store keeps them.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.spaces DROP COLUMN keep_weeks")
