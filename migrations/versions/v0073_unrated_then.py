"""A pattern that nobody had rated in a version has no quality in ``sona.patterns_at`` and ``sona.diff`` either."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0007_version_history, v0029_sql_reference, v0040_space_roles

revision = "0073"
down_revision = "0072"
branch_labels = None
depends_on = None

NAME = "FUNCTION sona.patterns_at(text, bigint)"
RATED = {
    "p.weight, p.quality,": "p.weight, CASE WHEN p.weight > 0 THEN p.quality END,",
    "'quality', o.quality,": "'quality', CASE WHEN o.weight > 0 THEN o.quality END,",
}
FIRST = next(body for body in v0007_version_history.FUNCTIONS if "FUNCTION sona.patterns_at(of_space" in body)
BEFORE = FIRST.replace(*v0040_space_roles.NAMES[0])  # as 0040 left it
PATTERNS = BEFORE
for told, rated in RATED.items():
    PATTERNS = PATTERNS.replace(told, rated)
SAID = "The patterns of a space as a version held them; an error if they are not kept."
EXAMPLE = f"\\nExample: {v0029_sql_reference.EXAMPLES[NAME]}"
COMMENT = "COMMENT ON {} IS E'{}{}'"
STEPS = [PATTERNS, COMMENT.format(NAME, f"{SAID} Quality is null where nothing had been rated.", EXAMPLE)]
UNDO = [BEFORE, COMMENT.format(NAME, SAID, EXAMPLE)]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(UNDO)
