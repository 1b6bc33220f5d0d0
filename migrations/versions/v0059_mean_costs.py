"""Comment of the view of daily figures: its cost is a mean, which must not be summed."""

from __future__ import annotations

from alembic import op

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None

EXAMPLE = "\\nExample: SELECT space, sum(trajectories) FROM sona.quality_by_space WHERE day >= current_date - 6 GROUP BY space"
BEFORE = f"Trajectories, quality, latency and cost per space and day (UTC).{EXAMPLE}"
NOW = (
    "Trajectories, quality, latency and cost per space and day (UTC). cost is a mean, of the trajectories whose cost is "
    f"known: for sums take cost_sum of sona.figures, kind ''space''.{EXAMPLE}"
)


def _comment(text: str) -> str:
    return f"COMMENT ON VIEW sona.quality_by_space IS E'{text}'"


STEPS = [_comment(NOW)]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute(_comment(BEFORE))
