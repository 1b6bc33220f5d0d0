"""One decision of a server: its booked cost and its expected quality, and the real ones that its end tells."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.pacing import BudgetPacer

Judge = Callable[[str, Router, float, float], object]
Price = Callable[[str, float, float], object]
Move = Callable[[float, float, float], object]


class Booking:
    """Expectations of one decision, until its end tells the real figures. A copy in another process books nothing."""

    __slots__ = ("_booked", "_expected", "_judge", "_listed", "_lock", "_move", "_pacer", "_price", "_route", "_router")

    def __init__(
        self,
        pacer: BudgetPacer | None,
        lock: AbstractContextManager[object],
        booked: float,
        judge: Judge,
        route: str,
        router: Router,
        expected: float,
        price: Price,
        listed: float,
        move: Move | None = None,
    ) -> None:
        """Note that ``booked`` was recorded by ``pacer``, which ``lock`` guards; None without a budget.

        ``judge`` takes the route, the router that decided, the quality that it ``expected``, and the quality; ``price``
        the route, the cost that the router expected, which is ``listed``, and the real cost; ``move``, of a
        space's budget, the time at which the trajectory began, what was booked, and the cost that counts.
        """
        self._pacer = pacer
        self._lock = lock
        self._booked = booked
        self._judge = judge
        self._route = route
        self._router = router
        self._expected = expected
        self._price = price
        self._listed = listed
        self._move = move

    def ended(self, quality: float | None, cost: float | None, began: float | None = None) -> None:
        """Pace by the real cost, and compare the quality with what was expected.

        ``began`` is the time of the trajectory, in seconds since 1970, if its caller told it.
        """
        with self._lock:
            booked = self._booked
            if cost is not None:
                if self._pacer is not None:
                    self._pacer.settle(booked, cost)
                    self._booked = cost
                self._price(self._route, self._listed, cost)
            if began is not None and self._move is not None:
                self._move(began, booked, self._booked)
                self._move = None
            if quality is not None:
                self._judge(self._route, self._router, self._expected, quality)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(None), ()
