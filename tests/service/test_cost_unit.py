"""The unit of costs: a setting of the space, shown with costs over HTTP, in SQL and on the command line."""

from __future__ import annotations

import json

import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import ConfigError, CostConfig
from sona_pg.cli.commands import app
from sona_pg.domain.ids import uuid7


@pytest.fixture(scope="module")
def name(service):
    name = f"priced {uuid7()}"
    service.post("/v1/spaces", {"name": name, "dim": 8})
    rows = [{"text": "abc", "route": "small", "quality": 1, "cost": 0.5} for _ in range(12)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params={"space": name})
    service.post("/v1/learn", params={"space": name})
    return name


def seen(service, name):
    asked = {"params": {"space": name}}
    paths = ("dashboard/figures", "dashboard/routes", "dashboard/patterns")
    return [service.get(f"/v1/{path}", **asked).json()["cost_unit"] for path in paths]


def test_costs_have_no_unit_until_the_space_tells_one_and_every_answer_has_it_then(service, service_url, name):
    assert seen(service, name) == [None] * 3
    CliRunner().invoke(app, ["space", "set", name, "costs.unit=EUR", "--url", service_url], catch_exceptions=False)
    assert seen(service, name) == ["EUR"] * 3  # of servers that have the space open, without a new version
    asked = {"params": {"space": name}}
    service.post("/v1/budget", {"amount": 2.0}, **asked)
    assert service.get("/v1/budget", **asked).json()["cost_unit"] == "EUR"
    told = CliRunner().invoke(app, ["space", "budget", name, "--url", service_url], catch_exceptions=False)
    assert json.loads(told.output)["cost_unit"] == "EUR"
    CliRunner().invoke(app, ["space", "set", name, "costs.unit=", "--url", service_url], catch_exceptions=False)
    assert seen(service, name) == [None] * 3


def test_views_with_costs_have_their_unit(service, service_url, name):
    CliRunner().invoke(app, ["space", "set", name, "costs.unit=USD", "--url", service_url], catch_exceptions=False)
    service.post("/v1/budget", {"amount": 2.0}, params={"space": name})
    with psycopg.connect(service_url) as connection:
        for view in ("quality_by_day", "quality_by_space", "quality_by_server", "route_leaderboard", "budgets"):
            rows = connection.execute(f"SELECT DISTINCT cost_unit FROM sona.{view} WHERE space = %s", (name,))
            assert rows.fetchall() == [("USD",)], view


@pytest.mark.parametrize("unit", ["a unit that is too long", " USD", "US\nD", 5])
def test_a_unit_that_cannot_be_shown_is_refused(unit):
    assert CostConfig(unit="EUR").unit == "EUR"
    with pytest.raises(ConfigError, match=r"costs\.unit"):
        CostConfig(unit=unit)
