"""Indexes on batches: the oldest unlearned ones, for slices; and those of one cycle, for a rebuild."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STEPS = [
    "CREATE INDEX IF NOT EXISTS batches_unlearned ON sona.batches (space_id, recorded_at, batch) WHERE cycle_id IS NULL",
    "COMMENT ON INDEX sona.batches_unlearned IS 'Serves: the oldest batches of a space that no cycle has learned from.'",
    "CREATE INDEX IF NOT EXISTS batches_by_cycle ON sona.batches (space_id, cycle_id) WHERE cycle_id IS NOT NULL",
    "COMMENT ON INDEX sona.batches_by_cycle IS 'Serves: the batches that a cycle has learned from, for rebuild and retention.'",
    "DROP INDEX IF EXISTS sona.batches_waiting",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("CREATE INDEX batches_waiting ON sona.batches (space_id) WHERE cycle_id IS NULL")
    op.execute(
        "COMMENT ON INDEX sona.batches_waiting IS 'Serves: the batches of a space that no cycle has learned from yet.'"
    )
    op.execute("DROP INDEX sona.batches_unlearned, sona.batches_by_cycle")
