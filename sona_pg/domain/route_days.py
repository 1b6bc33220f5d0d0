"""When a route came within a period, by the days on which it was taken."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

SETTLED = 3  # days with requests before a route, and with it, for it to be called new


def came_on(taken: Collection[date], asked: Collection[date]) -> date | None:
    """Return since when a route is taken that was not before; None of one that was there or is hardly taken.

    Args:
        taken: the days on which it was taken, with a cost or without.
        asked: the days of the period on which anything was recorded.
    """
    first = min(taken)
    before = sum(day < first for day in asked)
    is_new = before >= SETTLED and len(taken) >= SETTLED and 2 * len(taken) >= len(asked) - before
    return first if is_new else None
