"""When the quality of a space changed beyond chance, and what it changed with."""

from __future__ import annotations

from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

# Live days are summed up as they are read, but only those that are asked for.
DAILY = """
CREATE OR REPLACE FUNCTION sona.daily_sums(of_space int, first_day date, last_day date, kinds text[]) RETURNS TABLE (
    day date, kind text, name text, rated bigint, quality double precision
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH days AS MATERIALIZED (
        SELECT d.day, d.first_id, d.last_id, d.is_live FROM sona.days_of(of_space) d
        WHERE isfinite(d.day) AND d.day BETWEEN $2 AND $3
    )
    SELECT d.day, f.kind, f.name, f.rated, f.quality
    FROM days d
    CROSS JOIN LATERAL (
        SELECT k.kind, k.name, k.rated, k.quality FROM sona.daily_figures k
        WHERE NOT d.is_live AND k.space_id = of_space AND k.day = d.day AND k.kind = ANY(kinds)
        UNION ALL
        SELECT l.kind, l.name, l.rated, l.quality FROM sona.figures_between(of_space, d.first_id, d.last_id) l
        WHERE d.is_live AND l.kind = ANY(kinds)
    ) f
    WHERE f.rated > 0;
END $$
"""
# Circular binary segmentation of daily means (Olshen et al. 2004), with a bound for the looks in place of permutations. The variance of a rating is at most q (1 - q); days differ by more than that where
# ratings of a day depend on each other, or weekends on who asks. The differences of neighbouring days tell by how much,
# without the largest twentieth, in which the changes are. Evidence: tests/store/test_quality_changes.py.
CHANGES = """
CREATE OR REPLACE FUNCTION sona.quality_changes(of_space text, days int DEFAULT 90) RETURNS TABLE (
    changed_on date, difference double precision, low double precision, high double precision,
    before_from date, before_rated bigint, before_quality double precision,
    after_until date, after_rated bigint, after_quality double precision, chance double precision
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    today date := (now() AT TIME ZONE 'UTC')::date;
    newest date;  -- of the trajectories
    on_day date[];
    n float8[];
    s float8[];
    m int;
    spread float8;
    excess float8 := 1;
    edges int[];
    todo int[];
    a int;
    b int;
    best int;
    finish int;
    inside float8;
    outside float8;
    unlikely float8;
    p float8;
    q0 float8;
    q1 float8;
    apart float8;
BEGIN
    IF days < 1 THEN
        RAISE EXCEPTION 'days=%: expected 1 or more', days USING ERRCODE = 'invalid_parameter_value';
    END IF;
    newest := sona.day_of((SELECT t.id FROM sona.trajectories t WHERE t.space_id = wanted ORDER BY t.id DESC LIMIT 1));
    IF newest >= today - days + 1 OR newest IS NULL THEN  -- else all is older, as after an import
        newest := today;
    END IF;
    SELECT array_agg(d.day ORDER BY d.day), array_agg(d.rated::float8 ORDER BY d.day), array_agg(d.quality ORDER BY d.day)
    INTO on_day, n, s
    FROM sona.daily_sums(wanted, greatest(newest - greatest(days, 60) + 1, '1970-01-01'), newest, ARRAY['space']) d;
    m := coalesce(cardinality(on_day), 0);
    IF m < 2 THEN
        RETURN;
    END IF;
    FOR i IN 2 .. m LOOP  -- sums up to each day
        n[i] := n[i] + n[i - 1];
        s[i] := s[i] + s[i - 1];
    END LOOP;
    spread := greatest(s[m] / n[m] * (1 - s[m] / n[m]), 0.01);
    n := array_prepend(0::float8, n);  -- n[i + 1]: up to day i
    s := array_prepend(0::float8, s);
    IF m >= 8 THEN
        excess := greatest((
            SELECT avg(r.z) / 0.76 FROM (  -- 0.76: mean of what is left of a chi square
                SELECT z.z, row_number() OVER (ORDER BY z.z DESC) > greatest(0.05 * (m - 1), 1) AS is_usual FROM (
                    SELECT ((s[i + 1] - s[i]) / (n[i + 1] - n[i]) - (s[i] - s[i - 1]) / (n[i] - n[i - 1])) ^ 2
                           / (spread * (1 / (n[i + 1] - n[i]) + 1 / (n[i] - n[i - 1]))) AS z
                    FROM generate_series(2, m) AS i
                ) z
            ) r WHERE r.is_usual), 1);
    END IF;
    edges := ARRAY[0, m];
    todo := ARRAY[0, m];
    WHILE cardinality(todo) > 0 AND cardinality(edges) < 26 LOOP
        a := todo[1];
        b := todo[2];
        todo := todo[3:];
        best := NULL;
        unlikely := 0;
        FOR i IN a + 1 .. b - 1 LOOP
            CONTINUE WHEN least(n[i + 1] - n[a + 1], n[b + 1] - n[i + 1]) < 20;
            q0 := (s[i + 1] - s[a + 1]) / (n[i + 1] - n[a + 1]);
            q1 := (s[b + 1] - s[i + 1]) / (n[b + 1] - n[i + 1]);
            apart := abs(q1 - q0)
                / sqrt(excess * spread * (1 / (n[i + 1] - n[a + 1]) + 1 / (n[b + 1] - n[i + 1])));
            IF apart > unlikely AND abs(q1 - q0) >= 0.02 THEN
                unlikely := apart;
                best := i;
            END IF;
        END LOOP;
        -- Each of the m - 1 days could have been found by chance.
        IF best IS NOT NULL AND erfc(unlikely / sqrt(2::float8)) * (m - 1) <= 0.01 THEN
            edges := edges || best;
            todo := todo || ARRAY[a, best, best, b];
            CONTINUE;
        END IF;
        -- A spell of up to eight weeks that was better or worse than before and after hides from single cuts.
        best := NULL;
        unlikely := 0;
        FOR i IN a + 1 .. CASE WHEN b - a <= 400 THEN b - 2 ELSE a END LOOP
            FOR j IN i + 1 .. least(i + 56, b - 1) LOOP
                inside := n[j + 1] - n[i + 1];
                outside := n[b + 1] - n[a + 1] - inside;
                CONTINUE WHEN least(inside, outside) < 20;
                q0 := (s[b + 1] - s[a + 1] - s[j + 1] + s[i + 1]) / outside;
                q1 := (s[j + 1] - s[i + 1]) / inside;
                apart := abs(q1 - q0) / sqrt(excess * spread * (1 / inside + 1 / outside));
                IF apart > unlikely AND abs(q1 - q0) >= 0.02 THEN
                    unlikely := apart;
                    best := i;
                    finish := j;
                END IF;
            END LOOP;
        END LOOP;
        IF best IS NOT NULL AND erfc(unlikely / sqrt(2::float8)) * m * (m - 1) / 2 <= 0.01 THEN
            edges := edges || ARRAY[best, finish];
            todo := todo || ARRAY[a, best, best, finish, finish, b];
        END IF;
    END LOOP;
    LOOP  -- what a later cut explains better goes again
        edges := ARRAY(SELECT e.e FROM unnest(edges) AS e (e) ORDER BY 1);
        best := NULL;
        unlikely := 0.01;
        FOR i IN 2 .. cardinality(edges) - 1 LOOP
            q0 := (s[edges[i] + 1] - s[edges[i - 1] + 1]) / (n[edges[i] + 1] - n[edges[i - 1] + 1]);
            q1 := (s[edges[i + 1] + 1] - s[edges[i] + 1]) / (n[edges[i + 1] + 1] - n[edges[i] + 1]);
            apart := sqrt(excess * spread * (1 / (n[edges[i] + 1] - n[edges[i - 1] + 1])
                                             + 1 / (n[edges[i + 1] + 1] - n[edges[i] + 1])));
            p := CASE WHEN abs(q1 - q0) < 0.02 THEN m ELSE erfc(abs(q1 - q0) / apart / sqrt(2::float8)) * (m - 1) END;
            IF p > unlikely THEN
                unlikely := p;
                best := edges[i];
            END IF;
        END LOOP;
        EXIT WHEN best IS NULL;
        edges := array_remove(edges, best);
    END LOOP;
    FOR i IN 2 .. cardinality(edges) - 1 LOOP
        a := edges[i - 1];
        b := edges[i + 1];
        changed_on := on_day[edges[i] + 1];
        before_from := on_day[a + 1];
        before_rated := n[edges[i] + 1] - n[a + 1];
        before_quality := least((s[edges[i] + 1] - s[a + 1]) / before_rated, 1);
        after_until := on_day[b];
        after_rated := n[b + 1] - n[edges[i] + 1];
        after_quality := least((s[b + 1] - s[edges[i] + 1]) / after_rated, 1);
        difference := after_quality - before_quality;
        apart := sqrt(excess * spread * (1 / before_rated::float8 + 1 / after_rated::float8));
        low := greatest(difference - 1.96 * apart, -1);
        high := least(difference + 1.96 * apart, 1);
        chance := erfc(abs(difference) / apart / sqrt(2::float8)) * (m - 1);
        IF changed_on > newest - days THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$
"""
# Effects of a kind of which each trajectory has one add up to the difference: shares that moved at their mean quality, and
# qualities that moved at their mean share (Kitagawa 1955).
PARTS = """
CREATE OR REPLACE FUNCTION sona.change_parts(
    of_space text, changed_on date, before_from date DEFAULT NULL, after_until date DEFAULT NULL
) RETURNS TABLE (
    kind text, name text, title text, before_rated bigint, before_quality double precision, after_rated bigint,
    after_quality double precision, before_share double precision, after_share double precision,
    share_effect double precision, quality_effect double precision, effect double precision, is_clear boolean,
    sampled boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    dims int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = wanted);
    first_day date := coalesce(before_from, $2 - 28);
    last_day date := coalesce(after_until, $2 + 27);
    ids uuid[];
    each int;
BEGIN
    IF NOT (first_day < $2 AND $2 <= last_day) THEN
        RAISE EXCEPTION 'changed_on=%: expected a day after before_from and not after after_until', $2
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    each := CASE WHEN (
        SELECT count(*) FROM (
            SELECT FROM sona.trajectories t
            WHERE t.space_id = wanted AND t.id >= sona.first_id(first_day) AND t.id <= sona.last_id(last_day) LIMIT 2001
        ) few) <= 2000 THEN 2000 ELSE 10 END;  -- of each hundredth of a side
    ids := ARRAY(
        SELECT t.id
        FROM (VALUES (first_day::timestamp AT TIME ZONE 'UTC', ($2 - first_day) * interval '1 day' / 100),
                     ($2::timestamp AT TIME ZONE 'UTC', (last_day + 1 - $2) * interval '1 day' / 100)) AS side (start, step)
        CROSS JOIN generate_series(0, 99) AS i
        CROSS JOIN LATERAL (
            SELECT t.id FROM sona.trajectories t
            WHERE t.space_id = wanted AND t.id >= sona.uuid_floor(side.start + i * side.step)
              AND t.id < sona.uuid_floor(side.start + (i + 1) * side.step)
            ORDER BY t.id LIMIT each
        ) t
    );
    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT j.id, j.quality FROM sona.judged_of(wanted, ids) j WHERE j.quality IS NOT NULL
    ), placed AS (
        SELECT t.id, (
            SELECT p.pattern_id FROM sona.patterns p WHERE p.space_id = wanted AND p.dim = dims
            ORDER BY p.centroid <=> t.embedding::vector LIMIT 1
        ) AS pattern_id
        FROM sona.trajectories t
        WHERE t.space_id = wanted AND t.id = ANY(ids) AND t.id >= sona.first_id(first_day) AND t.id <= sona.last_id(last_day)
    ), sums AS (
        SELECT d.kind, d.name, d.day >= $2 AS later, sum(d.rated)::float8 AS rated, sum(d.quality) AS quality
        FROM sona.daily_sums(wanted, first_day, last_day, ARRAY['space', 'route', 'version', 'label', 'user']) d
        GROUP BY 1, 2, 3
        UNION ALL
        SELECT 'topic', a.pattern_id::text, sona.uuid_time(a.id) >= $2::timestamp AT TIME ZONE 'UTC', count(*)::float8,
               sum(j.quality)
        FROM placed a JOIN judged j ON j.id = a.id
        WHERE a.pattern_id IS NOT NULL
        GROUP BY 1, 2, 3
    ), both_sides AS (
        SELECT s.kind, s.name, coalesce(sum(s.rated) FILTER (WHERE NOT s.later), 0) AS n0,
               coalesce(sum(s.rated) FILTER (WHERE s.later), 0) AS n1,
               coalesce(sum(s.quality) FILTER (WHERE NOT s.later), 0) AS s0,
               coalesce(sum(s.quality) FILTER (WHERE s.later), 0) AS s1
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
               (w.q0 + w.q1) / 2 AS middle, w.n0 AS all0, w.n1 AS all1
        FROM both_sides b JOIN whole w ON w.kind = CASE b.kind WHEN 'topic' THEN 'topic' ELSE 'space' END
        WHERE b.kind <> 'space' AND b.n0 + b.n1 >= 10
    ), effects AS (
        SELECT m.*, (m.w1 - m.w0) * ((m.q0 + m.q1) / 2 - m.middle) AS by_share, (m.w0 + m.w1) / 2 * (m.q1 - m.q0) AS by_quality,
               sqrt(((m.w0 + m.w1) / 2) ^ 2 * CASE WHEN m.n0 > 0 AND m.n1 > 0 THEN m.v0 / m.n0 + m.v1 / m.n1 ELSE 0 END
                    + ((m.q0 + m.q1) / 2 - m.middle) ^ 2 * (m.w0 * (1 - m.w0) / m.all0 + m.w1 * (1 - m.w1) / m.all1)) AS error,
               count(*) OVER (PARTITION BY m.kind) AS names
        FROM means m
        -- Versions follow each other: only those that both sides have, of decisions.
        WHERE m.kind <> 'version' OR (m.name <> '' AND least(m.w0, m.w1) >= 0.05)
    ), ranked AS (
        SELECT e.*, row_number() OVER (PARTITION BY e.kind ORDER BY abs(e.by_share + e.by_quality) DESC, e.name) AS place
        FROM effects e
    )
    SELECT r.kind, r.name, CASE r.kind WHEN 'topic' THEN coalesce(
               (SELECT string_agg(DISTINCT t.name, ', ') FROM sona.topics t
                WHERE t.space_id = wanted AND t.pattern_id = r.name::uuid),
               (SELECT p.typical_queries[1] FROM sona.patterns p
                WHERE p.space_id = wanted AND p.pattern_id = r.name::uuid)) ELSE nullif(r.name, '') END,
           r.n0::bigint, CASE WHEN r.n0 > 0 THEN r.q0 END, r.n1::bigint, CASE WHEN r.n1 > 0 THEN r.q1 END, r.w0, r.w1,
           r.by_share, r.by_quality, r.by_share + r.by_quality,
           r.error > 0 AND erfc(abs(r.by_share + r.by_quality) / r.error / sqrt(2::float8)) * r.names <= 0.05,
           r.kind = 'topic'
    FROM ranked r WHERE r.place <= 20
    ORDER BY abs(r.by_share + r.by_quality) DESC, r.kind, r.name;
END $$
"""
COMMENTS = {
    "daily_sums(int, date, date, text[])": "Ratings of days and their sums of quality by space, route, version, server, label, "
    "user or source, from the daily figures; days that are not summed yet are summed as they are read.\\nExample: SELECT day, "
    "quality / rated AS quality FROM sona.daily_sums(sona.require_space(''support''), current_date - 6, current_date, "
    "ARRAY[''space''])",
    "quality_changes(text, int)": "The days (UTC) of the last so many on which the mean quality of a space changed beyond "
    "chance, seen over at least 60 days, by at least two points: the means before, back to the change before, and after, up to the next one, with the 95 % "
    "interval of the difference. chance: how often so large a difference would be found on any of the days though nothing had "
    "changed, at most .01.\\nExample: SELECT changed_on, difference, before_quality, after_quality, after_rated FROM "
    "sona.quality_changes(''support'', 90)",
    "change_parts(text, date, date, date)": "What the mean quality of a space changed with on a day, between the days from "
    "before_from (28 before) up to it and those from it to after_until (28): routes, topics (of 2,000 trajectories at most, "
    "sampled), labels, users with 10 ratings, and versions that both sides have. effect: part of the difference, "
    "by their share of the ratings (share_effect) and by their quality (quality_effect); those of all routes add up to the "
    "difference, and so do those of topics. is_clear: beyond chance, among all of the kind.\\nExample: SELECT kind, title, "
    "before_quality, after_quality, effect FROM sona.change_parts(''support'', current_date) WHERE is_clear",
}
STEPS = [DAILY, CHANGES, PARTS, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items())]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for name in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION sona.{name}")
