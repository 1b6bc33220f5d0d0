"""A space's budget on one server: its own spending, and its part in what all servers together have left or owe.

Every server reports its totals and hears the sum of the others with each poll. The debt of all, spending less the
budget of all requests, is divided by their shares of the latest requests; between two polls a server's own requests
count in full. So the debts that the servers pay back add up to the debt of all, whoever of them was killed meanwhile.
While the database is away every server keeps its own requests on the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from functools import partial

from sona_pg.domain.budget import Budget, FleetSpending, Spending
from sona_pg.learning.routing.pacing import BudgetPacer
from sona_pg.limits import BUDGET

FADING = 0.8  # of the requests of earlier polls, when shares and the rate of requests are measured
FIRST_OTHERS = 64  # requests of others that a new server assumes at most to have been made lately
REPACED_EVERY = 64  # own requests after which the budget of a day is divided anew, without a poll
IDLE = 5.0  # seconds between two looks at the others without requests of its own
MOST_SPENT = 1e200  # of a server
NONE_LEFT = 1e-9  # of a day's budget: what is allowed once it is spent
DAY = timedelta(days=1)


class SpaceBudget:
    """Paces one server's decisions by the budget of its space. ``lock`` guards the pacer."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        """Start without a budget."""
        self.limit: Budget | None = None
        self.pacer: BudgetPacer | None = None  # None: no budget; of the requests under it
        self._lock = lock
        self._start = Spending()  # the pacer's totals when the budget was set, or the server was counted anew
        self._midnight = Spending()  # and at the beginning of the day
        self._day = datetime.now(UTC).date()
        self._others: FleetSpending | None = None
        self._reported = Spending(requests=-1)
        self._reports = 0
        self._asked_at = -IDLE  # monotonic seconds
        self._recent = 1.0, 0.0, 0.0  # faded: own requests, those of others, and seconds
        self._counted = 0  # own requests counted in it
        self._clock = 0.0  # the database's, less this machine's monotonic one
        self._heard_at = time.monotonic()

    def adopt(self, limit: Budget | None, at: datetime | None = None) -> None:
        """Take over the budget of the space; ``at`` is the database's time now."""
        with self._lock:
            if at is not None:
                self._clock = at.timestamp() - time.monotonic()
            before = self.limit
            if limit == before:
                return
            self.limit = limit
            if self.pacer is not None and _goes_on(before, limit):
                self._pace()
                return
            self._others = None
            if limit is None:
                self.pacer = None
                return
            pacer = self.pacer or BudgetPacer(limit.amount)
            self._start = self._midnight = Spending(pacer.spent, pacer.calls)
            self._counted, self._reported, self._recent = pacer.calls, Spending(requests=-1), (1.0, 0.0, 0.0)
            self._heard_at, self._asked_at = time.monotonic(), -IDLE
            if not self._clock:
                self._clock = limit.set_at.timestamp() - time.monotonic()
            self._day = self._now().date()
            pacer.resume(limit.amount, 0.0)
            self.pacer = pacer  # last: decisions read it without the lock
            self._pace()

    def count_anew(self) -> None:
        """Continue with totals from 0: maintenance has added those that were reported to the space's."""
        with self._lock:
            said = max(self._reported.requests, 0)
            spent = self._reported.spent if said else 0.0
            self._start = Spending(self._start.spent + spent, self._start.requests + said)
            self._midnight = Spending(
                max(self._midnight.spent, self._start.spent), max(self._midnight[1], self._start[1])
            )
            self._reported = Spending(requests=-1)

    def is_due(self) -> bool:
        """Return whether there is something to report, or the spending of others is to be heard."""
        pacer = self.pacer
        if pacer is None:
            return False
        return self._total(pacer) != self._reported or time.monotonic() - self._asked_at > IDLE

    def report(self) -> tuple[int, Spending, date, Spending] | None:
        """Return a growing number, the totals under the budget, the day (UTC), and its part; None without a budget."""
        with self._lock:
            pacer = self.pacer
            if pacer is None:
                return None
            self._begin_day(pacer)
            self._asked_at = time.monotonic()
            self._reported = self._total(pacer)
            self._reports += 1
            return self._reports, _normal(self._reported), self._day, _normal(self._of_day(pacer))

    def hear(self, others: FleetSpending) -> None:
        """Take over the spending of all other servers."""
        with self._lock:
            pacer, limit = self.pacer, self.limit
            if pacer is None or limit is None or others.set_at != limit.set_at:
                return
            now, before = time.monotonic(), self._others
            self._clock = others.at.timestamp() - now
            told = others.total.requests
            more = min(told, FIRST_OTHERS) if before is None else max(told - before.total.requests, 0)
            own, theirs, seconds = self._recent
            self._recent = (
                FADING * own + pacer.calls - self._counted,
                FADING * theirs + more,
                FADING * seconds + now - self._heard_at,
            )
            self._others, self._counted, self._heard_at = others, pacer.calls, now
            self._pace()

    def repace(self) -> None:
        """Divide the budget of a day anew now and then, though nothing is heard; called with every request."""
        pacer, limit = self.pacer, self.limit
        if limit is not None and pacer is not None and limit.per == "day" and pacer.calls % REPACED_EVERY == 0:
            self._pace()

    def mover(self) -> Callable[[float, float, float], None]:
        """Return a function that books the latest request again, once its trajectory tells that it is an earlier one.

        It takes the time at which it began, in seconds since 1970, what was booked, and the cost that counts.
        """
        return partial(self._move, self.limit, self._day)

    def _move(self, limit: Budget | None, day: date, began: float, booked: float, cost: float) -> None:
        """Take a request out of the periods that it began before; the lock is held.

        It was booked under ``limit``, as one of ``day``: what earlier periods have is not taken out of them.
        """
        pacer = self.pacer
        if pacer is None or limit is None or not (limit is self.limit or _goes_on(limit, self.limit)):
            return
        midnight = datetime.combine(self._day, datetime.min.time(), UTC).timestamp()
        if began >= max(midnight, limit.set_at.timestamp()):
            return
        if began < limit.set_at.timestamp():
            pacer.settle(cost, pacer.budget)  # neither debt nor credit
            cost = pacer.budget
            self._start = Spending(self._start.spent + cost, self._start.requests + 1)
        own = Spending(cost, 1) if day == self._day else Spending(cost - booked)
        self._midnight = Spending(self._midnight.spent + own.spent, self._midnight.requests + own.requests)
        self._counted = min(self._counted + 1, pacer.calls)  # it says nothing of the rate of requests
        if limit.per == "day":
            self._pace()

    def _pace(self) -> None:
        """Divide what all servers have left or owe."""
        pacer, limit = self.pacer, self.limit
        assert pacer is not None
        assert limit is not None
        if limit.per == "day":
            self._begin_day(pacer)
            pacer.resume(self._allowed(pacer, limit), 0.0)
            return
        if self._others is None:
            return
        spent, requests = self._total(pacer)
        total = self._others.total
        debt = total.spent + spent - limit.amount * (total.requests + requests)
        own, theirs, _ = self._recent
        pacer.resume(limit.amount, debt * (own + 1) / (own + theirs + 1))

    def _allowed(self, pacer: BudgetPacer, limit: Budget) -> float:
        """Return the mean cost of a request at which the day's budget lasts until midnight, UTC."""
        now = self._now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        spent, requests = self._of_day(pacer)
        others = self._others
        if others is not None and others.at.astimezone(UTC).date() == now.date():
            spent, requests = spent + others.of_day.spent, requests + others.of_day.requests
        elapsed = (now - max(midnight, limit.set_at)).total_seconds()
        own, theirs, seconds = self._recent
        rate = max(requests / max(elapsed, 1.0), (own + theirs) / max(seconds, 1.0))
        expected = max(rate * (midnight + DAY - now).total_seconds(), 1.0)
        return max(limit.amount - spent, NONE_LEFT * limit.amount) / expected

    def _begin_day(self, pacer: BudgetPacer) -> None:
        today = self._now().date()
        if today != self._day:
            self._day, self._midnight = today, Spending(pacer.spent, pacer.calls)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock + time.monotonic(), UTC)

    def _total(self, pacer: BudgetPacer) -> Spending:
        return Spending(pacer.spent - self._start.spent, pacer.calls - self._start.requests)

    def _of_day(self, pacer: BudgetPacer) -> Spending:
        return Spending(pacer.spent - self._midnight.spent, pacer.calls - self._midnight.requests)


def _goes_on(before: Budget | None, limit: Budget | None) -> bool:
    """Return whether a limit replaces another of the same days, so that what was spent of them still counts."""
    return (
        before is not None and limit is not None and before.per == limit.per == "day" and before.set_at == limit.set_at
    )


def _normal(told: Spending) -> Spending:
    """Return spending that Postgres can add up and divide: a sum is in the range of double precision, a share too."""
    return Spending(min(told.spent, MOST_SPENT) if abs(told.spent) >= BUDGET[0] else 0.0, told.requests)
