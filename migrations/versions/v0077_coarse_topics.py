"""Best routes of coarser topics: of patterns that the caller has put together, by the rule of ``sona.best_routes``."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0074_best_routes_of as before

revision = "0077"
down_revision = "0076"
branch_labels = None
depends_on = None

STORED = "SELECT o.pattern_id, o.route, o.weight, o.quality FROM sona.pattern_routes o WHERE o.space_id = wanted\n"
POOLED_STORED = """SELECT coalesce(g.topic, o.pattern_id) AS pattern_id, o.route, sum(o.weight) AS weight,
               coalesce(sum(o.weight * o.quality) / nullif(sum(o.weight), 0), 0.5) AS quality
        FROM sona.pattern_routes o LEFT JOIN grouped g ON g.pattern = o.pattern_id
        WHERE o.space_id = wanted GROUP BY 1, 2
"""
LATELY = """SELECT l.pattern_id, l.route, l.weight, l.quality
        FROM unnest(rated_patterns, rated_routes, weights, means) AS l (pattern_id, route, weight, quality)
"""
POOLED_LATELY = """SELECT coalesce(g.topic, l.pattern_id) AS pattern_id, l.route, sum(l.weight) AS weight,
               sum(l.weight * l.quality) / nullif(sum(l.weight), 0) AS quality
        FROM unnest(rated_patterns, rated_routes, weights, means) AS l (pattern_id, route, weight, quality)
        LEFT JOIN grouped g ON g.pattern = l.pattern_id GROUP BY 1, 2
"""
CHANGED = "    WITH changed AS MATERIALIZED (\n"
GROUPED = """    WITH grouped AS MATERIALIZED (
        SELECT g.pattern, g.topic FROM unnest(patterns, topics) AS g (pattern, topic)
    ), changed AS MATERIALIZED (
"""
FIRST = "FUNCTION sona.best_routes_of(\n    of_space text, "
NAMED = "FUNCTION sona.best_routes_of_topics(\n    of_space text, patterns uuid[], topics uuid[], "


def _pooled(text: str) -> str:
    parts = ((FIRST, NAMED), (CHANGED, GROUPED), (STORED, POOLED_STORED), (LATELY, POOLED_LATELY))
    for part, instead in parts:
        if text.count(part) != 1:
            raise ValueError(f"sona.best_routes_of has no {part!r}")
        text = text.replace(part, instead)
    return text


OF_TOPICS = _pooled(before.FROM_FOUND)
NAME = (
    "FUNCTION sona.best_routes_of_topics(text, uuid[], uuid[], text[], date[], uuid[], text[], double precision[], "
    "double precision[])"
)
COMMENT = (
    "What sona.best_routes_of tells, of patterns put together: patterns[i] counts for topics[i], with the ratings of all of a topic "
    "pooled, and any other pattern for itself. The dashboard puts them together by their centroids, as sona-pg topics list --topics "
    "20 prints them.\\nExample: SELECT pattern_id AS topic, best_route, quality, rated FROM sona.best_routes_of_topics(''support'', "
    "''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'')"
)
STEPS = [OF_TOPICS, f"COMMENT ON {NAME} IS E'{COMMENT}'"]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run([f"DROP {NAME}"])
