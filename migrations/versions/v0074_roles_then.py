"""``sona.patterns_at`` finds the space for roles of their own space again: 0073 made it anew from before 0040."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0040_space_roles, v0073_unrated_then

revision = "0074"
down_revision = "0073"
branch_labels = None
depends_on = None

STEPS = [v0073_unrated_then.PATTERNS.replace(*v0040_space_roles.NAMES[0])]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.get_bind().connection.driver_connection.execute(v0073_unrated_then.PATTERNS)
