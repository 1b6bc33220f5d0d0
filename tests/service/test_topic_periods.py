"""Topics in a period: the ratings of its days by the nearest topic, and the change against the days before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest


def record(service, name, days_ago, text, good, rated):
    at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    rows = [
        {"id": f"{days_ago} {text} {place}", "started_at": at, "text": text, "quality": float(place < good)}
        for place in range(rated)
    ]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)


def test_a_topic_has_the_figures_of_the_period_and_the_change(service, space):
    name = {"space": space()}
    for days_ago, parcels, refunds in ((3, 10, 30), (10, 36, 28), (60, 0, 0)):
        record(service, name, days_ago, "aaaa", parcels, 40)
        record(service, name, days_ago, "bbbb", refunds, 40)
    service.post("/v1/learn", params=name)
    patterns = service.get("/v1/dashboard/patterns", params=name).json()["patterns"]
    topic = {pattern["typical_queries"][0]: pattern["id"] for pattern in patterns}
    found = service.get("/v1/dashboard/topics", params=name | {"days": 7}).json()
    assert [one["pattern"] for one in found["topics"]] == [topic["aaaa"], topic["bbbb"]]
    worse, alike = found["topics"]
    assert (worse["rated"], worse["bad"], worse["quality"]) == (40, 30, pytest.approx(0.25))
    assert (worse["before_rated"], worse["before_quality"]) == (40, pytest.approx(0.9))
    assert worse["change"]["high"] < 0
    assert (worse["change"]["is_clear"], alike["change"]["is_clear"]) == (True, False)
    assert worse["change"]["difference"] == pytest.approx(-0.65)
    assert alike["change"]["low"] < 0 < alike["change"]["high"]
    assert not found["sampled"]
    whole = service.get("/v1/dashboard/topics", params=name | {"days": 3650}).json()["topics"]
    assert {one["pattern"]: (one["rated"], one["change"]) for one in whole} == {
        topic["aaaa"]: (120, None), topic["bbbb"]: (120, None)
    }  # fmt: skip


def test_a_space_without_ratings_has_no_topics_in_a_period(service, space):
    found = service.get("/v1/dashboard/topics", params={"space": space()})
    assert (found.status_code, found.json()["topics"]) == (200, [])


def test_a_route_that_broke_on_one_kind_of_question_is_told_in_a_sentence(service, space):
    name = {"space": space()}
    for days_ago, transfers in ((3, 4), (40, 24)):
        at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
        rows = [
            {"id": f"{days_ago} {text} {route} {place}", "started_at": at, "text": text, "route": route,
             "quality": float(place < good)}
            for text, route, good in (("aaaa", "nova", transfers), ("bbbb", "nova", 20), ("aaaa", "swift", 15))
            for place in range(30)
        ]  # fmt: skip
        service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    found = service.get("/v1/dashboard/topics", params=name).json()
    (change,) = found["route_changes"]
    assert change["sentence"].startswith(
        "Answers of “nova” to questions like “aaaa” were rated lower in this period than in the 30 days before it: "
    )
    assert (change["quality"], change["before_quality"]) == (pytest.approx(4 / 30), pytest.approx(0.8))
    assert (change["elsewhere_quality"], change["elsewhere_before_rated"]) == (pytest.approx(20 / 30), 30)
    topic = next(one for one in found["topics"] if one["pattern"] in change["patterns"])
    assert {one["route"]: (one["rated"], one["before_rated"]) for one in topic["routes"]} == {
        "nova": (30, 30), "swift": (30, 30)
    }  # fmt: skip
