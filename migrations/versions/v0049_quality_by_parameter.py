"""Quality by the parameters of calls, candidates by how often they were offered, and a reason for each estimate without DR.

The logged policy needs no model: its DR is its mean, as ``sona-pg evaluate`` has it.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0022_analytics_functions import FUNCTIONS

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

BY_PARAMETER = """
CREATE OR REPLACE FUNCTION sona.quality_by_parameter(
    of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity', parts int DEFAULT 5
) RETURNS TABLE (
    space_id int, parameter text, lowest double precision, highest double precision, trajectories bigint, rated bigint,
    quality double precision, low double precision, high double precision, small_sample boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
BEGIN
    RETURN QUERY
    WITH told AS (
        SELECT p.key, p.value::text::double precision AS value, j.quality
        FROM sona.judged_between(wanted, sona.first_id(since), sona.last_id(until)) j
        JOIN sona.trajectories t ON t.space_id = wanted AND t.id = j.id
        CROSS JOIN LATERAL jsonb_each(t.parameters) p
        WHERE jsonb_typeof(t.parameters) = 'object' AND jsonb_typeof(p.value) = 'number'
    ), placed AS (  -- equal values have one rank, so they stay in one part
        SELECT o.*, (rank() OVER (PARTITION BY o.key ORDER BY o.value) - 1) * greatest(parts, 1)
                    / count(*) OVER (PARTITION BY o.key) AS part
        FROM told o
    ), summed AS (
        SELECT g.key, min(g.value) AS lowest, max(g.value) AS highest, count(*) AS trajectories, count(g.quality) AS rated,
               avg(g.quality) AS quality
        FROM placed g GROUP BY g.key, g.part
    )
    SELECT wanted, s.key, s.lowest, s.highest, s.trajectories, s.rated, s.quality,
           (sona.mean_interval(s.quality, s.rated))[1], (sona.mean_interval(s.quality, s.rated))[2], s.rated < 10
    FROM summed s ORDER BY s.key, s.lowest;
END $$
"""
OFFERED = """
CREATE OR REPLACE FUNCTION sona.candidates_offered(
    of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity'
) RETURNS TABLE (
    space_id int, candidate_id text, offered bigint, taken bigint, rated bigint, quality double precision,
    low double precision, high double precision, small_sample boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
BEGIN
    RETURN QUERY
    WITH counted AS (
        SELECT c.id, count(*) AS offered, count(*) FILTER (WHERE j.route = c.id) AS taken,
               count(j.quality) FILTER (WHERE j.route = c.id) AS rated,
               avg(j.quality) FILTER (WHERE j.route = c.id) AS quality
        FROM sona.judged_between(wanted, sona.first_id(since), sona.last_id(until)) j
        JOIN sona.candidate_sets k ON k.space_id = wanted AND k.set_id = j.candidate_set
        CROSS JOIN LATERAL unnest(k.candidate_ids) AS c (id)
        GROUP BY c.id
    )
    SELECT wanted, n.id, n.offered, n.taken, n.rated, n.quality, (sona.mean_interval(n.quality, n.rated))[1],
           (sona.mean_interval(n.quality, n.rated))[2], n.rated < 10
    FROM counted n ORDER BY n.offered DESC, n.id;
END $$
"""
(ESTIMATES_BEFORE,) = [statement for statement in FUNCTIONS if "FUNCTION sona.evaluate_policies(" in statement]
CHANGES = [
    ("CASE WHEN e.dr_size >= least_size THEN e.dr_mean END", "e.dr_mean", ""),
    (
        "CASE WHEN e.dr_size >= least_size THEN e.dr_mean - z * e.dr_error END",
        "e.dr_mean - z * e.dr_error",
        "- z * e.ips_error",
    ),
    (
        "CASE WHEN e.dr_size >= least_size THEN e.dr_mean + z * e.dr_error END",
        "e.dr_mean + z * e.dr_error",
        "+ z * e.ips_error",
    ),
]
WHY = """, least_size)
                    WHEN e.policy <> 'logged' AND coalesce(e.dr_size, 0) < least_size THEN format(
                        'no dr: its model is the mean of earlier days, and the decisions after them are worth %s, below %s',
                        round(coalesce(e.dr_size, 0)::numeric, 1), least_size) END,"""


def _estimates() -> str:
    text = ESTIMATES_BEFORE
    for before, figure, of_logged in CHANGES:
        assert text.count(before) == 1, before
        text = text.replace(before, (
            f"CASE WHEN e.policy = 'logged' AND e.enough THEN e.ips_mean {of_logged} "
            f"WHEN e.dr_size >= least_size THEN {figure} END"
        ))  # fmt: skip
    assert text.count(", least_size) END,") == 1
    return text.replace(", least_size) END,", WHY)


COMMENTS = [
    "COMMENT ON FUNCTION sona.quality_by_parameter(text, date, date, int) IS E'Quality by the parameters of calls, such as a "
    "temperature: the values of each are cut into so many parts of about equal size, equal values together. Of what was "
    "recorded, not of an experiment: calls may differ in more than a parameter. For context see sona.labels.\\nExample: "
    "SELECT parameter, lowest, highest, rated, quality, low, high FROM sona.quality_by_parameter(''support'', current_date - 30)'",
    "COMMENT ON FUNCTION sona.candidates_offered(text, date, date) IS E'How often each candidate was among those that a "
    "decision or a ranking chose from, how often it was taken, and its quality then. A set has no order: the position at "
    "which a candidate was shown is not recorded.\\nExample: SELECT candidate_id, offered, taken, quality FROM "
    "sona.candidates_offered(''support'', current_date - 30) LIMIT 20'",
]
NEW = ("quality_by_parameter(text, date, date, int)", "candidates_offered(text, date, date)")
STEPS = [BY_PARAMETER, OFFERED, *COMMENTS, _estimates()]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    driver.execute(ESTIMATES_BEFORE)
    for function in NEW:
        driver.execute(f"DROP FUNCTION sona.{function}")
