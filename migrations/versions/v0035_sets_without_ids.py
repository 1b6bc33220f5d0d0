"""Sets without ids, which stand for all candidates: each of them was offered what was taken."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0021_daily_figures import DECISIONS

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

WITH_IDS = "SELECT b.decisions, s.candidate_ids FROM by_set b"
OFFERED = DECISIONS.replace(
    WITH_IDS, "SELECT b.decisions, nullif(s.candidate_ids, '{}') AS candidate_ids FROM by_set b"
)
ALL = "Ids; none of a set of more than 1,024, which is learned as if it were all candidates."


def upgrade() -> None:
    op.execute(OFFERED)
    op.execute(f"COMMENT ON COLUMN sona.candidate_sets.candidate_ids IS '{ALL}'")


def downgrade() -> None:
    op.execute("COMMENT ON COLUMN sona.candidate_sets.candidate_ids IS NULL")
    op.execute(DECISIONS)
