"""What the dashboard's operations share: the period that is asked for, and the overview of its space."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel, Field

from sona_pg.engine import SonaEngine
from sona_pg.engine.overview import Overview
from sona_pg.service.operations import Call

LONGEST_FIND = 200  # characters of a search
_overviews: WeakKeyDictionary[SonaEngine, Overview] = WeakKeyDictionary()
R = TypeVar("R")


class DaysQuery(BaseModel):
    """How far back to look, from now or from the end of a day (UTC)."""

    days: Annotated[float, Field(gt=0, le=3650)] = 30.0
    until: Annotated[date, Field(ge=date(1970, 1, 1))] | None = None  # the last day


def period_of(call: Call[Any]) -> tuple[float, date | None]:
    """Return the days that are asked for, and the last of them."""
    return call.query["days"], call.query["until"]


async def cost_unit_of(call: Call[Any]) -> dict[str, Any]:
    """Return the unit of the space's costs, as a field of an answer."""
    return {"cost_unit": await overview_of(call, Overview.cost_unit)}


async def overview_of(call: Call[Any], read: Callable[[Overview], R]) -> R:
    """Return what ``read`` finds in the space that is asked for; it runs in a thread for pages.

    Raises:
        ProblemError: 503: it takes long, and goes on.
    """
    engine = await call.engine()
    known = _overviews.get(engine.engine)
    if known is None:
        known = _overviews[engine.engine] = Overview(engine.engine)
    return await call.state.pages.run(read, known)
