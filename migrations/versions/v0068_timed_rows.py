"""Whether an imported row told its time: a row without one is the same only as another without one.

Empty for rows kept before, and for those of an export, which do not say.
"""

from __future__ import annotations

from alembic import op

revision = "0068"
down_revision = "0067"
branch_labels = None
depends_on = None

STEPS = ["ALTER TABLE sona.imported_ids ADD COLUMN IF NOT EXISTS is_timed boolean"]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.imported_ids DROP COLUMN is_timed")
