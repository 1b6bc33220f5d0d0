"""Topics are named over HTTP, and the dashboard and the command line show the names."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.domain.ids import uuid7
from sona_pg.store import topic_cost_rows


@pytest.fixture
def learned(service):
    name = {"space": f"topics {uuid7()}"}
    service.post("/v1/spaces", {"name": name["space"], "dim": 8})
    rows = [{"text": f"where is order {place}", "quality": 1.0} for place in range(9)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    return name


def shown(service, learned):
    (pattern,) = service.get("/v1/dashboard/patterns", params=learned).json()["patterns"]
    return pattern


def test_a_topic_is_named_and_shown_by_its_name(service, learned):
    id_ = shown(service, learned)["id"]
    assert shown(service, learned)["name"] is None
    answer = service.post("/v1/topics", {"pattern": id_, "name": "Late delivery"}, params=learned)
    (topic,) = answer.json()["topics"]
    assert (topic["name"], topic["pattern"], topic["size"], topic["quality"]) == ("Late delivery", id_, 9, 1.0)
    assert shown(service, learned)["name"] == "Late delivery"
    asked = {"text": "where is order 3", "versions": [1]}
    found = service.post("/v1/dashboard/answers", asked, params=learned).json()
    assert found["now"]["patterns"][0]["name"] == found["then"][0]["patterns"][0]["name"] == "Late delivery"
    assert service.get("/v1/topics", params=learned).json() == answer.json()
    assert service.post("/v1/topics", {"pattern": id_, "name": None}, params=learned).json() == {"topics": []}


def test_what_cannot_be_named_is_refused(service, learned):
    id_ = shown(service, learned)["id"]
    for body, status in (
        ({"pattern": id_}, 422), ({"pattern": id_, "name": ""}, 422), ({"pattern": id_, "name": "x" * 101}, 422),
        ({"pattern": id_, "name": "two\nlines"}, 422), ({"pattern": str(uuid7()), "name": "Late"}, 404),
    ):  # fmt: skip
        assert service.post("/v1/topics", body, params=learned).status_code == status, body


def test_a_key_that_may_only_look_names_nothing(service_store, service, learned):
    _, token = service_store.create_key(learned["space"], "looks", ["read"])
    headers = {"Authorization": f"Bearer {token}"}
    assert service.get("/v1/topics", params=learned, headers=headers).json() == {"topics": []}
    body = {"pattern": shown(service, learned)["id"], "name": "Late delivery"}
    assert service.post("/v1/topics", body, params=learned, headers=headers).status_code == 403


def test_the_command_line_names_and_lists_topics(service_url, service, learned):
    def told(*words: str):
        done = CliRunner().invoke(app, ["--json", "topics", *words, "--space", learned["space"], "--url", service_url])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.output.splitlines()]

    (row,) = told("list")
    assert (row["name"], row["typical_query"], row["size"]) == (None, "where is order [number]", 9)
    assert told("name", row["pattern"], "Late delivery")[0]["name"] == "Late delivery"
    assert told("list")[0]["name"] == told("list", "--named")[0]["name"] == "Late delivery"
    assert told("unname", row["pattern"])[0]["name"] is None
    assert told("list", "--named") == []


def test_a_topic_tells_what_its_own_questions_have_cost(service, space):
    name = {"space": space()}
    assert service.get("/v1/dashboard/topic-costs", params=name).json() == {
        "topics": [], "latest": None, "cost_unit": None,
    }  # fmt: skip
    rows = [
        {"text": "aaaa" if place % 2 else "dddd", "route": "small", "quality": 1, "cost": 3 if place % 2 else 0.5}
        for place in range(20)
    ]
    rows += [{"text": "aaaa", "quality": 1}]  # whose cost nobody knows
    ids = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name).json()["ids"]
    service.post("/v1/feedback", {"trajectory": ids[1], "cost": 13}, params=name)  # the real cost, told later
    service.post("/v1/learn", params=name)
    patterns = service.get("/v1/dashboard/patterns", params=name).json()["patterns"]
    texts = {one["id"]: one["typical_queries"][0] for one in patterns}
    told = service.get("/v1/dashboard/topic-costs", params=name).json()
    assert [(texts[one["pattern"]], one["costed"], one["cost"]) for one in told["topics"]] == [
        ("aaaa", 10, 40.0), ("dddd", 10, 5.0),
    ]  # fmt: skip
    assert told["latest"] is None


def test_costs_of_topics_are_those_of_the_latest_requests_in_a_large_space(service, space, monkeypatch):
    monkeypatch.setattr(topic_cost_rows, "LATEST", 8)
    name = {"space": space()}
    rows = [{"text": "aaaa", "quality": 1, "cost": 1} for _ in range(20)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    told = service.get("/v1/dashboard/topic-costs", params=name).json()
    assert ([one["costed"] for one in told["topics"]], told["latest"]) == ([8], 8)
