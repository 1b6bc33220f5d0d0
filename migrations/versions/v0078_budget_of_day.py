"""The pace of a day's budget is that of the whole day, whenever the budget was set, and ``used_up_at`` says if it lasts.

Servers of the previous release hear of a changed limit of a day with the next version or canary, and count what they
spend from then on.
"""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0029_sql_reference as examples
from sona_pg.migrations.versions import v0048_cost_unit as before

revision = "0078"
down_revision = "0077"
branch_labels = None
depends_on = None

NAME = "VIEW sona.budgets"
# `seconds` since midnight, or since counting began if that is later.
VIEW = """
    CREATE OR REPLACE VIEW sona.budgets WITH (security_invoker = true) AS
    SELECT told.space, told.space_id, told.amount, told.per, told.set_at, told.requests, told.spent, told.spent_today,
           told.requests_today, told.share_of_day,
           CASE told.per
               WHEN 'request' THEN told.spent / nullif(told.amount * told.requests, 0)
               ELSE told.spent_today / nullif(told.amount * told.share_of_day, 0)
           END AS pace, told.cost_unit,
           CASE WHEN told.per = 'day' AND told.seconds > 0 AND told.left_today > 0
                     AND told.spent_today * told.seconds_left > told.left_today * told.seconds
               THEN now() + make_interval(secs => told.left_today * (told.seconds / told.spent_today))
           END AS used_up_at
    FROM (
        SELECT s.name AS space, s.space_id, s.budget AS amount, s.budget_per AS per, s.budget_set_at AS set_at,
               (s.budget_departed_requests + coalesce(v.requests, 0))::bigint AS requests,
               s.budget_departed_spent + coalesce(v.spent, 0) AS spent,
               coalesce(v.spent_today, 0) AS spent_today, coalesce(v.requests_today, 0)::bigint AS requests_today,
               extract(epoch FROM now() - v.midnight)::float8 / 86400 AS share_of_day,
               s.budget - coalesce(v.spent_today, 0) AS left_today,
               extract(epoch FROM now() - greatest(s.budget_set_at, v.midnight))::float8 AS seconds,
               extract(epoch FROM v.midnight + interval '1 day' - now())::float8 AS seconds_left,
               nullif(s.settings ->> 'costs.unit', '') AS cost_unit
        FROM sona.spaces s
        CROSS JOIN LATERAL (
            SELECT sum(o.budget_spent) AS spent, sum(o.budget_requests) AS requests,
                   sum(CASE WHEN o.budget_day = (now() AT TIME ZONE 'UTC')::date THEN o.budget_day_spent END)
                       AS spent_today,
                   sum(CASE WHEN o.budget_day = (now() AT TIME ZONE 'UTC')::date THEN o.budget_day_requests END)
                       AS requests_today,
                   date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS midnight
            FROM sona.servers o WHERE o.space_id = s.space_id AND o.budget_set_at = s.budget_set_at
        ) v
        WHERE s.budget IS NOT NULL
    ) told
"""
SAID_BEFORE = (
    "Budgets of spaces, what all servers have spent since it was set and today (UTC), and the pace: spending over what the "
    "budget allows up to now; of a day in proportion to its hours."
)
SAID = (
    "Budgets of spaces, what all servers have spent since set_at (another limit of a day keeps it) and of that today (UTC), and "
    "the pace: spending over what the budget allows up to now; of a day, its amount times the share of the day that is over. "
    "used_up_at: when the amount of the day is spent at the mean rate since midnight, or since set_at if that is later; null if it "
    "lasts until midnight, or is spent already."
)
EXAMPLE = "SELECT amount, spent_today, share_of_day, pace, used_up_at FROM sona.budgets WHERE space = ''support''"


def _comment(said: str, example: str) -> str:
    return f"COMMENT ON {NAME} IS E'{said}\\nExample: {example}'"


STEPS = [VIEW, _comment(SAID, EXAMPLE)]
UNDO = [
    f"DROP {NAME}",
    f"CREATE VIEW sona.budgets WITH (security_invoker = true) AS {before.AFTER['budgets']}",
    _comment(SAID_BEFORE, examples.EXAMPLES[NAME]),
]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(UNDO)
