"""The number of a server's report of its spending: totals may shrink, so a later report is known by it.

The previous release tells later reports by their requests, and leaves the number empty.
"""

from __future__ import annotations

from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.servers ADD COLUMN IF NOT EXISTS budget_report bigint",
    "COMMENT ON COLUMN sona.servers.budget_report IS "
    "'Number of the report that these totals are of: an earlier one that arrives late does not replace it.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.servers DROP COLUMN budget_report")
