"""When maintenance and a dump ended last: nobody notices otherwise that the nightly job has stopped."""

from __future__ import annotations

from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None

# A store that was never maintained counts from this revision on.
STEPS = [
    "ALTER TABLE sona.schema_revision ADD COLUMN IF NOT EXISTS maintained_at timestamptz DEFAULT now()",
    "ALTER TABLE sona.schema_revision ADD COLUMN IF NOT EXISTS dumped_at timestamptz",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.schema_revision DROP COLUMN maintained_at, DROP COLUMN dumped_at")
