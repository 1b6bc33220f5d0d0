"""Which releases the schema serves: an earlier one that is started on it asks, rather than refuse whatever it does not know.

A revision that earlier code cannot live with defines the function again, with its own number, in its first step.
"""

from __future__ import annotations

from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

SERVES_FROM = """
CREATE OR REPLACE FUNCTION sona.serves_from() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    RETURN '0061';
END $$
"""
COMMENT = (
    "COMMENT ON FUNCTION sona.serves_from() IS E'The earliest revision of the schema whose release may be started on this "
    "one: a server of that release or a later one takes part in a rolling upgrade, an earlier one refuses.\\n"
    "Example: SELECT sona.serves_from(), version_num FROM sona.schema_revision'"
)
STEPS = [SERVES_FROM, COMMENT]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION sona.serves_from()")
