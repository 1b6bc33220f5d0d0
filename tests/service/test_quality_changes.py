"""The changes of quality over HTTP, with what they came with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

DAYS, EACH = 24, 30


@pytest.fixture
def fell(service, space):
    """A space in which one of two routes fell twelve days ago, of one topic."""
    name = {"space": space()}
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    for day in range(DAYS):
        rows = []
        for place in range(EACH):
            late = place % 2 == 0
            bad = late and day >= 12
            rows.append({
                "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
                "text": f"aab {1000 + place}" if late else "zzq", "route": "small" if late else "large",
                "quality": 0.0 if bad or place % 10 == 3 else 1.0,
            })  # fmt: skip
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    return name | {"day": (first + timedelta(days=12)).date().isoformat()}


def test_a_fall_is_told_with_what_it_came_with(service, fell):
    name = {"space": fell["space"]}
    (change,) = service.get("/v1/dashboard/changes", params=name).json()["changes"]
    assert (change["day"], change["before_rated"], change["after_rated"]) == (fell["day"], 12 * EACH, 12 * EACH)
    assert change["difference"] == pytest.approx(-0.5)
    (note,) = service.get("/v1/dashboard/changes", params=name).json()["notes"]  # the fall itself is not told again
    assert note.startswith("Not all that changed need be told: of the mean of all (420 ratings in two weeks) ")
    assert change["before_quality"] == pytest.approx(0.9)
    found = service.get("/v1/dashboard/change", params=name | {"day": fell["day"]}).json()
    assert found["sentence"] == change["sentence"]
    assert {part["title"] for part in found["named"]} == {"small", "aab [number]"}
    assert all(part["effect"] == pytest.approx(-0.5) for part in found["named"])
    assert {route["route"] for route in service.get("/v1/dashboard/changes", params=name).json()["routes"]} == {"small"}
    assert found["reasons"].startswith("What it came with: ")
    assert {part["kind"] for part in found["parts"]} == {"route", "topic"}


def test_only_a_day_of_a_change_is_explained(service, fell):
    name = {"space": fell["space"]}
    for query in ({"day": "2026-01-05"}, {"day": "soon"}, {}):
        assert service.get("/v1/dashboard/change", params=name | query).status_code == 422
    few = service.get("/v1/dashboard/changes", params=name | {"days": 4}).json()
    assert few["notes"].pop(0).startswith("That is no all-clear: of the mean of all (420 ratings in two weeks) a fall")
    assert few == {"changes": [], "earlier": None, "routes": [], "notes": few["notes"]}
    assert all(
        note.startswith("Answers of “small” were rated lower in this period than in the 60") for note in few["notes"]
    )
    week = service.get("/v1/dashboard/changes", params=name | {"days": 7}).json()
    assert (week["changes"], week["earlier"]["day"]) == ([], fell["day"])
    assert service.get("/v1/dashboard/change", params=name | {"day": fell["day"], "days": 14}).status_code == 200


def test_a_week_of_outage_is_told_in_a_longer_period(service, space):
    name = {"space": space()}
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=55)
    good = {"atlas": 0, "nova": 0}
    rows = []
    for day in range(56):
        for place in range(12):
            route = "atlas" if place % 2 else "nova"
            good[route] += 1
            usual = 0.25 if route == "atlas" and 25 <= day < 32 else 0.6
            rows.append({
                "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
                "text": "aab", "route": route, "quality": float(good[route] * 0.618 % 1 < usual),
            })  # fmt: skip
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    found = service.get("/v1/dashboard/changes", params=name | {"days": 40}).json()
    assert [one["route"] for one in found["routes"]] == []
    (told,) = (note for note in found["notes"] if note.startswith("From "))
    assert "answers of “atlas” were rated lower than in the 60 days before and after: " in told
    assert "It has recovered: 6" in told


def test_a_source_that_gave_nearly_all_ratings_of_a_route_that_fell_is_named(service, space):
    name = {"space": space()}
    first = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    rows, spoilt = [], []
    for day in range(DAYS):
        for place in range(12):
            spoilt.append(place % 2 == 0 and day >= 14)
            rows.append({
                "id": f"{day} {place}", "started_at": (first + timedelta(days=day, seconds=place)).isoformat(),
                "text": "aab", "route": "card" if place % 2 == 0 else "other",
                **({} if spoilt[-1] else {"quality": float(place % 10 != 3)}),
            })  # fmt: skip
    made = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name).json()["ids"]
    facts = [
        {"trajectory": id_, "quality": 0.0}
        for id_, bad in zip(made, spoilt, strict=True) if bad
    ]  # fmt: skip
    assert service.post("/v1/feedback/batch", {"feedback": facts}, params=name).status_code < 300
    service.post("/v1/learn", params=name)
    (route,) = service.get("/v1/dashboard/changes", params=name).json()["routes"]
    assert route["route"] == "card"
    own = service.get("/v1/spaces").json()["source"]
    assert route["sentence"].endswith(f" 60 of these 60 are by “{own}”: look whether they can be trusted.")
