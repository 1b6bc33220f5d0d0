"""Spending under a budget by one server: what was booked for a decision, and what it really cost."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sona_pg.learning.routing.pacing import BudgetPacer


class Booking:
    """Cost booked for one decision; ``settle`` replaces it by the real one. A copy in another process books nothing."""

    __slots__ = ("_booked", "_lock", "_pacer")

    def __init__(self, pacer: BudgetPacer, lock: AbstractContextManager[object], booked: float) -> None:
        """Note that ``booked`` was recorded by ``pacer``, which ``lock`` guards."""
        self._pacer = pacer
        self._lock = lock
        self._booked = booked

    def settle(self, cost: float) -> None:
        """Have the pacer go by the real cost; said again, by the last one."""
        with self._lock:
            self._pacer.settle(self._booked, cost)
            self._booked = cost

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(None), ()
