"""A route that is no longer offered is nobody's best one any more, and stays in the history."""

from __future__ import annotations

import psycopg
import pytest

IN_SQL = "SELECT best_route, former_best_route FROM sona.pattern_summary WHERE space = %s"
BEST = """
SELECT route, is_offered FROM sona.routes_by_pattern WHERE space = %s AND (is_best OR NOT is_offered) ORDER BY route
"""
EARLY = [("strong", 1.0)] * 120 + [("weak", 1.0), ("weak", 0.0)] * 60


def record(service, name, rows):
    body = {"trajectories": [{"text": "aab", "route": route, "quality": quality} for route, quality in rows]}
    assert service.post("/v1/trajectories/batch", body, params=name).status_code == 202
    service.app.state.service.spaces.opened[name["space"]].engine.flush()


def topic(service, name, **query):
    found = service.get("/v1/dashboard/patterns", params=name | query).json()
    (pattern,) = found["patterns"]
    return pattern, found["not_offered"]


def in_sql(service_url, name, query=IN_SQL):
    with psycopg.connect(service_url) as connection:
        return connection.execute(query, [name["space"]]).fetchall()


@pytest.fixture
def name(service, space):
    found = {"space": space()}
    record(service, found, EARLY)
    service.post("/v1/learn", params=found)
    return found


def test_a_model_that_was_taken_out_is_not_the_best_any_more(service, service_url, name):
    pattern, gone = topic(service, name)
    assert (pattern["best_route"], pattern["former_best"], gone) == ("strong", None, [])
    record(service, name, [("weak", 1.0), ("weak", 0.0)] * 150)
    service.post("/v1/learn", params=name)
    pattern, gone = topic(service, name)
    assert (pattern["best_route"], pattern["former_best"], gone) == ("weak", "strong", ["strong"])
    assert (pattern["alike"], pattern["routes"]["strong"]["size"]) == ([], 120)
    assert in_sql(service_url, name) == [("weak", "strong")]
    assert in_sql(service_url, name, BEST) == [("strong", False), ("weak", True)]
    assert topic(service, name, version=1)[0]["best_route"] == "strong"
    asked = {"text": "aab", "versions": [1]}
    found = service.post("/v1/dashboard/answers", asked, params=name).json()
    assert found["not_offered"] == ["strong"]
    assert found["now"]["patterns"][0]["best_route"] == "weak"
    assert found["then"][0]["patterns"][0]["best_route"] == "strong"
    assert [one["id"] for one in found["now"]["routes"]] == ["weak"]
    rows = service.get("/v1/dashboard/routes", params=name).json()["routes"]
    assert {one["route"]: one["is_offered"] for one in rows} == {"strong": False, "weak": True}


def test_a_model_that_a_decision_could_have_taken_is_offered(service, service_url, name):
    asked = {"text": "aab", "candidates": ["strong", "weak"]}
    for _ in range(3):
        decision = service.post("/v1/route", asked, params=name).json()
        service.post("/v1/trajectories", {"text": "aab", "decision": decision, "quality": 1.0}, params=name)
    record(service, name, [("weak", 1.0), ("weak", 0.0)] * 90)  # too few to tell
    assert in_sql(service_url, name) == [("strong", None)]


def test_a_retired_answer_is_no_longer_offered_until_it_is_restored(service, service_url, name):
    service.post("/v1/candidates", {"ids": ["strong", "weak"], "texts": ["aab", "aab"]}, params=name)
    for path, best in (("retire", "weak"), ("restore", "strong")):
        assert service.post(f"/v1/candidates/{path}", {"ids": ["strong"]}, params=name).status_code == 200
        assert topic(service, name)[0]["best_route"] == best
        assert in_sql(service_url, name)[0][0] == best


def test_a_stored_answer_is_offered_however_rarely_it_is_given(service, service_url, name):
    service.post("/v1/candidates", {"ids": ["strong"], "texts": ["aab"]}, params=name)
    record(service, name, [("weak", 1.0), ("weak", 0.0)] * 150)
    assert in_sql(service_url, name) == [("strong", None)]
