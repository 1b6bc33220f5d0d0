"""One server's part in a budget: many meet it together, whoever is killed, and a day's lasts until midnight."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import numpy as np
import pytest

from sona_pg.domain.budget import Budget, FleetSpending, Per, Spending
from sona_pg.serving import space_budget
from sona_pg.serving.space_budget import SpaceBudget

pytestmark = pytest.mark.no_vectors

START = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
COSTS = np.array([0.05, 1.0])


class Clock:
    """Seconds since midnight."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(START.timestamp() + self.now, UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(space_budget, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


class Fleet:
    """Servers that report to a store; a killed one is replaced, and what it has not reported is lost."""

    def __init__(self, clock: Clock, amount: float, per: Per, servers: int, seed: int) -> None:
        self.clock, self.rng = clock, np.random.default_rng(seed)
        self.limit = Budget(amount, per, START)
        self.rows: dict[UUID, tuple[Spending, Spending, object]] = {}
        self.paid, self.requests = 0.0, 0
        self.members = [self.opened() for _ in range(servers)]

    def opened(self) -> tuple[UUID, SpaceBudget]:
        made = uuid4(), SpaceBudget(threading.RLock())
        made[1].adopt(self.limit, self.clock.at)
        self.share(*made)
        return made

    def share(self, server: UUID, account: SpaceBudget) -> None:
        told = account.report()
        assert told is not None
        _, total, day, of_day = told
        self.rows[server] = total, of_day, day
        others = [row for known, row in self.rows.items() if known != server]
        today = [row[1] for row in others if row[2] == self.clock.at.date()]
        account.hear(FleetSpending(START, self.clock.at, _sum([row[0] for row in others]), _sum(today)))

    def kill(self, place: int) -> None:
        self.members[place] = self.opened()

    def ask(self, place: int) -> None:
        """Decide at one server; the real cost differs from what is booked."""
        account = self.members[place][1]
        pacer = account.pacer
        assert pacer is not None
        values = np.array([0.5, 0.5 + 0.5 * self.rng.random()])
        chosen = int(np.argmax(values - pacer.price() * COSTS))
        real = float(COSTS[chosen] * self.rng.uniform(0.5, 1.5))
        pacer.record(values.tolist(), COSTS.tolist(), float(COSTS[chosen]))
        pacer.settle(float(COSTS[chosen]), real)
        account.repace()
        self.paid, self.requests = self.paid + real, self.requests + 1


def _sum(told: list[Spending]) -> Spending:
    return Spending(sum(each.spent for each in told), sum(each.requests for each in told))


@pytest.mark.parametrize("rates", [[1] * 8, [20, 1, 1, 1, 1, 1, 1, 1]])
def test_eight_servers_with_kills_spend_what_the_budget_allows(clock: Clock, rates: list[int]) -> None:
    fleet = Fleet(clock, 0.3, "request", 8, seed=1)
    shares = np.array(rates) / sum(rates)
    for turn, place in enumerate(fleet.rng.choice(8, 8000, p=shares).tolist()):
        fleet.ask(place)
        clock.now += 0.01
        if turn % 5 == 0:
            fleet.share(*fleet.members[turn // 5 % 8])
        if turn % 250 == 249:
            fleet.kill(turn // 250 % 8)
    assert len(fleet.rows) == 8 + 32
    assert 0.98 < fleet.paid / fleet.requests / 0.3 < 1.01
    reported = _sum([row[0] for row in fleet.rows.values()])
    assert reported.requests > 0.95 * fleet.requests


def test_a_budget_of_a_day_lasts_until_midnight_and_no_longer(clock: Clock) -> None:
    fleet = Fleet(clock, 600.0, "day", 3, seed=1)
    paid = []
    for day in range(2):
        before = fleet.paid
        for turn in range(3000):  # most of them in the afternoon
            clock.now = 86_400 * (day + (turn / 3000) ** 0.5)
            fleet.ask(turn % 3)
            if turn % 4 == 0:
                fleet.share(*fleet.members[turn // 4 % 3])
            if turn == 2000:
                fleet.kill(0)
        paid.append(fleet.paid - before)
    assert all(560 < each < 606 for each in paid), paid
    for turn in range(300):  # all at once, at the end of the day
        clock.now = 86_400 * 3 - 300 + turn
        fleet.ask(turn % 3)
        fleet.share(*fleet.members[turn % 3])
    assert fleet.paid - sum(paid) > 250


def test_a_spent_day_leaves_only_the_cheapest(clock: Clock) -> None:
    fleet = Fleet(clock, 2.0, "day", 1, seed=1)
    clock.now = 3600.0
    for _ in range(200):
        fleet.ask(0)
    fleet.share(*fleet.members[0])
    before = fleet.paid
    for _ in range(50):
        fleet.ask(0)
    assert (fleet.paid - before) / 50 < 0.06


def test_the_spending_of_a_day_begins_anew_at_midnight(clock: Clock) -> None:
    fleet = Fleet(clock, 10.0, "day", 1, seed=1)
    clock.now = 86_390.0
    fleet.ask(0)
    fleet.share(*fleet.members[0])
    clock.now += 20
    fleet.share(*fleet.members[0])
    fleet.ask(0)
    fleet.share(*fleet.members[0])
    ((total, of_day, day),) = fleet.rows.values()
    assert (total.requests, of_day.requests, str(day)) == (2, 1, "2026-11-23")


@pytest.mark.parametrize("per", ["request", "day"])
def test_a_request_counts_in_the_periods_since_it_began(clock: Clock, per: Per) -> None:
    account = SpaceBudget(threading.RLock())
    account.adopt(Budget(2.0, per, START), clock.at)
    assert account.pacer is not None

    def ask(began: float, real: float, ended: float) -> None:
        """Decide now; the trajectory of ``began`` ends at ``ended``. Both are seconds since the first midnight."""
        assert account.pacer is not None
        account.pacer.record([0.5], [0.1], 0.1)
        move = account.mover()
        clock.now = ended
        account.pacer.settle(0.1, real)
        move(START.timestamp() + began, 0.1, real)

    def reported() -> list[object]:
        told = account.report()
        assert told is not None
        return [*told[1], told[2].day, *told[3]]

    clock.now = 86_400.0 * 3
    reported()
    ask(-86_400.0, 1.0, clock.now)  # before the budget was set
    ask(7.0, 0.5, clock.now)  # under it, two days ago
    ask(clock.now, 0.25, clock.now)
    assert reported() == [pytest.approx(0.75), 2, 25, pytest.approx(0.25), 1]
    ask(clock.now, 0.75, clock.now + 86_400)
    assert reported() == [pytest.approx(1.5), 3, 26, pytest.approx(0), 0]  # it belongs to the day of the decision
    clock.now += 5
    ask(clock.now, 0.25, clock.now)
    assert reported() == [pytest.approx(1.75), 4, 26, pytest.approx(0.25), 1]
    ask(clock.now, 0.75, clock.now + 86_400)
    assert reported() == [pytest.approx(2.5), 5, 27, pytest.approx(0), 0]


def test_a_changed_limit_of_a_day_keeps_what_was_spent_of_it(clock: Clock) -> None:
    account = SpaceBudget(threading.RLock())
    account.adopt(Budget(2.0, "day", START), clock.at)
    assert account.pacer is not None
    clock.now = 43_200.0
    for _ in range(2):
        account.pacer.record([0.5, 0.9], [0.05, 1.0], 1.0)
    move = account.mover()
    account.report()
    account.adopt(Budget(4.0, "day", START), clock.at)
    told = account.report()
    assert told is not None
    assert told[0] == 2  # the number of the report goes on: the store takes no earlier one for a later one
    assert told[1] == told[3] == Spending(2.0, 2)
    assert account.pacer.budget == pytest.approx(
        2.0 / 43_200
    )  # what is left, until midnight: one request a second at first
    move(START.timestamp() - 60, 1.0, 1.0)  # it began before the budget was set, under the limit of before
    told = account.report()
    assert told is not None
    assert told[3].requests == 1
    account.adopt(Budget(4.0, "day", clock.at), clock.at)
    told = account.report()
    assert told is not None
    assert told[1] == Spending(0.0, 0)


@pytest.mark.parametrize(("cost", "told"), [(5e-324, 0.0), (1e300, space_budget.MOST_SPENT), (0.25, 0.25)])
def test_spending_is_reported_in_numbers_that_postgres_can_add_up_and_divide(
    clock: Clock, cost: float, told: float
) -> None:
    account = SpaceBudget(threading.RLock())
    account.adopt(Budget(1e-12, "day", START), clock.at)
    assert account.pacer is not None
    account.pacer.record([0.5], [cost], cost)
    reported = account.report()
    assert reported is not None
    assert reported[1] == reported[3] == Spending(told, 1)
