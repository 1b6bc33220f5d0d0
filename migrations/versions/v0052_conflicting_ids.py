"""The number of trajectories that servers recorded again under a stored id with other contents.

The previous release does not count them, and drops the other contents as well.
"""

from __future__ import annotations

from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.servers ADD COLUMN IF NOT EXISTS conflicting bigint NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN sona.servers.conflicting IS "
    "'Trajectories recorded again under a stored id with other contents: the first contents stay.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.servers DROP COLUMN conflicting")
