"""The latest feedback: all of it, that of a time, of one source, and bad ratings and corrections alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SAID = [{"quality": 0}, {"correction": "parcels"}, {"correction": "fees"}, {"quality": 1}, {"quality": 0}]


@pytest.fixture
def told(service, space, rows, service_url):
    """Return the latest facts about five answers with "fees" of two days ago: two told yesterday, the others now."""
    name = {"space": space()}
    asked = [
        {"id": f"{name['space']} {place}", "text": "aab", "route": "fees", "started_at": (NOW - 2 * DAY).isoformat()}
        for place in range(5)
    ]
    made = service.post("/v1/trajectories/batch", {"trajectories": asked}, params=name).json()["ids"]
    for trajectory, fact in zip(made, SAID, strict=True):
        service.post("/v1/feedback", {"trajectory": trajectory, **fact}, params=name)
    rows(name["space"])  # committed
    with psycopg.connect(service_url) as connection:
        connection.execute(
            "UPDATE sona.feedback SET recorded_at = recorded_at - interval '1 day' WHERE trajectory_id = ANY(%s)",
            [made[3:]],
        )
        of_ann = "UPDATE sona.feedback SET source = 'ann' WHERE trajectory_id = ANY(%s)"
        connection.execute(of_ann, [[made[1], made[4]]])

    def latest(**query):
        facts = service.get("/v1/dashboard/feedback", params=name | query).json()["facts"]
        return [made.index(fact["trajectory"]) for fact in facts]

    return latest


def test_feedback_of_a_time_is_told_alone(told):
    assert told() == [2, 1, 0, 4, 3]
    since, until = {"since": (NOW - 1.5 * DAY).isoformat()}, {"until": (NOW - 0.5 * DAY).isoformat()}
    assert told(**since) == [2, 1, 0, 4, 3]
    assert told(**since, **until) == told(**until) == [4, 3]
    assert told(**since, **until, bad=True) == [4]
    assert told(**until, limit=1) == [4]
    assert told(since=until["until"]) == [2, 1, 0]


def test_feedback_about_requests_of_a_time_is_told_whenever_it_was_given(told):
    before, after = (NOW - 2.5 * DAY).isoformat(), (NOW - 1.5 * DAY).isoformat()
    assert told(asked_since=before, asked_until=after) == [2, 1, 0, 4, 3]
    assert told(asked_since=before, asked_until=after, bad=True) == [1, 0, 4]
    assert told(asked_since=after) == told(asked_until=before) == []


def test_taking_a_fact_back_is_no_further_piece_of_feedback(service, space, rows):
    name = {"space": space()}
    answered = service.post("/v1/trajectories", {"text": "aab", "route": "fees"}, params=name).json()["id"]

    def say(**fact):
        service.post("/v1/feedback", {"trajectory": answered, **fact}, params=name)
        rows(name["space"])  # committed
        return service.get("/v1/dashboard/figures", params=name).json()["feedback"]

    assert say(quality=1) == 1
    assert say(retract=True) == 1
    assert say(quality=0) == 2


def test_bad_ratings_and_corrections_that_name_another_answer_are_told_alone(told):
    assert told(bad=True) == [1, 0, 4]
    assert told(bad=True, limit=1) == [1]


def test_what_one_source_has_given_is_told_alone(told, service):
    own = service.get("/v1/spaces").json()["source"]
    assert (told(source="ann"), told(source=own)) == ([1, 4], [2, 0, 3])
    assert (told(source=own, bad=True), told(source="nobody")) == ([0], [])


def test_a_time_without_its_zone_is_refused(service, space):
    answer = service.get("/v1/dashboard/feedback", params={"space": space(), "since": "2026-11-22T00:00:00"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/since")


def test_what_counts_now_is_had_alone(service, space, rows):
    found = {"space": space()}
    told = [{"text": "aab", "route": "one"} for _ in range(4)]
    made = service.post("/v1/trajectories/batch", {"trajectories": told}, params=found).json()["ids"]
    for trajectory, words in zip(made, ([0, 1], [1], [1, None], [0.5]), strict=True):
        for word in words:
            fact = {"retract": True} if word is None else {"quality": word}
            service.post("/v1/feedback", {"trajectory": trajectory, **fact}, params=found)
    service.post("/v1/feedback", {"trajectory": made[3], "cost": 0.1}, params=found)  # no word about the answer
    rows(found["space"])  # committed
    facts = service.get("/v1/dashboard/feedback", params=found | {"standing": True}).json()["facts"]
    assert {(one["trajectory"], one["quality"]) for one in facts} == {(made[0], 1.0), (made[1], 1.0), (made[3], 0.5)}
