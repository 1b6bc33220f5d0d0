"""Operations about the budget of a space."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from sona_pg.limits import BUDGET
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.wire_vectors import STRICT

operations = Operations("budget")


class BudgetBody(BaseModel):
    """The limit of spending; null: none."""

    model_config = STRICT | {"json_schema_extra": {"required": ["amount"]}}

    amount: Annotated[float, Field(ge=BUDGET[0], le=BUDGET[1])] | None = None  # in the unit of costs
    per: Literal["request", "day"] = "request"


class BudgetAnswer(BaseModel):
    """The budget of the space and what all its servers have spent of it; null: it has none."""

    space: str
    amount: float | None
    per: Literal["request", "day"] | None
    set_at: datetime | None
    requests: int  # since set_at, when counting began: another limit of a day keeps it
    spent: float
    requests_today: int
    spent_today: float
    pace: float | None  # spending over what it allows up to now
    cost_unit: str | None  # of all amounts
    share_of_day: float | None  # that is over, UTC
    used_up_at: datetime | None  # of a day, at today's rate; null if it lasts until midnight, or is used up


@operations.add("GET", "/v1/budget", scope="read", answer=BudgetAnswer, waits=True)
async def budget(call: Call[Any]) -> Any:
    """Return the budget of the space and what all its servers have spent of it."""
    return await _told(call)


@operations.add("POST", "/v1/budget", scope="admin", body=BudgetBody, answer=BudgetAnswer, waits=True)
async def set_budget(call: Call[BudgetBody]) -> Any:
    """Set the budget of the space for all its servers; `{"amount": null}` removes it.

    Another limit of a day keeps what was spent today; any other change begins the count anew.
    Where even the cheapest route of a request costs more, it is chosen; a budget in the request itself is refused then.
    """
    if "amount" not in call.body.model_fields_set:
        raise field_problem("/amount", "expected a number above 0, or null to remove the budget")
    engine = await call.engine()
    await engine.set_budget(call.body.amount, call.body.per)
    return await _told(call)


async def _told(call: Call[Any]) -> Mapping[str, Any]:
    known = await (await call.engine()).budget()
    if known is not None:
        return known.as_dict()
    nothing = dict.fromkeys(("amount", "per", "set_at", "pace", "cost_unit", "share_of_day", "used_up_at"))
    spent = dict.fromkeys(("requests", "spent", "requests_today", "spent_today"), 0)
    return {"space": call.space} | nothing | spent
