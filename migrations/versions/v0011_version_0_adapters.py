"""``sona.diff`` treats version 0 and a version with identity adapters as equal in adapters."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DIFFERS = "WHERE d.before IS DISTINCT FROM d.after"
# Version 0 has no rows of its own: its adapters have the norm 0.
DIFFERS_FROM_0 = f"""{DIFFERS} AND (
            d.part = 'adapter' AND 0 IN (from_version, to_version)
            AND (coalesce(d.before, d.after) ->> 'norm')::double precision = 0
        ) IS NOT TRUE"""
REPLACE = """
DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef('sona.diff(text, bigint, bigint)'::regprocedure), $old${old}$old$, $new${new}$new$);
END $do$
"""


def upgrade() -> None:
    op.execute(REPLACE.format(old=DIFFERS, new=DIFFERS_FROM_0))


def downgrade() -> None:
    op.execute(REPLACE.format(old=DIFFERS_FROM_0, new=DIFFERS))
