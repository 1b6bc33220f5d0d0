"""Quality by label and user over some days; and users who give much of what was rated down."""

from __future__ import annotations

from alembic import op

revision = "0064"
down_revision = "0063"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE OR REPLACE FUNCTION sona.quality_by_label(
    of_space text, since date DEFAULT '-infinity', until date DEFAULT 'infinity'
) RETURNS TABLE (
    space_id int, kind text, label text, rated bigint, quality double precision, low double precision,
    high double precision, small_sample boolean, downs double precision, share_of_rated double precision,
    share_of_downs double precision, quality_without double precision, is_heavy boolean
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
BEGIN
    RETURN QUERY
    WITH sums AS (
        SELECT d.kind, d.name, sum(d.rated)::bigint AS rated, sum(d.quality) AS quality
        FROM sona.daily_sums(wanted, since, until, ARRAY['space', 'label', 'user']) d GROUP BY d.kind, d.name
    ), whole AS (
        SELECT s.rated, s.quality, s.rated - s.quality AS downs FROM sums s WHERE s.kind = 'space'
    ), shares AS (
        SELECT s.kind, s.name, s.rated, s.quality / s.rated AS quality, s.rated - s.quality AS downs,
               s.rated / w.rated::float8 AS share_of_rated, (s.rated - s.quality) / nullif(w.downs, 0) AS share_of_downs,
               (w.quality - s.quality) / nullif(w.rated - s.rated, 0)::float8 AS quality_without,
               sona.mean_interval(s.quality / s.rated, s.rated) AS bounds
        FROM sums s CROSS JOIN whole w WHERE s.kind <> 'space'
    )
    SELECT wanted, s.kind, s.name, s.rated, s.quality, s.bounds[1], s.bounds[2], s.rated < 10, s.downs, s.share_of_rated,
           s.share_of_downs, s.quality_without,
           s.kind = 'user' AND s.downs >= 5 AND coalesce(s.share_of_downs > 0.1, false)
    FROM shares s ORDER BY s.kind, s.rated DESC, s.name;
END $$
"""
COMMENT = (
    "COMMENT ON FUNCTION sona.quality_by_label(text, date, date) IS E'Quality of the requests with each label (a market, a "
    "customer, a plan), and of each user (labels user:…), over some days (UTC); of each day the 1,000 most frequent. downs: how "
    "many ratings they rated down, a grade of 40 % counting .6. is_heavy: a user who gave more than a tenth of all that was rated "
    "down, and 5 or more; quality_without is the mean of the space without them.\\nExample: SELECT label, rated, quality, low, "
    "high FROM sona.quality_by_label(''support'', current_date - 29, current_date) WHERE kind = ''label'''"
)
STEPS = [FUNCTION, COMMENT]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION sona.quality_by_label(text, date, date)")
