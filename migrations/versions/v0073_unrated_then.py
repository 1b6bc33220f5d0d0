"""A pattern that nobody had rated in a version has no quality in ``sona.patterns_at`` and ``sona.diff`` either."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0007_version_history, v0029_sql_reference

revision = "0073"
down_revision = "0072"
branch_labels = None
depends_on = None

NAME = "FUNCTION sona.patterns_at(text, bigint)"
RATED = {
    "p.weight, p.quality,": "p.weight, CASE WHEN p.weight > 0 THEN p.quality END,",
    "'quality', o.quality,": "'quality', CASE WHEN o.weight > 0 THEN o.quality END,",
}
BEFORE = next(body for body in v0007_version_history.FUNCTIONS if "FUNCTION sona.patterns_at(of_space" in body)
PATTERNS = BEFORE
for told, rated in RATED.items():
    PATTERNS = PATTERNS.replace(told, rated)
SAID = "The patterns of a space as a version held them; an error if they are not kept."
EXAMPLE = f"\\nExample: {v0029_sql_reference.EXAMPLES[NAME]}"
COMMENT = "COMMENT ON {} IS E'{}{}'"
STEPS = [PATTERNS, COMMENT.format(NAME, f"{SAID} Quality is null where nothing had been rated.", EXAMPLE)]
UNDO = [BEFORE, COMMENT.format(NAME, SAID, EXAMPLE)]


def _run(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        _run(STEPS)


def downgrade() -> None:
    _run(UNDO)
