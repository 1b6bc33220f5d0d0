"""Changes of quality that a shorter period tells are told by a longer one as well."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0058_explained_changes as before

revision = "0076"
down_revision = "0075"
branch_labels = None
depends_on = None

# Variance of a rating of the days after `start` up to `stop`, and by how much more than that neighbouring days differ. The sums
# begin with a 0.
SPREAD = """
CREATE OR REPLACE FUNCTION sona.level_spread(
    n double precision[], s double precision[], start int, stop int, OUT spread double precision, OUT excess double precision
)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    q float8 := (s[stop + 1] - s[start + 1]) / (n[stop + 1] - n[start + 1]);
BEGIN
    spread := greatest(q * (1 - q), 0.01);
    excess := 1;
    IF stop - start >= 8 THEN
        excess := greatest((
            SELECT avg(r.z) / 0.76 FROM (  -- 0.76: mean of what is left of a chi square
                SELECT z.z, row_number() OVER (ORDER BY z.z DESC) > greatest(0.05 * (stop - start - 1), 1) AS is_usual FROM (
                    SELECT ((s[i + 1] - s[i]) / (n[i + 1] - n[i]) - (s[i] - s[i - 1]) / (n[i] - n[i - 1])) ^ 2
                           / (spread * (1 / (n[i + 1] - n[i]) + 1 / (n[i] - n[i - 1]))) AS z
                    FROM generate_series(start + 2, stop) AS i
                ) z
            ) r WHERE r.is_usual), 1);
    END IF;
END $$
"""
# Circular binary segmentation (Olshen et al. 2004) of the days after `start` up to `stop`, as in revision 0050: the places after
# which the level is another. Those `known` stand, and are returned if they lie there.
EDGES = """
CREATE OR REPLACE FUNCTION sona.level_edges(
    n double precision[], s double precision[], start int, stop int, known int[]
) RETURNS int[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    m int := stop - start;
    measured record := sona.level_spread(n, s, start, stop);
    spread float8 := measured.spread * measured.excess;
    edges int[] := ARRAY(SELECT DISTINCT k.k FROM unnest(known || start || stop) AS k (k) WHERE k.k BETWEEN start AND stop ORDER BY 1);
    todo int[] := ARRAY(SELECT unnest(ARRAY[edges[i], edges[i + 1]]) FROM generate_series(1, cardinality(edges) - 1) AS i);
    most int := cardinality(edges) + 24;
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
    WHILE cardinality(todo) > 0 AND cardinality(edges) < most LOOP
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
                / sqrt(spread * (1 / (n[i + 1] - n[a + 1]) + 1 / (n[b + 1] - n[i + 1])));
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
                apart := abs(q1 - q0) / sqrt(spread * (1 / inside + 1 / outside));
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
            CONTINUE WHEN edges[i] = ANY(known);
            q0 := (s[edges[i] + 1] - s[edges[i - 1] + 1]) / (n[edges[i] + 1] - n[edges[i - 1] + 1]);
            q1 := (s[edges[i + 1] + 1] - s[edges[i] + 1]) / (n[edges[i + 1] + 1] - n[edges[i] + 1]);
            apart := sqrt(spread * (1 / (n[edges[i] + 1] - n[edges[i - 1] + 1])
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
    RETURN edges[2:cardinality(edges) - 1];
END $$
"""
# The more days are looked at, the larger a change must be, so a longer period would lose what a shorter one tells. Hence 60 days are
# looked at by themselves at each fortnight back, then the period of 90 days, then the whole, and what is found before stands.
CHANGES = """
CREATE OR REPLACE FUNCTION sona.quality_changes(of_space text, days int DEFAULT 90) RETURNS TABLE (
    changed_on date, difference double precision, low double precision, high double precision,
    before_from date, before_rated bigint, before_quality double precision,
    after_until date, after_rated bigint, after_quality double precision, chance double precision,
    earliest date, latest date
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
    looked_at record;
    spread float8;
    excess float8;
    edges int[] := '{}';
    a int;
    b int;
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
    n := array_prepend(0::float8, n);  -- n[i + 1]: up to day i
    s := array_prepend(0::float8, s);
    FOR looked_at IN
        SELECT w.told_from, w.told_until,
               (SELECT count(*)::int FROM unnest(on_day) AS d (d) WHERE d.d <= newest - w.span) AS start,
               (SELECT count(*)::int FROM unnest(on_day) AS d (d) WHERE d.d <= w.last_day) AS stop
        FROM (
            SELECT newest - 15 * k - 29 AS told_from, CASE k WHEN 0 THEN newest ELSE newest - 15 * k - 15 END AS told_until,
                   newest - 15 * k AS last_day, 15 * k + 60 AS span, false AS is_period
            FROM generate_series(0, least(greatest(days, 60) - 60, newest - on_day[1] - 15) / 15) AS k
            UNION
            SELECT newest - p.span + 1, newest, newest, p.span, true
            FROM unnest(ARRAY[90, greatest(days, 60)]) AS p (span) WHERE p.span <= greatest(days, 60)
        ) w ORDER BY w.span, w.is_period
    LOOP
        CONTINUE WHEN looked_at.stop - looked_at.start < 2;
        edges := edges || ARRAY(
            SELECT e.e FROM unnest(sona.level_edges(n, s, looked_at.start, looked_at.stop, edges)) AS e (e)
            WHERE on_day[e.e + 1] BETWEEN looked_at.told_from AND looked_at.told_until AND NOT e.e = ANY(edges));
    END LOOP;
    edges := ARRAY(SELECT e.e FROM unnest(0 || edges || m) AS e (e) ORDER BY 1);
    SELECT * INTO spread, excess FROM sona.level_spread(n, s, 0, m);
    FOR edge IN 2 .. cardinality(edges) - 1 LOOP
        a := edges[edge - 1];
        b := edges[edge + 1];
        changed_on := on_day[edges[edge] + 1];
        before_from := on_day[a + 1];
        before_rated := n[edges[edge] + 1] - n[a + 1];
        before_quality := least((s[edges[edge] + 1] - s[a + 1]) / before_rated, 1);
        after_until := on_day[b];
        after_rated := n[b + 1] - n[edges[edge] + 1];
        after_quality := least((s[b + 1] - s[edges[edge] + 1]) / after_rated, 1);
        difference := after_quality - before_quality;
        apart := sqrt(excess * spread * (1 / before_rated::float8 + 1 / after_rated::float8));
        low := greatest(difference - 1.96 * apart, -1);
        high := least(difference + 1.96 * apart, 1);
        chance := erfc(abs(difference) / apart / sqrt(2::float8)) * (m - 1);
        earliest := changed_on;
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
        IF changed_on > newest - days THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$
"""
COMMENTS = {
    "level_spread(float8[], float8[], int, int)": "Variance of a rating of the days after start up to stop, from sums by day that begin with a 0, "
    "and by how much more than that neighbouring days differ.\\nExample: SELECT spread, excess FROM sona.level_spread(''{0,10,20}'', "
    "''{0,7,13}'', 0, 2)",
    "level_edges(float8[], float8[], int, int, int[])": "The days after which the level of a mean is another, of those after start up to stop, "
    "from sums by day that begin with a 0; known ones stand.\\nExample: SELECT sona.level_edges(''{0,100,200}'', ''{0,80,120}'', 0, 2, ''{}'')",
    "quality_changes(text, int)": before.COMMENTS["quality_changes(text, int)"].replace(
        "at most .01.",
        "at most .01 among the 60 or more days that showed it. A longer period tells what 30 and 90 days tell.",
    ),
}
STEPS = [SPREAD, EDGES, CHANGES, *(f"COMMENT ON FUNCTION sona.{name} IS E'{text}'" for name, text in COMMENTS.items())]
QUALITY = "quality_changes(text, int)"
UNDO = [
    before.CHANGES.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    f"COMMENT ON FUNCTION sona.{QUALITY} IS E'{before.COMMENTS[QUALITY]}'",
    "DROP FUNCTION sona.level_edges(float8[], float8[], int, int, int[])",
    "DROP FUNCTION sona.level_spread(float8[], float8[], int, int)",
]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(UNDO)
