"""Answers that fell and recovered are found where no single day shows it, and are told with both days."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0067_excess_parts as before

revision = "0069"
down_revision = "0068"
branch_labels = None
depends_on = None

# How unlikely it is that the ratings of the days after `first` up to `last` are as those of the other days after `start` up to
# `stop`, beside all other routes: a z-score, 0 where there are too few or less than ten points. The sums begin with a 0. The
# variance of a rating is at most q (1 - q), and by as much more as neighbouring days differ (`excess`).
SCORE = """
CREATE OR REPLACE FUNCTION sona.spell_score(
    sums double precision[], start int, first int, last int, stop int, excess double precision
) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n1 float8 := sums[1][last] - sums[1][first];
    n0 float8 := sums[1][stop] - sums[1][start] - n1;
    s1 float8 := sums[2][last] - sums[2][first];
    s0 float8 := sums[2][stop] - sums[2][start] - s1;
    o1 float8 := sums[3][last] - sums[3][first];
    o0 float8 := sums[3][stop] - sums[3][start] - o1;
    t1 float8 := sums[4][last] - sums[4][first];
    t0 float8 := sums[4][stop] - sums[4][start] - t1;
    beyond float8;
    side float8;
BEGIN
    IF least(n0, n1) < 10 OR least(o0, o1) < 10 THEN  -- without others: sona.quality_changes tells
        RETURN 0;
    END IF;
    beyond := (s1 / n1 - s0 / n0) - (t1 / o1 - t0 / o0);
    IF abs(beyond) < 0.1 OR abs(s1 / n1 - s0 / n0) < 0.1 THEN
        RETURN 0;
    END IF;
    IF last < stop THEN  -- enough on both sides, and another quality than on either
        side := sums[1][first] - sums[1][start];
        IF least(side, n0 - side) < 10
            OR sign(beyond) * (s1 / n1 - (sums[2][first] - sums[2][start]) / side) < 0.1
            OR sign(beyond) * (s1 / n1 - (sums[2][stop] - sums[2][last]) / (n0 - side)) < 0.1 THEN
            RETURN 0;
        END IF;
    END IF;
    -- Variances as of two ratings more, a good one and a bad one; of a few days beside many the own one may be larger.
    RETURN abs(beyond) / sqrt(excess * (
        greatest((s0 + s1 + 1) * (n0 + n1 - s0 - s1 + 1) / (n0 + n1 + 2) ^ 2 * (1 / n0 + 1 / n1),
                 (s0 + 1) * (n0 - s0 + 1) / (n0 + 2) ^ 2 / n0 + (s1 + 1) * (n1 - s1 + 1) / (n1 + 2) ^ 2 / n1)
        + (t0 + t1 + 1) * (o0 + o1 - t0 - t1 + 1) / (o0 + o1 + 2) ^ 2 * (1 / o0 + 1 / o1)));
END $$
"""
# Binary segmentation, and where no single cut shows circular (Olshen et al. 2004): of a fall and a recovery each end is moved
# once to its best day, from where what the route had beyond the others is most and least. All days count as looks, or all
# pairs of them.
LAST_CUT = """
CREATE OR REPLACE FUNCTION sona.last_cut(
    sums double precision[], stop int, looks double precision, excess double precision,
    OUT cut int, OUT cut_before int, OUT chance double precision
)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    days float8 := array_length(sums, 2) - 2;  -- between which there may be a cut
    first int;
    last int;
    score float8;
BEGIN
    cut := 1;
    LOOP
        last := stop;
        SELECT k, z INTO first, score
        FROM (SELECT k, sona.spell_score(sums, cut, k, stop, stop, excess) AS z FROM generate_series(cut + 1, stop - 1) AS k) x
        ORDER BY z DESC, k LIMIT 1;
        score := erfc(score / sqrt(2::float8)) * looks * days;
        IF coalesce(score, 1) > 0.01 THEN
            SELECT least(x.most, x.fewest), greatest(x.most, x.fewest) INTO first, last
            FROM (
                SELECT (array_agg(k ORDER BY d DESC, k))[1] AS most, (array_agg(k ORDER BY d, k))[1] AS fewest
                FROM (
                    SELECT k, (sums[2][k] - sums[2][cut])
                              - (sums[1][k] - sums[1][cut]) * (
                                  (sums[2][stop] - sums[2][cut]) / nullif(sums[1][stop] - sums[1][cut], 0)
                                  + (sums[4][k] - sums[4][cut]) / nullif(sums[3][k] - sums[3][cut], 0)
                                  - (sums[4][stop] - sums[4][cut]) / nullif(sums[3][stop] - sums[3][cut], 0)) AS d
                    FROM generate_series(cut + 1, stop - 1) AS k
                ) y WHERE d IS NOT NULL
            ) x;
            SELECT k, z INTO first, score
            FROM (SELECT k, sona.spell_score(sums, cut, k, last, stop, excess) AS z FROM generate_series(cut + 1, last - 1) AS k) x
            ORDER BY z DESC, abs(k - first) LIMIT 1;
            EXIT WHEN coalesce(score, 0) < 2;  -- saves half the time: moving the other end never makes 5 of it
            SELECT k, z INTO last, score
            FROM (SELECT k, sona.spell_score(sums, cut, first, k, stop, excess) AS z FROM generate_series(first + 1, stop - 1) AS k) x
            ORDER BY z DESC, abs(k - last) LIMIT 1;
            score := erfc(score / sqrt(2::float8)) * looks * days * (days + 1) / 2;
        END IF;
        EXIT WHEN coalesce(score, 1) > 0.01;
        chance := score;
        cut_before := CASE WHEN last < stop THEN first ELSE cut END;
        cut := CASE WHEN last < stop THEN last ELSE first END;
    END LOOP;
END $$
"""
ROUTES = """
CREATE FUNCTION sona.route_changes(of_space text, days int DEFAULT 90) RETURNS TABLE (
    route text, changed_on date, before_from date, before_rated bigint, before_quality double precision,
    after_until date, after_rated bigint, after_quality double precision, others_before double precision,
    others_after double precision, chance double precision, former_from date, former_rated bigint,
    former_quality double precision
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
    o float8[];  -- of all other routes
    t float8[];
    sums float8[];
    latest record;
    earlier record;
    ends int;
    begins int;
    origin int;
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
        ), steps AS (  -- between neighbouring days of a route, as a part of what chance of each rating makes them
            SELECT y.name, y.rated, (y.quality / y.rated - y.quality_before / y.rated_before) ^ 2
                   / (greatest(y.mean * (1 - y.mean), 0.01) * (1 / y.rated + 1 / y.rated_before)) AS z
            FROM (
                SELECT r.name, r.rated, r.quality, lag(r.rated) OVER t AS rated_before, lag(r.quality) OVER t AS quality_before,
                       sum(r.quality) OVER w / sum(r.rated) OVER w AS mean
                FROM sums r WHERE r.kind = 'route' AND r.rated > 0
                WINDOW w AS (PARTITION BY r.name), t AS (PARTITION BY r.name ORDER BY r.day)
            ) y
        ), excesses AS (  -- 0.76: mean of what is left of a chi square without its highest twentieth
            SELECT u.name, greatest(avg(u.z) / 0.76, 1) AS own
            FROM (
                SELECT x.name, x.z, row_number() OVER n AS place, count(x.z) OVER (PARTITION BY x.name) AS known
                FROM steps x WHERE x.z IS NOT NULL WINDOW n AS (PARTITION BY x.name ORDER BY x.z DESC)
            ) u
            WHERE u.known >= 7 AND u.place > greatest(0.05 * u.known, 1) GROUP BY u.name
        ), whole AS (
            SELECT w.day, sum(w.rated) OVER t AS rated, sum(w.quality) OVER t AS quality
            FROM sums w WHERE w.kind = 'space' WINDOW t AS (ORDER BY w.day)
        )
        SELECT r.name, array_agg(r.day ORDER BY r.day) AS on_day, array_agg(r.rated ORDER BY r.day) AS rated,
               array_agg(r.quality ORDER BY r.day) AS quality, array_agg(w.rated ORDER BY r.day) AS all_rated,
               array_agg(w.quality ORDER BY r.day) AS all_quality, count(*) OVER () AS looked_at,
               coalesce(max(e.own), 1) AS excess
        FROM sums r JOIN whole w ON w.day = r.day LEFT JOIN excesses e ON e.name = r.name
        WHERE r.kind = 'route' AND r.name <> ''
        GROUP BY r.name HAVING sum(r.rated) >= 20 AND count(*) > 1
        ORDER BY sum(r.rated) DESC, r.name LIMIT 1000
    LOOP
        m := cardinality(found.on_day);
        n := ARRAY[0::float8];  -- n[i + 1]: up to day i
        s := ARRAY[0::float8];
        o := ARRAY[0::float8];
        t := ARRAY[0::float8];
        FOR i IN 1 .. m LOOP
            n[i + 1] := n[i] + found.rated[i];
            s[i + 1] := s[i] + found.quality[i];
            o[i + 1] := found.all_rated[i] - n[i + 1];
            t[i + 1] := found.all_quality[i] - s[i + 1];
        END LOOP;
        sums := ARRAY[n, s, o, t];
        latest := sona.last_cut(sums, m + 1, found.looked_at, found.excess);
        ends := latest.cut;
        CONTINUE WHEN ends = 1 OR found.on_day[ends] <= newest - days;
        earlier := sona.last_cut(sums, ends, found.looked_at, found.excess);  -- the days before may show another day by themselves
        begins := greatest(latest.cut_before, earlier.cut);
        route := found.name;
        changed_on := found.on_day[ends];
        chance := latest.chance;
        before_from := found.on_day[begins];
        before_rated := n[ends] - n[begins];
        before_quality := least((s[ends] - s[begins]) / before_rated, 1);
        after_until := found.on_day[m];
        after_rated := n[m + 1] - n[ends];
        after_quality := least((s[m + 1] - s[ends]) / after_rated, 1);
        others_before := least((t[ends] - t[begins]) / (o[ends] - o[begins]), 1);
        others_after := least((t[m + 1] - t[ends]) / (o[m + 1] - o[ends]), 1);
        former_from := NULL;
        former_rated := NULL;
        former_quality := NULL;
        IF begins > 1 THEN
            origin := (sona.last_cut(sums, begins, found.looked_at, found.excess)).cut;
            former_from := found.on_day[origin];
            former_rated := n[begins] - n[origin];
            former_quality := least((s[begins] - s[origin]) / former_rated, 1);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$
"""
DROP = "DROP FUNCTION IF EXISTS sona.route_changes(text, int)"
SIGNATURE = "route_changes(text, int)"
COMMENTS = {
    "spell_score(double precision[], int, int, int, int, double precision)": "How far the ratings of a span of days are from those of "
    "the days on both sides, beyond what all other routes did on these days, in standard errors. sums: running sums from 0 on of "
    "the ratings of a route, of their quality, and both of all others.\\nExample: SELECT sona.spell_score(ARRAY[[0, 20, 40], "
    "[0, 18, 20], [0, 99, 199], [0, 70, 140]], 1, 2, 3, 3, 1)",
    "last_cut(double precision[], int, double precision, double precision)": "The last place of such sums up to which, since the "
    "cut before, quality was another beyond chance (1: none), with the cut before it. looks: in how many such sums one is looked "
    "for.\\nExample: SELECT cut FROM sona.last_cut(ARRAY[[0, 20, 40], [0, 18, 2], [0, 99, 199], [0, 70, 140]], 3, 1, 1)",
    SIGNATURE: "The routes whose quality changed in the last so many days (UTC) by at least ten points, and "
    "by as much more or less than that of all others, beyond chance: on which day it last did, the means before, back to "
    "the change before, and since, and those of all others on these days. Where there was a change before, as where an answer "
    "was wrong for some days, before_from is its day, and former_quality the mean before it, from former_from on. Seen over at "
    "least 60 days; at least ten ratings on each side. chance: how often so large a difference would be found on any day of any "
    "route, of a fall and its recovery on any two days, though nothing had changed, at most .01.\\nExample: SELECT route, "
    "changed_on, before_from, former_quality, before_quality, after_quality, after_rated FROM "
    "sona.route_changes(''support'', 90)",
}
STEPS = [
    SCORE, LAST_CUT, DROP, ROUTES, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items()),
]  # fmt: skip
UNDO = [
    DROP, before.ROUTES, f"COMMENT ON FUNCTION sona.{SIGNATURE} IS E'{before.COMMENTS[SIGNATURE]}'",
    *(f"DROP FUNCTION sona.{name}" for name in COMMENTS if name != SIGNATURE),
]  # fmt: skip


def _run(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        _run(STEPS)


def downgrade() -> None:
    _run(UNDO)
