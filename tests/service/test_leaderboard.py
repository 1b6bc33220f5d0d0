"""The leaderboard tells how many routes there are, finds one by its name, and leads to what was rated bad."""

from __future__ import annotations

import pytest


@pytest.fixture
def name(service, space, rows):
    """A space of 60 articles; those with an odd number were rated bad, all but the first."""
    found = {"space": space()}
    told = [
        {"text": "aab", "route": f"Article {place:02}", "quality": float(place % 2 == 0 or place == 1)}
        for place in range(60)
        for _ in range(2)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": told}, params=found)
    rows(found["space"])  # committed
    return found


def test_the_leaderboard_tells_how_many_routes_there_are(service, name):
    found = service.get("/v1/dashboard/routes", params=name).json()
    assert (len(found["routes"]), found["all"]) == (50, 60)


def test_a_route_beyond_those_taken_most_often_is_found_by_its_name(service, name):
    found = service.get("/v1/dashboard/routes", params=name | {"find": "ticle 59"}).json()
    assert ([one["route"] for one in found["routes"]], found["all"]) == (["Article 59"], 1)
    assert service.get("/v1/dashboard/routes", params=name | {"find": "%"}).json()["all"] == 0


def test_the_requests_of_a_route_that_were_rated_bad_are_told(service, name):
    def bad(route):
        asked = name | {"route": route, "days": 7}
        return service.get("/v1/dashboard/rated-bad", params=asked).json()["requests"]

    assert [(one["route"], one["quality"], one["query"]) for one in bad("Article 03")] == [("Article 03", 0, "aab")] * 2
    assert (bad("Article 01"), bad("Article 02"), bad("none")) == ([], [], [])
    later = {"trajectory": bad("Article 03")[0]["trajectory"], "quality": 1}
    service.post("/v1/feedback", later, params=name)
    service.app.state.service.spaces.opened[name["space"]].engine.flush()
    assert len(bad("Article 03")) == 1
