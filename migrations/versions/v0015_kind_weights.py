"""Weights by which a space tells the kinds of its patterns, fitted by its embedder to examples.

The previous release reads neither column: its learners tell kinds by the queries' words, as before.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STEPS = [
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS kinds_from bigint",
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS kind_weights bytea",
    "COMMENT ON COLUMN sona.spaces.kinds_from IS "
    "'The first version whose patterns have their kind by kind_weights; null: the space has none.'",
    "COMMENT ON COLUMN sona.spaces.kind_weights IS "
    "'Little-endian float32: a row of weights for each of six kinds, then their biases; kinds as in sona_pg.domain.pattern.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE sona.spaces DROP COLUMN kind_weights")
    op.execute("ALTER TABLE sona.spaces DROP COLUMN kinds_from")
