"""A budget of a space holds for all its servers together, is kept in the store, and is shown in SQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from fix_proxy import Proxy
from psycopg.rows import dict_row
from typer.testing import CliRunner

from sona_pg import InvalidValue, SonaConfig, SonaEngine, Store
from sona_pg.cli.commands import app
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.domain.budget import BudgetStatus, Per

pytestmark = pytest.mark.no_vectors

DIM = 4
COSTS = {"cheap": 0.1, "dear": 1.0}
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=0.05, seed=1), maintenance=MaintenanceConfig(automatic=False)
)


def opened(url: str) -> SonaEngine:
    return SonaEngine(DIM, url, config=QUIET)


def ask(engine: SonaEngine, n: int, **arguments: object) -> float:
    """Decide, tell the real costs, and return their sum."""
    rng, paid = np.random.default_rng(n), 0.0
    for _ in range(n):
        x = rng.standard_normal(DIM).astype(np.float32)
        decision = engine.route(x, list(COSTS), costs=COSTS, **arguments)  # type: ignore[arg-type]
        cost = COSTS[decision.route] * rng.uniform(0.5, 1.5)
        t = engine.begin_trajectory(x, decision=decision)
        engine.end_trajectory(t, float(decision.route == "dear") * rng.random(), cost=cost)
        paid += cost
    return paid


def known(engine: SonaEngine) -> BudgetStatus:
    status = engine.budget()
    assert status is not None
    return status


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def test_a_budget_and_its_spending_survive_a_restart_and_are_shown_in_sql(database_url: str) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.4)
        paid = ask(engine, 200)
    with opened(database_url) as engine:
        assert engine._session.spending.limit is not None
        assert engine._session.spending.limit.amount == 0.4
        paid += ask(engine, 200)
        status = known(engine)
        assert (status.amount, status.per, status.requests, status.requests_today) == (0.4, "request", 400, 400)
        assert status.spent == pytest.approx(paid)
        assert status.pace == pytest.approx(paid / 160)
        assert paid <= 0.4 * 400 * 1.05
        with psycopg.connect(database_url) as connection:
            row = connection.execute("SELECT space, amount, per, requests, spent, pace FROM sona.budgets").fetchone()
        assert row == ("default", 0.4, "request", 400, status.spent, status.pace)
        engine.set_budget(None)
        assert engine.budget() is None
        assert ask(engine, 50) > 0


def test_a_call_with_a_budget_of_its_own_is_apart(database_url: str) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.4)
        ask(engine, 30, budget=0.9)
        assert known(engine).requests == 0


def test_servers_work_on_the_sum_of_what_they_spend(database_url: str) -> None:
    with opened(database_url) as first, opened(database_url) as second:
        first.set_budget(0.3)
        eventually(lambda: second._session.spending.limit is not None, "a server has not heard of the budget")
        paid, wasted = ask(first, 100), 0.0
        for _ in range(60):  # spent by someone who does not care: the other server makes up for it
            x = np.ones(DIM, np.float32)
            decision = second.route(x, ["dear"], costs={"dear": 1.0})
            second.end_trajectory(second.begin_trajectory(x, decision=decision), 1.0, cost=1.0)
            wasted += 1.0
        for _ in range(8):
            second._session.spending.share()
            first._session.spending.share()
            paid += ask(first, 50)
        second._session.spending.share()
        status = known(first)
        assert status.requests == 560
        assert status.spent == pytest.approx(paid + wasted)
        assert status.pace is not None
        assert status.pace < 1.05
        assert paid / 500 < 0.27


def test_a_budget_that_is_changed_counts_from_then_on_everywhere(database_url: str) -> None:
    with opened(database_url) as first, opened(database_url) as second:
        first.set_budget(0.3)
        ask(first, 20)
        second.set_budget(5.0, per="day")
        eventually(lambda: first._session.spending.limit == second._session.spending.limit, "the change is not heard")
        assert known(first).requests == 0
        ask(first, 40)
        status = known(second)
        eventually(lambda: known(second).requests == 40, "the other server's spending is not heard")
        assert (status.per, status.amount) == ("day", 5.0)


def test_a_changed_limit_of_a_day_keeps_what_was_spent_of_it_on_every_server(database_url: str) -> None:
    with opened(database_url) as first, opened(database_url) as second:
        servers = (first, second)

        def agreed(amount: float) -> None:
            limits = [server._session.spending for server in servers]
            eventually(lambda: [each.limit and each.limit.amount for each in limits] == [amount] * 2, "it is not heard")

        first.set_budget(50.0, per="day")
        agreed(50.0)
        set_at, paid = known(first).set_at, ask(first, 20) + ask(second, 10)
        second.set_budget(80.0, per="day")
        agreed(80.0)
        paid += ask(second, 10)
        CliRunner().invoke(
            app, ["space", "budget", "default", "--amount", "90", "--per", "day", "--url", database_url],
            catch_exceptions=False,
        )  # fmt: skip
        agreed(90.0)
        for server in servers:
            eventually(lambda server=server: known(server).requests_today == 40, "what was spent is lost")
            status = known(server)
            assert (status.amount, status.set_at, status.requests) == (90.0, set_at, 40)
            assert status.spent_today == status.spent == pytest.approx(paid)
        first.set_budget(90.0)
        assert known(first).requests == 0  # a mean of requests is another budget
        first.set_budget(50.0, per="day")
        ask(first, 5)
        first.set_budget(None)
        first.set_budget(50.0, per="day")
        assert known(first).requests == 0


def test_the_mean_of_requests_counts_from_its_change_on(database_url: str) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.5)
        ask(engine, 20)
        engine.set_budget(0.3)
        assert known(engine).requests == 0  # what was saved under another mean is no credit, and no debt


def status_at(connection: psycopg.Connection, hours: float | None, spent: float) -> dict[str, float | datetime | None]:
    """Return a row of ``sona.budgets`` of 10.0 a day, set so many hours before now, or a day ago."""
    started = "now() - interval '1 day'" if hours is None else f"now() - interval '{hours} hours'"
    connection.execute(f"UPDATE sona.spaces SET budget = 10, budget_per = 'day', budget_set_at = {started}".encode())
    connection.execute(
        "UPDATE sona.servers v SET budget_set_at = s.budget_set_at, budget_spent = %(spent)s, budget_requests = 20,"
        " budget_day = (now() AT TIME ZONE 'UTC')::date, budget_day_spent = %(spent)s, budget_day_requests = 20"
        " FROM sona.spaces s WHERE s.space_id = v.space_id", {"spent": spent}
    )  # fmt: skip
    cursor = connection.cursor(row_factory=dict_row)
    found = cursor.execute("SELECT *, now() AS now FROM sona.budgets").fetchone()
    assert found is not None
    return found


def test_the_pace_of_a_day_is_of_the_share_of_the_day_that_is_over(database_url: str) -> None:
    with opened(database_url):
        pass
    with psycopg.connect(database_url) as connection:
        for hours in (None, 1 / 30):  # since two minutes
            told = status_at(connection, hours, 9.7)
            now = told["now"].astimezone(UTC)
            over = (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() / 86_400
            assert told["share_of_day"] == pytest.approx(over)
            assert told["pace"] == pytest.approx(9.7 / (10 * over))


def test_a_budget_of_a_day_tells_when_it_is_used_up_at_the_rate_so_far(database_url: str) -> None:
    with opened(database_url):
        pass
    with psycopg.connect(database_url) as connection:
        told = status_at(connection, None, 1.0)
        over = told["share_of_day"]
        for part, lasts in ((0.9, True), (1.1, False)):  # of what lasts exactly until midnight
            told = status_at(connection, None, part * 10 * over)
            midnight = told["now"].astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            at = midnight + timedelta(days=1) / part
            assert (
                told["used_up_at"] is None
                if lasts or at < told["now"]
                else abs(told["used_up_at"] - at) < timedelta(seconds=1)
            )
        for spent in (0.0, 10.0, 12.0):  # unknown, or it is used up already
            assert status_at(connection, None, spent)["used_up_at"] is None
        assert status_at(connection, 0, 5.0)["used_up_at"] is None  # no rate is known yet


def test_without_known_costs_decisions_are_free_and_their_real_costs_count(database_url: str) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.5)
        x = np.ones(DIM, np.float32)
        decision = engine.route(x, ["a", "b"])
        engine.end_trajectory(engine.begin_trajectory(x, decision=decision), 1.0, cost=0.75)
        assert (known(engine).requests, known(engine).spent) == (1, 0.75)
        for _ in range(3):  # even the cheapest is too dear: no error, the cheapest
            assert engine.route(x, ["a", "b"], costs={"a": 8.0, "b": 9.0}).route in "ab"


def test_the_spending_of_servers_that_are_deleted_stays_in_the_sum(database_url: str) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.4)
        paid = ask(engine, 30)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.servers SET seen_at = now() - interval '8 days'")
    with opened(database_url) as engine:
        paid += ask(engine, 30)
        done = engine._session.database.maintenance(MaintenanceConfig()).run()
        assert any(each.action == "forgot" for each in done)
        assert (known(engine).requests, known(engine).spent) == (60, pytest.approx(paid))
        with psycopg.connect(database_url) as connection:  # this server too, as if its machine had slept
            connection.execute("UPDATE sona.servers SET seen_at = now() - interval '8 days'")
        engine._session.database.maintenance(MaintenanceConfig()).run()
        eventually(lambda: _rows(database_url) == 1, "not registered again")
        paid += ask(engine, 30)
        eventually(lambda: known(engine).requests == 90, "the spending of a server that came back counts once")
        assert known(engine).spent == pytest.approx(paid)


def _rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM sona.servers").fetchone()
    assert row is not None
    return int(row[0])


def test_a_budget_goes_on_while_the_database_is_away(proxy: Proxy) -> None:
    with opened(proxy.url) as engine:
        engine.set_budget(0.4)
        ask(engine, 100)
        engine._session.spending.share()
        proxy.refuse()
        paid = ask(engine, 300)
        proxy.accept()
        assert paid / 300 < 0.42
        eventually(lambda: engine._session.chooser.space_budget._reported.requests == 400, "nothing is reported")
        assert known(engine).requests == 400


def test_a_new_model_of_embeddings_leaves_the_budget(database_url: str) -> None:
    with Store(database_url) as store:
        with store.space("docs", hidden_dim=DIM, config=QUIET) as engine:
            engine.set_budget(0.4)
            ask(engine, 20)
        store.reembed_space("docs", lambda texts: np.ones((len(texts), 6), np.float32), 6)
        status = known(store.space("docs", hidden_dim=6))
        assert (status.amount, status.requests) == (0.4, 20)


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf"), 5e-324, 1e300, "1", True])
def test_a_budget_must_be_a_positive_number(database_url: str, amount: object) -> None:
    with opened(database_url) as engine:
        with pytest.raises(InvalidValue, match="amount="):
            engine.set_budget(amount)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match="expected one of request, day"):
            engine.set_budget(1.0, per="week")  # type: ignore[arg-type]


def _ended(engine: SonaEngine, started_at: datetime | None, told: dict[str, float]) -> str:
    """Decide, and record the decision under a time; return the route."""
    x = np.ones(DIM, np.float32)
    decision = engine.route(x, list(COSTS), costs=COSTS)
    t = engine.begin_trajectory(x, decision=decision, started_at=started_at)
    engine.end_trajectory(t, 0.5, cost=told.get(decision.route))
    return decision.route


@pytest.mark.parametrize("per", ["request", "day"])
@pytest.mark.parametrize("told", [{}, {"cheap": 0.3, "dear": 3.0}])
def test_records_of_the_past_are_not_spent_today(database_url: str, per: Per, told: dict[str, float]) -> None:
    with opened(database_url) as engine:
        engine.set_budget(0.4, per=per)
        for _ in range(50):  # a poll between the decision and its end reports the request, and then takes it back
            _ended(engine, datetime.now(UTC) - timedelta(weeks=3), told)
        status = known(engine)
        assert (status.requests, status.requests_today) == (0, 0)
        assert (status.spent, status.spent_today) == (pytest.approx(0), pytest.approx(0))
        now = engine._session.database.now()
        paid = 0.0
        for at in (now, None):
            route = _ended(engine, at, told)
            paid += told.get(route, COSTS[route])
        status = known(engine)
        assert (status.requests, status.spent) == (2, pytest.approx(paid))
