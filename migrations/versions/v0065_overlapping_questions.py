"""Routes are compared on the questions of topics that several answered, and only where that says enough."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0054_like_questions as before

revision = "0065"
down_revision = "0064"
branch_labels = None
depends_on = None

# A difference that was seen on the hard questions alone does not hold on the easy ones: carried over to all of them it gave
# qualities above 100 %. So the population is that of the strata by the overlap in each, n - sum(n_i^2) / n, as two routes are
# compared by Mantel and Haenszel. A figure whose interval is wider than 40 points says nothing, and an order in which
# most ratings have no part is none.
CHANGED = [
    ("    error float8;\n", "    error float8;\n    weights float8[];  -- of each route, in the questions that are compared\n"
     "    bases float8[];\n    inverses float8[];\n    overlap float8 := 0;\n    base float8 := 0;\n    inverse float8 := 0;\n"),
    ("count(*) OVER w AS routes,", "count(*) OVER w AS routes,\n"
     "               sum(c.n) OVER w - sum(c.n ^ 2) OVER w / sum(c.n) OVER w AS weight,"),
    ("        SELECT s.i, sum(s.n) AS n,", "        SELECT s.i, sum(s.n) AS n, sum(s.weight * s.n / s.all_n) AS weight,\n"
     "               sum(s.weight * s.n * s.all_s / s.all_n ^ 2) AS base, sum(s.weight ^ 2 * s.n / s.all_n ^ 2) AS inverse,"),
    ("array_agg(w.b ORDER BY l.i), count(*),", "array_agg(w.b ORDER BY l.i), array_agg(w.weight ORDER BY l.i),\n"
     "           array_agg(w.base ORDER BY l.i), array_agg(w.inverse ORDER BY l.i), count(*),"),
    ("INTO names, n, means, alone, b, r,", "INTO names, n, means, alone, b, weights, bases, inverses, r,"),
    ("            total := total + n[i] * means[i];\n            middle := middle + n[i] * edges[i];\n",
     "            overlap := overlap + weights[i];\n            base := base + bases[i];\n"
     "            inverse := inverse + inverses[i];\n            middle := middle + weights[i] * edges[i];\n"),
    ("    middle := middle / count_;\n", "    IF overlap > 0 THEN\n        middle := middle / overlap;\n"
     "        base := base / overlap;\n        inverse := inverse / overlap ^ 2;\n    END IF;\n"),
    ("greatest(total / count_ + edges[i] - middle, 0)", "greatest(base + edges[i] - middle, 0)"),
    ("greatest(total / count_ * (1 - total / count_), 0.01) / count_ + spread",
     "greatest(base * (1 - base), 0.01) * inverse + spread"),
    ("n[x] / count_)", "weights[x] / nullif(overlap, 0))"),
    ("n[y] / count_)", "weights[y] / nullif(overlap, 0))"),
    ("    ), bounded AS (\n", "    ), sure AS (\n        SELECT t.route, t.rated, t.quality, t.compared, t.error,\n"
     "               CASE WHEN 1.959964 * t.error <= 0.2 THEN t.like_quality END AS like_quality\n        FROM told t\n"
     "    ), enough AS (\n        SELECT s.route, s.rated, s.quality, s.compared, s.error, CASE WHEN\n"
     "                   2 * sum(s.rated) FILTER (WHERE s.like_quality IS NOT NULL) OVER () >= sum(s.rated) OVER ()\n"
     "                   AND count(s.like_quality) OVER () > 1 THEN s.like_quality END AS like_quality\n        FROM sure s\n"
     "    ), bounded AS (\n"),
    ("AS high\n        FROM told t\n", "AS high\n        FROM enough t\n"),
]  # fmt: skip
ROUTES = before.ROUTES
for _old, _new in CHANGED:
    assert ROUTES.count(_old) == 1, _old
    ROUTES = ROUTES.replace(_old, _new)
NAME = "routes_on_like_questions(text, date, date)"
COMMENT = (
    "Quality of the routes of a space over some days on like questions, best first by the lower end of its 95 % interval: "
    "effects of routes within topics and four weeks (analysis of variance, for two routes as Mantel and Haenszel), around the "
    "mean of the questions that are compared: those of topics that several routes answered, by how far they overlap there. The "
    "plain mean, quality, is of the questions that each was sent: where a router chooses, the harder ones go to the better "
    "routes. compared: ratings of topics that another route answered as well. There is no figure below 10 of them, or "
    "where the interval would be wider than 40 points; and none at all where routes with most of the ratings have none, as of "
    "answers to different questions. Of many trajectories it is of a sample (sampled).\\nExample: SELECT place, route, "
    "quality, like_quality, low, high, rated, compared FROM sona.routes_on_like_questions(''support'', current_date - 29, "
    "current_date)"
)


STEPS = [ROUTES, f"COMMENT ON FUNCTION sona.{NAME} IS E'{COMMENT}'"]


def _run(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        _run(STEPS)


def downgrade() -> None:
    _run([before.ROUTES, f"COMMENT ON FUNCTION sona.{NAME} IS E'{before.COMMENTS[NAME]}'"])
