"""Best routes of topics from changes of routes that the caller has found, so that nobody finds them twice."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0070_best_routes as before

revision = "0074"
down_revision = "0073"
branch_labels = None
depends_on = None

SPLIT = "    RETURN QUERY\n"
HEAD, QUERY = before.BEST.split(SPLIT, 1)
FIND = """CREATE OR REPLACE FUNCTION sona.best_routes(of_space text, days int DEFAULT 90) RETURNS TABLE (
"""
OF = """CREATE FUNCTION sona.best_routes_of(
    of_space text, worse text[], days_of date[], rated_patterns uuid[], rated_routes text[], weights double precision[],
    means double precision[]
) RETURNS TABLE (
"""
OWN = """
    gone text[] := (SELECT sona.routes_not_offered(s.space_id) FROM sona.spaces s WHERE s.space_id = wanted);
"""
FOUND = """    worse text[];
    days_of date[];
    first date;
    last date;
    rated_patterns uuid[];
    rated_routes text[];
    weights double precision[];
    means double precision[];
"""
ANSWER = """    SELECT b.* FROM sona.best_routes_of(of_space, worse, days_of, rated_patterns, rated_routes, weights, means) b;
END $$
"""
DECLARED = HEAD[: HEAD.index("BEGIN\n")]


def _without(text: str, part: str, instead: str = "") -> str:
    if part not in text:
        raise ValueError(f"sona.best_routes has no {part!r}")
    return text.replace(part, instead)


FROM_FOUND = _without(_without(DECLARED, FIND, OF), FOUND) + "BEGIN\n" + SPLIT + QUERY
BEST = _without(HEAD, OWN, "\n") + SPLIT + ANSWER
NAME = "FUNCTION sona.best_routes_of(text, text[], date[], uuid[], text[], double precision[], double precision[])"
COMMENT = (
    "What sona.best_routes tells, of changes of routes that were found before: the routes that got worse, each with its day, "
    "and how often and how well each pattern was rated since then with each of them.\\nExample: SELECT pattern_id, best_route, "
    "succeeded_route FROM sona.best_routes_of(''support'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'')"
)
STEPS = [FROM_FOUND, f"COMMENT ON {NAME} IS E'{COMMENT}'", BEST]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run([before.BEST, f"DROP {NAME}"])
