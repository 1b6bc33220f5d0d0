"""Learning settings of a space by version, and the origin of a re-embedded space.

``spaces.settings`` exists since revision 0001 and was empty: a space without settings keeps the defaults of
that release, see ``sona_pg.config.space_settings``. The previous release reads neither.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.space_settings (
        space_id int NOT NULL REFERENCES sona.spaces,
        from_version bigint NOT NULL CHECK (from_version >= 0),
        settings jsonb NOT NULL CHECK (jsonb_typeof(settings) = 'object'),
        recorded_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, from_version)
    )
    """,
    "COMMENT ON TABLE sona.space_settings IS 'What a space has learned with, once it was changed: each row holds from "
    "its version up to the next row; a rebuild runs every cycle with the settings of its time.'",
    "COMMENT ON COLUMN sona.spaces.settings IS "
    "'What the space learns with now, by dotted name; empty: the defaults of schema revision 0005.'",
    "ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS predecessor int",
    "COMMENT ON COLUMN sona.spaces.predecessor IS 'The space that this one was re-embedded from; it may be gone.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE sona.space_settings")
    op.execute("ALTER TABLE sona.spaces DROP COLUMN predecessor")
    op.execute("COMMENT ON COLUMN sona.spaces.settings IS NULL")
