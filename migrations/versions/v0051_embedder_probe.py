"""The vector that a space's embedder gives a fixed text, so that another model of the same dimension is noticed.

The previous release does not read it, and opens a space with any embedder.
"""

from __future__ import annotations

from alembic import op

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS embedder_probe bytea",
    "COMMENT ON COLUMN sona.spaces.embedder_probe IS "
    "'Little-endian float32: the unit vector that the space''s embedder gives a fixed text. An engine whose embedder gives "
    "another is refused. Null: no engine with an embedder has opened it.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.spaces DROP COLUMN embedder_probe")
