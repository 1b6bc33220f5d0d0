"""One server's spending under a budget: the booked cost and the expected quality of a decision, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from sona_pg.learning.routing.pacing import BudgetPacer


class Booking:
    """Cost booked for one decision, until its end tells the real one. A copy in another process books nothing."""

    __slots__ = ("_booked", "_judge", "_lock", "_pacer")

    def __init__(
        self,
        pacer: BudgetPacer,
        lock: AbstractContextManager[object],
        booked: float,
        judge: Callable[[float], object],
    ) -> None:
        """Note that ``booked`` was recorded by ``pacer``, which ``lock`` guards; ``judge`` takes the quality."""
        self._pacer = pacer
        self._lock = lock
        self._booked = booked
        self._judge = judge

    def ended(self, quality: float | None, cost: float | None) -> None:
        """Pace by the real cost, and compare the quality with what was expected."""
        with self._lock:
            if cost is not None:
                self._pacer.settle(self._booked, cost)
                self._booked = cost
            if quality is not None:
                self._judge(quality)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(None), ()
