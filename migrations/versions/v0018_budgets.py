"""One budget for all servers of a space: its limit, and what every server has spent of it.

The previous release neither reads nor writes these columns: its servers spend what they are told by call. When its
maintenance deletes a server's row, that server's spending counts no more.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

SPACE_COLUMNS = {
    "budget": "float8 CONSTRAINT spaces_budget_check CHECK (budget >= 0 AND budget < 'infinity')",
    "budget_per": "text CONSTRAINT spaces_budget_per_check CHECK (budget_per IN ('request', 'day'))",
    "budget_set_at": "timestamptz",
    "budget_departed_spent": "float8 NOT NULL DEFAULT 0",
    "budget_departed_requests": "bigint NOT NULL DEFAULT 0",
}
SERVER_COLUMNS = {
    "budget_set_at": "timestamptz",
    "budget_spent": "float8 NOT NULL DEFAULT 0",
    "budget_requests": "bigint NOT NULL DEFAULT 0",
    "budget_day": "date",
    "budget_day_spent": "float8 NOT NULL DEFAULT 0",
    "budget_day_requests": "bigint NOT NULL DEFAULT 0",
}
VIEW = """
    CREATE OR REPLACE VIEW sona.budgets AS
    SELECT told.*,
           CASE told.per
               WHEN 'request' THEN told.spent / nullif(told.amount * told.requests, 0)
               ELSE told.spent_today / nullif(told.amount * told.share_of_day, 0)
           END AS pace
    FROM (
        SELECT s.name AS space, s.space_id, s.budget AS amount, s.budget_per AS per, s.budget_set_at AS set_at,
               (s.budget_departed_requests + coalesce(v.requests, 0))::bigint AS requests,
               s.budget_departed_spent + coalesce(v.spent, 0) AS spent,
               coalesce(v.spent_today, 0) AS spent_today, coalesce(v.requests_today, 0)::bigint AS requests_today,
               extract(epoch FROM now() - greatest(s.budget_set_at, v.midnight))::float8
                   / extract(epoch FROM v.midnight + interval '1 day' - greatest(s.budget_set_at, v.midnight))::float8
                   AS share_of_day
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
STEPS = [
    *(f"ALTER TABLE sona.spaces ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in SPACE_COLUMNS.items()),
    *(f"ALTER TABLE sona.servers ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in SERVER_COLUMNS.items()),
    "COMMENT ON COLUMN sona.spaces.budget IS 'Limit of spending on all servers, in the unit of costs; null: none.'",
    "COMMENT ON COLUMN sona.spaces.budget_departed_spent IS 'Spent under this budget by servers whose row was deleted.'",
    "COMMENT ON COLUMN sona.servers.budget_spent IS 'Spent under the budget that was set at budget_set_at: real costs "
    "where they are known, else estimates.'",
    "COMMENT ON COLUMN sona.servers.budget_day_spent IS 'The part of it on budget_day, UTC.'",
    VIEW,
    "COMMENT ON VIEW sona.budgets IS 'Budgets of spaces, what all servers have spent since it was set and today (UTC), and "
    "the pace: spending over what the budget allows up to now; of a day in proportion to its hours.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.budgets")
    for table, columns in (("servers", SERVER_COLUMNS), ("spaces", SPACE_COLUMNS)):
        for name in reversed(columns):
            op.execute(f"ALTER TABLE sona.{table} DROP COLUMN {name}")
