"""Fisher snapshots have a kind: a diagonal is as long as its optimum, a sketch is not."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COMMENT = (
    "COMMENT ON TABLE sona.fisher_snapshots IS 'At each task boundary: the {} and the optimum of a layer, "
    "float32, little-endian.'"
)


def upgrade() -> None:
    op.execute(
        "ALTER TABLE sona.fisher_snapshots "
        "DROP CONSTRAINT fisher_snapshots_check, "
        "ADD COLUMN kind text NOT NULL DEFAULT 'diagonal' CHECK (kind IN ('diagonal', 'kronecker')), "
        "ADD CHECK (kind <> 'diagonal' OR length(fisher) = length(optimum))"
    )
    op.execute(COMMENT.format("Fisher information (diagonal, or the sketch of its input factor)"))


def downgrade() -> None:
    op.execute("DELETE FROM sona.fisher_snapshots WHERE kind <> 'diagonal'")
    op.execute(
        "ALTER TABLE sona.fisher_snapshots "
        "DROP COLUMN kind, "
        "DROP CONSTRAINT IF EXISTS fisher_snapshots_check, "
        "ADD CONSTRAINT fisher_snapshots_check CHECK (length(fisher) = length(optimum))"
    )
    op.execute(COMMENT.format("diagonal Fisher information"))
