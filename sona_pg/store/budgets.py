"""Budgets of spaces, and the spending that their servers report.

A budget is three columns of ``sona.spaces``; every server's totals stand in its row of ``sona.servers``, with the time
of the budget that they belong to. Totals rather than increments: a report that is repeated, because its commit was
uncertain, changes nothing. Maintenance adds the totals of deleted servers to the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.budget import Budget, BudgetStatus, FleetSpending, Per, ServerSpending, Spending
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import missing

SET = """
UPDATE sona.spaces s SET budget = %(amount)s, budget_per = %(per)s, budget_set_at = %(at)s,
    budget_departed_spent = 0, budget_departed_requests = 0
WHERE s.space_id = %(space)s
RETURNING s.budget_set_at
"""
# Another limit of a day: what servers report of it goes on.
CHANGE = """
UPDATE sona.spaces s SET budget = %(amount)s
WHERE s.space_id = %(space)s AND s.budget IS NOT NULL AND s.budget_per = 'day' AND %(per)s = 'day'
RETURNING s.budget_set_at
"""
# A report that arrives late does not replace a later one: totals may shrink, when records prove to be of the past. The
# previous release does not number its reports.
REPORT = """
UPDATE sona.servers s SET budget_set_at = told.set_at, budget_spent = told.spent, budget_requests = told.requests,
    budget_day = told.day, budget_day_spent = told.day_spent, budget_day_requests = told.day_requests,
    budget_report = told.report
FROM unnest(
    %(spaces)s::integer[], %(servers)s::uuid[], %(set_ats)s::timestamptz[], %(spents)s::float8[],
    %(requests)s::bigint[], %(days)s::date[], %(day_spents)s::float8[], %(day_requests)s::bigint[],
    %(reports)s::bigint[]
) AS told (space_id, server_id, set_at, spent, requests, day, day_spent, day_requests, report)
WHERE s.space_id = told.space_id AND s.server_id = told.server_id
    AND (s.budget_set_at IS NULL OR s.budget_set_at < told.set_at
         OR (s.budget_set_at = told.set_at AND coalesce(s.budget_report, 0) <= told.report))
"""
# The sums leave out the asking server, which knows its own spending better.
SUMS = """
SELECT told.server_id, s.budget_set_at, clock_timestamp(),
       s.budget_departed_spent + coalesce(sum(o.budget_spent), 0),
       (s.budget_departed_requests + coalesce(sum(o.budget_requests), 0))::bigint,
       coalesce(sum(o.budget_day_spent) FILTER (WHERE o.budget_day = %(today)s), 0),
       coalesce(sum(o.budget_day_requests) FILTER (WHERE o.budget_day = %(today)s), 0)::bigint
FROM unnest(%(spaces)s::integer[], %(servers)s::uuid[]) AS told (space_id, server_id)
JOIN sona.spaces s ON s.space_id = told.space_id
LEFT JOIN sona.servers o
    ON o.space_id = s.space_id AND o.server_id <> told.server_id AND o.budget_set_at = s.budget_set_at
WHERE s.budget_set_at IS NOT NULL
GROUP BY s.space_id, told.server_id
"""
STATUSES = """
SELECT space, amount, per, set_at, requests, spent, spent_today, requests_today, pace, cost_unit,
       share_of_day, used_up_at
FROM sona.budgets
WHERE space_id = %(space)s
"""


def set_budget(connection: Connection, space_id: int, amount: float | None, per: Per, at: datetime) -> Budget | None:
    """Set a space's budget ``at`` the database's time, or remove it; return it.

    What was spent before counts no more, unless one limit of a day replaces another: that keeps the time at which
    counting began. A mean of requests begins anew, as what was saved under another mean is no credit.

    Raises:
        SpaceRemoved: there is no such space.
    """
    raw, removes = driver_connection(connection), amount is None
    values = {"space": space_id, "amount": amount, "per": None if removes else per, "at": None if removes else at}
    row = None if removes else raw.execute(CHANGE, values).fetchone()
    row = row or raw.execute(SET, values).fetchone()
    if row is None:
        raise missing(space_id)
    return of_row(amount, per, row[0])


def share(connection: Connection, told: Sequence[ServerSpending], at: datetime) -> dict[UUID, FleetSpending]:
    """Report what servers have spent; return by server what all others have, those of one process among them."""
    raw = driver_connection(connection)
    asked = {
        "spaces": [each.space_id for each in told],
        "servers": [each.server_id for each in told],
        "set_ats": [each.set_at for each in told],
        "spents": [each.total.spent for each in told],
        "requests": [each.total.requests for each in told],
        "days": [each.day for each in told],
        "day_spents": [each.of_day.spent for each in told],
        "day_requests": [each.of_day.requests for each in told],
        "reports": [each.report for each in told],
        "today": at.astimezone(UTC).date(),
    }
    raw.execute(REPORT, asked)
    return {
        server: FleetSpending(set_at, now, Spending(spent, requests), Spending(day_spent, day_requests))
        for server, set_at, now, spent, requests, day_spent, day_requests in raw.execute(SUMS, asked)
    }


def status(connection: Connection, space_id: int) -> BudgetStatus | None:
    """Return the budget of a space with what was spent of it; None if it has none."""
    row = driver_connection(connection).execute(STATUSES, {"space": space_id}).fetchone()
    return None if row is None else BudgetStatus(*row)


def of_row(amount: float | None, per: str | None, set_at: datetime | None) -> Budget | None:
    """Return the budget in these columns of a space, if it has one."""
    if amount is None or set_at is None:
        return None
    return Budget(amount, "day" if per == "day" else "request", set_at)
