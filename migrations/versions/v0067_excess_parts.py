"""Parts of a change are tested against what everything did, and routes whose own quality changed are found by themselves."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0058_explained_changes as before

revision = "0067"
down_revision = "0066"
branch_labels = None
depends_on = None

# With the mean share u of a part, and the mean o of the others, what it contributed beyond its part of the ratings is
# by_share + u (1 - u) ((q1 - q0) - (o1 - o0)). A name that one side lacks has contributed by its share alone.
EFFECTS = """effects AS (
        SELECT m.*, (m.w0 + m.w1) / 2 AS usual, m.n0 > 0 AND m.n1 > 0 AS stayed,
               (m.w1 - m.w0) * ((m.q0 + m.q1) / 2 - m.middle) AS by_share, (m.w0 + m.w1) / 2 * (m.q1 - m.q0) AS by_quality,
               m.middle - m.difference / 2 AS p0, m.middle + m.difference / 2 AS p1
        FROM means m
        -- Versions follow each other: only those that both sides have, of decisions.
        WHERE m.kind <> 'version' OR (m.name <> '' AND least(m.w0, m.w1) >= 0.05)
    ), excesses AS (
        SELECT e.*, e.by_share + CASE WHEN e.stayed THEN e.by_quality - e.usual * e.difference ELSE 0 END AS excess,
               sqrt(CASE WHEN e.stayed THEN
                        ((e.usual * (1 - e.usual)) ^ 2 + (e.w1 - e.w0) ^ 2 / 4) * (e.v0 / e.n0 + e.v1 / e.n1)
                        + (e.usual * (1 - e.usual)) ^ 2 * (e.p0 * (1 - e.p0) / greatest(e.all0 - e.n0, 1)
                                                           + e.p1 * (1 - e.p1) / greatest(e.all1 - e.n1, 1))
                    ELSE (e.w1 - e.w0) ^ 2 * CASE WHEN e.n0 > 0 THEN e.v0 / e.n0 ELSE e.v1 / e.n1 END END
                    + ((e.q0 + e.q1) / 2 - e.middle) ^ 2 * (e.w0 * (1 - e.w0) / e.all0 + e.w1 * (1 - e.w1) / e.all1)) AS error
        FROM effects e
    ), tested AS (
        SELECT e.*, CASE WHEN e.error > 1e-12 THEN erfc(abs(e.excess) / e.error / sqrt(2::float8)) ELSE 1 END AS p
        FROM excesses e
    ), """
HEAD, REST = before.PARTS.split("effects AS (", 1)
PARTS = HEAD + EFFECTS + "placed AS (" + REST.split("placed AS (", 1)[1].replace(
    "AND r.by_quality * r.difference > 0", "AND r.by_quality * r.difference > 0 AND r.excess * r.difference > 0"
)  # fmt: skip
# The best cut of each route's days by the difference against all others, then again within what is after it: what is
# left is the last one. The variance of a rating is at most q (1 - q), and by as much more as neighbouring days differ.
ROUTES = """
CREATE OR REPLACE FUNCTION sona.route_changes(of_space text, days int DEFAULT 90) RETURNS TABLE (
    route text, changed_on date, before_from date, before_rated bigint, before_quality double precision,
    after_until date, after_rated bigint, after_quality double precision, others_before double precision,
    others_after double precision, chance double precision
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    today date := (now() AT TIME ZONE 'UTC')::date;
    newest date;  -- of the trajectories
    found record;
    m int;
    n float8[];
    s float8[];
    excess float8;
    a int;
    best int;
    unlikely float8;
    apart float8;
    n0 float8;
    n1 float8;
    s0 float8;
    s1 float8;
    o0 float8;
    o1 float8;
    t0 float8;
    t1 float8;
    beyond float8;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days=%: expected 1 or more', days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    newest := sona.day_of((SELECT t.id FROM sona.trajectories t WHERE t.space_id = wanted ORDER BY t.id DESC LIMIT 1));
    IF newest >= today - days + 1 OR newest IS NULL THEN  -- else all is older, as after an import
        newest := today;
    END IF;
    FOR found IN
        WITH sums AS MATERIALIZED (
            SELECT d.kind, d.name, d.day, d.rated::float8 AS rated, d.quality
            FROM sona.daily_sums(wanted, greatest(newest - greatest(days, 60) + 1, '1970-01-01'), newest,
                                 ARRAY['space', 'route']) d
        ), whole AS (
            SELECT w.day, sum(w.rated) OVER t AS rated, sum(w.quality) OVER t AS quality
            FROM sums w WHERE w.kind = 'space' WINDOW t AS (ORDER BY w.day)
        )
        SELECT r.name, array_agg(r.day ORDER BY r.day) AS on_day, array_agg(r.rated ORDER BY r.day) AS rated,
               array_agg(r.quality ORDER BY r.day) AS quality, array_agg(w.rated ORDER BY r.day) AS all_rated,
               array_agg(w.quality ORDER BY r.day) AS all_quality, count(*) OVER () AS looked_at
        FROM sums r JOIN whole w ON w.day = r.day
        WHERE r.kind = 'route' AND r.name <> ''
        GROUP BY r.name HAVING sum(r.rated) >= 20 AND count(*) > 1
        ORDER BY sum(r.rated) DESC, r.name LIMIT 1000
    LOOP
        m := cardinality(found.on_day);
        n := ARRAY[0::float8];  -- n[i + 1]: up to day i
        s := ARRAY[0::float8];
        FOR i IN 1 .. m LOOP
            n[i + 1] := n[i] + found.rated[i];
            s[i + 1] := s[i] + found.quality[i];
        END LOOP;
        excess := 1;
        IF m >= 8 THEN
            beyond := greatest(s[m + 1] / n[m + 1] * (1 - s[m + 1] / n[m + 1]), 0.01);
            excess := greatest((
                SELECT avg(r.z) / 0.76 FROM (  -- 0.76: mean of what is left of a chi square
                    SELECT z.z, row_number() OVER (ORDER BY z.z DESC) > greatest(0.05 * (m - 1), 1) AS is_usual FROM (
                        SELECT (found.quality[i] / found.rated[i] - found.quality[i - 1] / found.rated[i - 1]) ^ 2
                               / (beyond * (1 / found.rated[i] + 1 / found.rated[i - 1])) AS z
                        FROM generate_series(2, m) AS i
                    ) z
                ) r WHERE r.is_usual), 1);
        END IF;
        changed_on := NULL;
        a := 0;
        LOOP
            best := NULL;
            unlikely := 0;
            FOR i IN a + 1 .. m - 1 LOOP
                n0 := n[i + 1] - n[a + 1];
                n1 := n[m + 1] - n[i + 1];
                CONTINUE WHEN least(n0, n1) < 10;
                s0 := s[i + 1] - s[a + 1];
                s1 := s[m + 1] - s[i + 1];
                o0 := found.all_rated[i] - CASE WHEN a > 0 THEN found.all_rated[a] ELSE 0 END - n0;
                o1 := found.all_rated[m] - found.all_rated[i] - n1;
                CONTINUE WHEN least(o0, o1) < 10;  -- nothing to compare with: sona.quality_changes tells
                t0 := (found.all_quality[i] - CASE WHEN a > 0 THEN found.all_quality[a] ELSE 0 END - s0) / o0;
                t1 := (found.all_quality[m] - found.all_quality[i] - s1) / o1;
                beyond := (s1 / n1 - s0 / n0) - (t1 - t0);
                -- variances as of two ratings more, a good one and a bad one
                apart := abs(beyond) / sqrt(excess * (
                    (s0 + s1 + 1) * (n0 + n1 - s0 - s1 + 1) / (n0 + n1 + 2) ^ 2 * (1 / n0 + 1 / n1)
                    + (t0 * o0 + t1 * o1 + 1) * (o0 + o1 - t0 * o0 - t1 * o1 + 1) / (o0 + o1 + 2) ^ 2 * (1 / o0 + 1 / o1)));
                IF apart > unlikely AND abs(beyond) >= 0.1 AND abs(s1 / n1 - s0 / n0) >= 0.1 THEN
                    unlikely := apart;
                    best := i;
                END IF;
            END LOOP;
            -- Each day of each route could have been found by chance.
            EXIT WHEN best IS NULL OR erfc(unlikely / sqrt(2::float8)) * (m - 1) * found.looked_at > 0.01;
            route := found.name;
            changed_on := found.on_day[best + 1];
            chance := erfc(unlikely / sqrt(2::float8)) * (m - 1) * found.looked_at;
            before_from := found.on_day[a + 1];
            before_rated := n[best + 1] - n[a + 1];
            before_quality := least((s[best + 1] - s[a + 1]) / before_rated, 1);
            after_until := found.on_day[m];
            after_rated := n[m + 1] - n[best + 1];
            after_quality := least((s[m + 1] - s[best + 1]) / after_rated, 1);
            t0 := found.all_quality[best] - CASE WHEN a > 0 THEN found.all_quality[a] ELSE 0 END;
            o0 := found.all_rated[best] - CASE WHEN a > 0 THEN found.all_rated[a] ELSE 0 END;
            others_before := least((t0 - (s[best + 1] - s[a + 1])) / (o0 - before_rated), 1);
            t1 := found.all_quality[m] - found.all_quality[best];
            o1 := found.all_rated[m] - found.all_rated[best];
            others_after := least((t1 - (s[m + 1] - s[best + 1])) / (o1 - after_rated), 1);
            a := best;
        END LOOP;
        IF changed_on > newest - days THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$
"""
COMMENTS = {
    "change_parts(text, date, date, date)": before.COMMENTS["change_parts(text, date, date, date)"].replace(
        "is_clear: beyond chance, at most",
        "is_clear: more or less than its part of the ratings, beyond chance, at most",
    ),
    "route_changes(text, int)": "The routes whose quality changed in the last so many days (UTC) by at least ten points, and by "
    "as much more or less than that of all others, beyond chance: on which day it last did, the means before, back to "
    "the change before, and since, and those of all others on these days. Seen over at least 60 days; at least ten ratings on each "
    "side. chance: how often so large a difference would be found on any day of any route though nothing had changed, at most "
    ".01.\\nExample: SELECT route, changed_on, before_quality, after_quality, after_rated FROM "
    "sona.route_changes(''support'', 90)",
}
STEPS = [PARTS, ROUTES, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items())]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    parts = "change_parts(text, date, date, date)"
    for statement in (
        "DROP FUNCTION sona.route_changes(text, int)", before.PARTS,
        f"COMMENT ON FUNCTION sona.{parts} IS E'{before.COMMENTS[parts]}'",
    ):  # fmt: skip
        driver.execute(statement)
