"""A space's budget, and the spending that counts against it, on one server or on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

Per = Literal["request", "day"]
PERIODS: tuple[Per, ...] = ("request", "day")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit of spending of a space, for all its servers together."""

    amount: float  # in the unit of the callers' costs, such as dollars
    per: Per
    set_at: datetime  # by the database's clock: spending counts from then on; another limit of a day keeps it


class Spending(NamedTuple):
    """Requests and their costs: real ones where they are known, else estimates."""

    spent: float = 0.0
    requests: int = 0


class ServerSpending(NamedTuple):
    """Spending of one server under the present budget, as it reports it: totals, so that a report may come twice."""

    space_id: int
    server_id: UUID
    set_at: datetime  # of the budget
    report: int  # of this server: a later one has a larger number
    total: Spending
    day: date  # UTC
    of_day: Spending


class FleetSpending(NamedTuple):
    """Spending under a budget on all servers but one, as they have reported it."""

    set_at: datetime  # of the budget
    at: datetime  # of the sum, by the database's clock
    total: Spending
    of_day: Spending  # of the day of ``at``, UTC


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A row of ``sona.budgets``."""

    space: str
    amount: float
    per: Per
    set_at: datetime
    requests: int  # since ``set_at``, on all servers
    spent: float
    spent_today: float  # since midnight, UTC
    requests_today: int
    pace: float | None  # spending over what the budget allows up to now; None before the first request
    cost_unit: str | None = None  # of all amounts: the space's setting ``costs.unit``
    share_of_day: float | None = None  # that is over, UTC: what a budget of a day allows up to now
    used_up_at: datetime | None = None  # at today's rate, if that is before midnight; None if it is used up already

    def as_dict(self) -> Mapping[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}
