"""The quality of a pattern, or of a route in it, that nobody rated is null in views, as it is over HTTP: .5 looked measured."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0060_offered_routes as before
from sona_pg.migrations.versions import v0070_best_routes

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None

NAME = "sona.pattern_summary"
RATED = {
    "p.weight, p.quality,": "p.weight, CASE WHEN p.weight > 0 THEN p.quality END AS quality,",
    "'quality', r.quality,": "'quality', CASE WHEN r.weight > 0 THEN r.quality END,",
}
SUMMARY = before.SUMMARY
for told, rated in RATED.items():
    SUMMARY = SUMMARY.replace(told, rated)
COMMENT_BEFORE = v0070_best_routes.COMMENTS[f"VIEW {NAME}"]
COMMENT = COMMENT_BEFORE.replace("\\nExample", " Quality is null where nothing has been rated.\\nExample")


def _definition(summary: str, comment: str) -> list[str]:
    return [
        f"CREATE OR REPLACE VIEW {NAME} {before.SECURE} {summary}",
        f"COMMENT ON VIEW {NAME} IS E'{comment}'",
    ]


STEPS = _definition(SUMMARY, COMMENT)


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(_definition(before.SUMMARY, COMMENT_BEFORE))
