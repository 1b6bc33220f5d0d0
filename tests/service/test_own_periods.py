"""Periods of the dashboard that end with a day of one's own."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from sona_pg.engine import compared_spaces

TODAY = datetime.now(UTC).date()
WEEK = {"days": 7, "until": (TODAY - timedelta(days=20)).isoformat()}  # 26 to 20 days ago


@pytest.fixture(scope="module")
def sold(service):
    """Fifty days: 4 requests each, 12 in the sale week, in which ``std`` answered and failed."""
    name = {"space": f"sold {TODAY} own periods"}
    service.post("/v1/spaces", {"name": name["space"], "dim": 8})
    rows = []
    for ago in range(50):
        at = datetime.combine(TODAY - timedelta(days=ago), datetime.min.time(), UTC)
        in_sale = 20 <= ago <= 26
        for place in range(12 if in_sale else 4):
            rows.append({
                "id": f"{ago} {place}", "started_at": (at + timedelta(minutes=place)).isoformat(), "text": "aaaa",
                "route": "std" if in_sale else "mini", "quality": 0.0 if in_sale else 1.0, "context": ["market:de"],
            })  # fmt: skip
    for path, body in (("/v1/trajectories/batch", {"trajectories": rows}), ("/v1/learn", {})):
        answer = service.post(path, body, params=name)
        assert answer.status_code < 300, answer.text
    return name


def test_figures_are_of_the_chosen_days_alone(service, sold):
    found = service.get("/v1/dashboard/figures", params=sold | WEEK).json()
    assert (found["first_day"], found["last_day"]) == ((TODAY - timedelta(days=26)).isoformat(), WEEK["until"])
    assert (found["now"]["rated"], found["now"]["quality"], found["missing_days"]) == (84, 0, 0)
    assert (found["before"]["rated"], found["before"]["quality"]) == (28, 1)
    assert [(one["trajectories"], one["rated"]) for one in found["traffic"]] == [(12, 12)] * 7


def test_every_view_of_a_period_has_these_days(service, sold):
    def view(path, **more):
        answer = service.get(f"/v1/dashboard/{path}", params=sold | WEEK | more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    points = view("quality")["points"]
    assert sum(point["trajectories"] for point in points) == 84
    assert [(one["route"], one["trajectories"]) for one in view("routes")["routes"]] == [("std", 84)]
    assert [(one["rated"], one["before_rated"]) for one in view("topics")["topics"]] == [(84, 28)]
    assert [one["rated"] for one in view("labels")["labels"]] == [84]
    assert view("rated-bad", route="mini")["requests"] == []
    assert len(view("rated-bad", route="std")["requests"]) == 20


def test_changes_are_those_of_the_chosen_days(service, sold):
    until = date.fromisoformat(WEEK["until"])
    asked = sold | {"days": 21, "until": until.isoformat()}  # the fall and what was before, not the recovery
    found = service.get("/v1/dashboard/changes", params=asked).json()
    days = [date.fromisoformat(one["day"]) for one in found["changes"]]
    assert days
    assert all(until - timedelta(days=20) <= day <= until for day in days)
    assert found["changes"][-1]["difference"] < 0
    told = service.get("/v1/dashboard/change", params=asked | {"day": days[-1].isoformat()}).json()
    assert told["difference"] == found["changes"][-1]["difference"]


def test_a_last_day_to_come_is_today(service, sold):
    later = {"days": 7, "until": (TODAY + timedelta(days=400)).isoformat()}
    found = service.get("/v1/dashboard/figures", params=sold | later).json()
    assert (found["last_day"], found["now"]["rated"]) == (TODAY.isoformat(), 28)
    refused = service.get("/v1/dashboard/figures", params=sold | {"until": "yesterday"})
    assert refused.status_code == 422


def test_spaces_are_compared_over_the_same_days(service, sold, space, monkeypatch):
    monkeypatch.setattr(compared_spaces, "COMPARED", 10_000)  # the store has the spaces of other tests
    other = {"space": space()}
    at = datetime.combine(TODAY - timedelta(days=21), datetime.min.time(), UTC).isoformat()
    rows = [{"text": "bbbb", "started_at": at, "quality": float(place < 6)} for place in range(8)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=other)
    service.post("/v1/learn", params=other)
    found = service.get("/v1/dashboard/spaces", params=sold | WEEK).json()
    assert found["last_day"] == WEEK["until"]
    seen = {one["space"]: (one["trajectories"], one["rated"], one["quality"]) for one in found["spaces"]}
    assert seen[sold["space"]] == (84, 84, 0)
    assert seen[other["space"]] == (8, 8, pytest.approx(0.75))
    assert found["all"] >= len(seen)
