"""Changes of quality: between which days, and by which topics; labels whose part is that of topics are told apart."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0050_quality_changes as before

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None

# Likelihood ratio of each day against the best: 10.6 is its quantile of .99 for a change point.
DOUBT = """        earliest := changed_on;
        latest := changed_on;
        FOR i IN edges[edge - 1] + 1 .. edges[edge + 1] - 1 LOOP
            q0 := (s[i + 1] - s[a + 1]) / (n[i + 1] - n[a + 1]);
            q1 := (s[b + 1] - s[i + 1]) / (n[b + 1] - n[i + 1]);
            IF (difference / apart) ^ 2
               - (q1 - q0) ^ 2 / (excess * spread * (1 / (n[i + 1] - n[a + 1]) + 1 / (n[b + 1] - n[i + 1]))) <= 10.6 THEN
                earliest := least(earliest, on_day[i + 1]);
                latest := greatest(latest, on_day[i + 1]);
            END IF;
        END LOOP;
"""
CHANGES = (
    before.CHANGES.replace("chance double precision\n)", "chance double precision,\n    earliest date, latest date\n)")
    .replace("FOR i IN 2 .. cardinality(edges) - 1 LOOP\n        a := edges[i - 1];\n        b := edges[i + 1];",
             "FOR edge IN 2 .. cardinality(edges) - 1 LOOP\n        a := edges[edge - 1];\n        b := edges[edge + 1];")
    .replace("        IF changed_on > newest - days THEN", DOUBT + "        IF changed_on > newest - days THEN")
)  # fmt: skip
HEAD, TAIL = CHANGES.split("        b := edges[edge + 1];")
CHANGES = HEAD + "        b := edges[edge + 1];" + TAIL.replace("edges[i]", "edges[edge]", 8)
# Effects of a kind of which each trajectory has one add up to the difference: shares that moved at their mean quality, and
# qualities that moved at their mean share (Kitagawa 1955). Clear: by the false discovery rate (Benjamini, Hochberg 1995).
PARTS = """
CREATE OR REPLACE FUNCTION sona.change_parts(
    of_space text, changed_on date, before_from date DEFAULT NULL, after_until date DEFAULT NULL
) RETURNS TABLE (
    kind text, name text, title text, before_rated bigint, before_quality double precision, after_rated bigint,
    after_quality double precision, before_share double precision, after_share double precision,
    share_effect double precision, quality_effect double precision, effect double precision, is_clear boolean,
    sampled boolean, own_effect double precision, first_day date, last_day date
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    first_day date := coalesce(before_from, $2 - 28);
    last_day date := coalesce(after_until, $2 + 27);
    ids uuid[];
    routes text[];
    qualities float8[];
    topics uuid[];
    is_sample boolean;
BEGIN
    IF NOT (first_day < $2 AND $2 <= last_day) THEN
        RAISE EXCEPTION 'changed_on=%: expected a day after before_from and not after after_until', $2
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT array_agg(j.id), array_agg(j.route), array_agg(j.quality), array_agg(j.pattern_id), coalesce(bool_or(j.sampled), false)
    INTO ids, routes, qualities, topics, is_sample
    FROM sona.judged_topics(wanted, first_day, last_day) j;
    RETURN QUERY
    WITH called AS MATERIALIZED (  -- topics of one name are one
        SELECT DISTINCT ON (t.pattern_id) t.pattern_id, t.name, min(t.pattern_id::text) OVER (PARTITION BY t.name) AS key
        FROM sona.topics t WHERE t.space_id = wanted ORDER BY t.pattern_id, t.name
    ), ratings AS MATERIALIZED (
        SELECT r.id, r.route, r.quality, coalesce(c.key, r.pattern_id::text) AS topic, sona.day_of(r.id) AS day
        FROM unnest(ids, routes, qualities, topics) AS r (id, route, quality, pattern_id)
        LEFT JOIN called c ON c.pattern_id = r.pattern_id
        WHERE r.pattern_id IS NOT NULL
    ), sums AS (
        SELECT d.kind, d.name, d.day >= $2 AS later, sum(d.rated)::float8 AS rated, sum(d.quality) AS quality,
               min(d.day) AS first_day, max(d.day) AS last_day
        FROM sona.daily_sums(wanted, first_day, last_day, ARRAY['space', 'route', 'version', 'label', 'user']) d
        GROUP BY 1, 2, 3
        UNION ALL
        SELECT 'topic', r.topic, r.day >= $2, count(*)::float8, sum(r.quality), min(r.day), max(r.day)
        FROM ratings r GROUP BY 1, 2, 3
    ), both_sides AS (
        SELECT s.kind, s.name, coalesce(sum(s.rated) FILTER (WHERE NOT s.later), 0) AS n0,
               coalesce(sum(s.rated) FILTER (WHERE s.later), 0) AS n1,
               coalesce(sum(s.quality) FILTER (WHERE NOT s.later), 0) AS s0,
               coalesce(sum(s.quality) FILTER (WHERE s.later), 0) AS s1,
               min(s.first_day) AS first_day, max(s.last_day) AS last_day
        FROM sums s GROUP BY 1, 2
    ), whole AS (
        SELECT CASE b.kind WHEN 'topic' THEN 'topic' ELSE 'space' END AS kind, sum(b.n0) AS n0, sum(b.n1) AS n1,
               sum(b.s0) / sum(b.n0) AS q0, sum(b.s1) / sum(b.n1) AS q1
        FROM both_sides b WHERE b.kind IN ('space', 'topic') GROUP BY b.kind HAVING sum(b.n0) > 0 AND sum(b.n1) > 0
    ), means AS (  -- a name that one side lacks keeps the quality of the other
        SELECT b.kind, b.name, b.n0, b.n1, b.n0 / w.n0 AS w0, b.n1 / w.n1 AS w1,
               CASE WHEN b.n0 > 0 THEN b.s0 / b.n0 ELSE b.s1 / b.n1 END AS q0,
               CASE WHEN b.n1 > 0 THEN b.s1 / b.n1 ELSE b.s0 / b.n0 END AS q1,
               -- variances as of two ratings more, a good one and a bad one: few that are all alike are not certain
               (b.s0 + 1) * (b.n0 - b.s0 + 1) / (b.n0 + 2) ^ 2 AS v0, (b.s1 + 1) * (b.n1 - b.s1 + 1) / (b.n1 + 2) ^ 2 AS v1,
               (w.q0 + w.q1) / 2 AS middle, w.n0 AS all0, w.n1 AS all1, w.q1 - w.q0 AS difference, b.first_day, b.last_day
        FROM both_sides b JOIN whole w ON w.kind = CASE b.kind WHEN 'topic' THEN 'topic' ELSE 'space' END
        WHERE b.kind <> 'space' AND b.n0 + b.n1 >= 10
    ), effects AS (
        SELECT m.*, (m.w1 - m.w0) * ((m.q0 + m.q1) / 2 - m.middle) AS by_share, (m.w0 + m.w1) / 2 * (m.q1 - m.q0) AS by_quality,
               sqrt(((m.w0 + m.w1) / 2) ^ 2 * CASE WHEN m.n0 > 0 AND m.n1 > 0 THEN m.v0 / m.n0 + m.v1 / m.n1 ELSE 0 END
                    + ((m.q0 + m.q1) / 2 - m.middle) ^ 2 * (m.w0 * (1 - m.w0) / m.all0 + m.w1 * (1 - m.w1) / m.all1)) AS error
        FROM means m
        -- Versions follow each other: only those that both sides have, of decisions.
        WHERE m.kind <> 'version' OR (m.name <> '' AND least(m.w0, m.w1) >= 0.05)
    ), tested AS (
        SELECT e.*, CASE WHEN e.error > 0 THEN erfc(abs(e.by_share + e.by_quality) / e.error / sqrt(2::float8)) ELSE 1 END AS p
        FROM effects e
    ), placed AS (
        SELECT t.*, count(*) OVER (PARTITION BY t.kind) * t.p / row_number() OVER (PARTITION BY t.kind ORDER BY t.p, t.name) AS rate,
               row_number() OVER (PARTITION BY t.kind ORDER BY abs(t.by_share + t.by_quality) DESC, t.name) AS place
        FROM tested t
    ), ranked AS MATERIALIZED (
        SELECT p.*, min(p.rate) OVER (PARTITION BY p.kind ORDER BY p.p DESC, p.name DESC ROWS UNBOUNDED PRECEDING)
                    <= CASE p.kind WHEN 'topic' THEN 0.1 ELSE 0.05 END AS is_clear
        FROM placed p
    ), fallen AS (  -- or risen, as the whole did
        SELECT r.name, r.q1 - r.q0 AS by FROM ranked r WHERE r.kind = 'topic' AND r.is_clear AND r.by_quality * r.difference > 0
    ), contexts AS (
        SELECT t.id, t.context FROM sona.trajectories t
        WHERE t.space_id = wanted AND t.id = ANY(ids) AND t.id >= sona.first_id(first_day) AND t.id <= sona.last_id(last_day)
    ), others AS (  -- as if these topics had not changed
        SELECT l.kind, l.name, avg(r.quality) FILTER (WHERE r.day < $2) AS q0,
               avg(r.quality - coalesce(f.by, 0)) FILTER (WHERE r.day >= $2) AS q1
        FROM ratings r LEFT JOIN contexts c ON c.id = r.id LEFT JOIN fallen f ON f.name = r.topic
        CROSS JOIN LATERAL (
            SELECT 'route' AS kind, coalesce(r.route, '') AS name
            UNION ALL
            SELECT CASE WHEN u.label LIKE 'user:%' THEN 'user' ELSE 'label' END, u.label
            FROM unnest(c.context) AS u (label)
        ) l
        GROUP BY 1, 2
    )
    SELECT r.kind, r.name, CASE r.kind WHEN 'topic' THEN coalesce(
               (SELECT c.name FROM called c WHERE c.key = r.name LIMIT 1),
               (SELECT p.typical_queries[1] FROM sona.patterns p
                WHERE p.space_id = wanted AND p.pattern_id = r.name::uuid)) ELSE nullif(r.name, '') END,
           r.n0::bigint, CASE WHEN r.n0 > 0 THEN r.q0 END, r.n1::bigint, CASE WHEN r.n1 > 0 THEN r.q1 END, r.w0, r.w1,
           r.by_share, r.by_quality, r.by_share + r.by_quality, r.is_clear, r.kind = 'topic' AND is_sample,
           CASE WHEN r.kind IN ('topic', 'version') OR NOT EXISTS (SELECT FROM fallen) THEN r.by_share + r.by_quality
                ELSE r.by_share + coalesce((r.w0 + r.w1) / 2 * (o.q1 - o.q0), 0) END,
           r.first_day, r.last_day
    FROM ranked r LEFT JOIN others o ON o.kind = r.kind AND o.name = r.name
    WHERE r.place <= 30
    ORDER BY abs(r.by_share + r.by_quality) DESC, r.kind, r.name;
END $$
"""
COMMENTS = {
    "quality_changes(text, int)": "The days (UTC) of the last so many on which the mean quality of a space changed beyond "
    "chance, seen over at least 60 days, by at least two points: the means before, back to the change before, and after, up to "
    "the next one, with the 95 % interval of the difference. It was on one of the days from earliest to latest, 99 times out of "
    "100. chance: how often so large a difference would be found on any of the days though nothing had changed, at most .01."
    "\\nExample: SELECT changed_on, earliest, latest, difference, before_quality, after_quality, after_rated FROM "
    "sona.quality_changes(''support'', 90)",
    "change_parts(text, date, date, date)": "What the mean quality of a space changed with on a day, between the days from "
    "before_from (28 before) up to it and those from it to after_until (28): routes, topics (those of one name are one; of very "
    "many trajectories a sample), labels, users with 10 ratings, and versions that both sides have. effect: part of the "
    "difference, by their share of the ratings (share_effect) and by their quality (quality_effect); those of all routes add up "
    "to the difference, and so do those of topics. own_effect: what it would be had the topics not changed that clearly did as the "
    "whole did: a label that fell with one topic alone has none. is_clear: beyond chance, at most one of 20 wrongly, of topics one of 10. first_day, "
    "last_day: of its ratings.\\nExample: SELECT kind, title, before_quality, after_quality, effect, own_effect FROM "
    "sona.change_parts(''support'', current_date) WHERE is_clear",
}
DROPS = ["DROP FUNCTION sona.change_parts(text, date, date, date)", "DROP FUNCTION sona.quality_changes(text, int)"]


def _comments(of: dict[str, str]) -> list[str]:
    return [f"COMMENT ON FUNCTION sona.{name} IS E'{of[name]}'" for name in COMMENTS]


STEPS = [*(drop.replace("FUNCTION", "FUNCTION IF EXISTS") for drop in DROPS), CHANGES, PARTS, *_comments(COMMENTS)]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for statement in [*DROPS, before.CHANGES, before.PARTS, *_comments(before.COMMENTS)]:
        driver.execute(statement)
