"""Spending tells when routes came and when those that left were last taken, by their requests."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from sona_pg.domain.route_days import came_on

DAYS = 14
FIRST = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
DAY = [(FIRST + timedelta(days=place)).date() for place in range(DAYS)]


def row(day, place, route, **more):
    at = (FIRST + timedelta(days=day, seconds=place)).isoformat()
    return {"id": f"{day} {place}", "started_at": at, "text": "zzq", "quality": 1.0, "route": route, **more}


def spending(service, name):
    found = service.get("/v1/dashboard/figures", params=name).json()
    return {one["route"]: (one["costed"], one["came_on"], one["last_on"]) for one in found["routes"]}


@pytest.fixture
def recorded(service, space):
    def record(rows):
        name = {"space": space()}
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
        service.post("/v1/learn", params=name)
        return name

    return record


def test_a_route_whose_costs_began_later_did_not_come_then(service, recorded):
    rows = [row(day, place, "big", cost=5.0) for day in range(DAYS) for place in range(2)]
    rows += [row(day, 10 + place, "local", cost=1.0 if day >= 8 else None) for day in range(DAYS) for place in range(2)]
    rows += [row(day, 20, "new", cost=1.0) for day in range(6, DAYS)]
    assert spending(service, recorded(rows)) == {
        "big": (28, None, None), "local": (12, None, None), "new": (8, DAY[6].isoformat(), None),
    }  # fmt: skip


def test_a_route_that_left_is_told_though_it_cost_nothing_in_the_end(service, recorded):
    rows = [row(day, place, "former", cost=1.0 if day < 3 else None) for day in range(6) for place in range(40)]
    rows += [row(day, place, "usual", cost=1.0) for day in range(6, DAYS) for place in range(40)]
    found = spending(service, recorded(rows))
    assert found["former"] == (120, None, DAY[5].isoformat())
    assert found["usual"] == (320, DAY[6].isoformat(), None)


def test_a_route_is_new_after_three_days_without_it_and_three_with_it():
    asked = {date(2026, 11, day) for day in range(1, 15)}

    def came(*days):
        return came_on({date(2026, 11, day) for day in days}, asked)

    assert came(4, 5, 6, 7, 8, 9) == date(2026, 11, 4)
    assert came(3, 4, 5, 6, 7, 8, 9) is None  # two days tell little
    assert came(13, 14) is None
    assert came(4, 8, 12) is None  # taken now and then
    assert came_on({date(2026, 11, 12)}, set()) is None
