"""Changes of routes are found in less than half the time, 200 of them in a year."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0069_mended_routes as before

revision = "0072"
down_revision = "0071"
branch_labels = None
depends_on = None

# Running sums by window functions: PL/pgSQL copies the whole array with each `n[i + 1] := n[i] + ...`. Those of all routes come
# from the same scan: the planner expects few rows of `sums`, and joined it with `whole` by a nested loop.
RUNNING = {
    "), excesses AS (": "), excesses AS MATERIALIZED (",  # else a nested loop computes it again for each route and day
    """        ), whole AS (
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
""": """        ), days_of_routes AS (
            SELECT w.kind, w.name, w.day, w.rated, w.quality, sum(w.rated) FILTER (WHERE w.kind = 'space') OVER t AS all_rated,
                   sum(w.quality) FILTER (WHERE w.kind = 'space') OVER t AS all_quality
            FROM sums w WINDOW t AS (ORDER BY w.day)  -- all rows of a day are peers
        ), running AS (
            SELECT d.name, d.day, d.all_rated, d.all_quality, sum(d.rated) OVER t AS rated, sum(d.quality) OVER t AS quality
            FROM days_of_routes d WHERE d.kind = 'route' AND d.name <> '' WINDOW t AS (PARTITION BY d.name ORDER BY d.day)
        ), looked_at AS (
            SELECT r.name, array_agg(r.day ORDER BY r.day) AS on_day, max(r.rated) AS total,
                   0::float8 || array_agg(r.rated ORDER BY r.day) AS rated,  -- [i + 1]: up to day i
                   0::float8 || array_agg(r.quality ORDER BY r.day) AS quality,
                   0::float8 || array_agg(r.all_rated - r.rated ORDER BY r.day) AS others_rated,
                   0::float8 || array_agg(r.all_quality - r.quality ORDER BY r.day) AS others_quality,
                   count(*) OVER () AS looked_at
            FROM running r GROUP BY r.name HAVING max(r.rated) >= 20 AND count(*) > 1
            ORDER BY total DESC, r.name LIMIT 1000
        )
        SELECT l.*, coalesce(e.own, 1) AS excess FROM looked_at l LEFT JOIN excesses e ON e.name = l.name
        ORDER BY l.total DESC, l.name
""",
    """        n := ARRAY[0::float8];  -- n[i + 1]: up to day i
        s := ARRAY[0::float8];
        o := ARRAY[0::float8];
        t := ARRAY[0::float8];
        FOR i IN 1 .. m LOOP
            n[i + 1] := n[i] + found.rated[i];
            s[i + 1] := s[i] + found.quality[i];
            o[i + 1] := found.all_rated[i] - n[i + 1];
            t[i + 1] := found.all_quality[i] - s[i + 1];
        END LOOP;
""": """        n := found.rated;
        s := found.quality;
        o := found.others_rated;
        t := found.others_quality;
""",
}


def _replace(body: str) -> str:
    for slow, fast in RUNNING.items():
        if slow not in body:
            raise ValueError(f"sona.route_changes has no {slow!r}")
        body = body.replace(slow, fast)
    return body.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


STEPS = [_replace(before.ROUTES)]
UNDO = [before.ROUTES.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(UNDO)
