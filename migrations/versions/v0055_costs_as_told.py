"""Costs in sums and views by the digits that were told: 0.0001, not the nearest single precision number in double.

Days that are summed up already keep the sums of before, which differ by at most a ten-millionth.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0021_daily_figures import JUDGED, SUM_UP

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

# The text of a real has the fewest digits that tell it from its neighbours.
CHANGES = (
    (JUDGED, "coalesce(p.paid, t.paid, t.cost)::float8", "coalesce(p.paid, t.paid, t.cost)::text::float8"),
    (SUM_UP, "sum(s.paid::float8)", "sum(s.paid::text::float8)"),
)


def _changed(function: str, old: str, new: str) -> str:
    if function.count(old) != 1:
        raise AssertionError(f"revision 0021 has changed: {old}")
    return function.replace(old, new)


STEPS = [_changed(*change) for change in CHANGES]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for function, _, _ in CHANGES:
        driver.execute(function)
