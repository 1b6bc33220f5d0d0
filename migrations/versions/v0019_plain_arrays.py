"""Learned arrays are stored without trying to compress them: most are floats that do not shrink.

The attempt took Postgres 12 of 27 ms for the 7 MB of a version over 100,000 candidates. Rows stored before keep theirs.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE sona.state_arrays ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("ALTER TABLE sona.state_arrays ALTER COLUMN data SET STORAGE EXTENDED")
