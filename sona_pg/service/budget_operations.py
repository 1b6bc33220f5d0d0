"""Operations about the budget of a space."""

from __future__ import annotations

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

    amount: float | None
    per: str | None = None
    set_at: datetime | None = None
    requests: int = 0
    spent: float = 0.0
    requests_today: int = 0
    spent_today: float = 0.0
    pace: float | None = None
    cost_unit: str | None = None  # of all amounts


@operations.add("GET", "/v1/budget", scope="read", answer=BudgetAnswer, waits=True)
async def budget(call: Call[Any]) -> Any:
    """Return the budget of the space and what all its servers have spent of it."""
    known = await (await call.engine()).budget()
    return {"amount": None} if known is None else known.as_dict()


@operations.add("POST", "/v1/budget", scope="admin", body=BudgetBody, answer=BudgetAnswer, waits=True)
async def set_budget(call: Call[BudgetBody]) -> Any:
    """Set the budget of the space for all its servers; `{"amount": null}` removes it.

    Where even the cheapest route of a request costs more, it is chosen; a budget in the request itself is refused then.
    """
    if "amount" not in call.body.model_fields_set:
        raise field_problem("/amount", "expected a number above 0, or null to remove the budget")
    engine = await call.engine()
    await engine.set_budget(call.body.amount, call.body.per)
    known = await engine.budget()
    return {"amount": None} if known is None else known.as_dict()
