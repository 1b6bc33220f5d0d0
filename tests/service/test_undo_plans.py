"""What going back to a version would undo is told before it is done; differences name their topics."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app


@pytest.fixture
def name(service, space):
    """A space of two versions: the second one has learned of refunds, and that parcels go badly."""
    found = {"space": space()}
    for rows in ([("aaaa", 1.0)] * 10, [("aaaa", 0.0)] * 20 + [("bbbb", 1.0)] * 12):
        body = {"trajectories": [{"text": text, "quality": quality} for text, quality in rows]}
        service.post("/v1/trajectories/batch", body, params=found)
        service.post("/v1/learn", params=found)
    return found


def plan(service, name, version):
    answer = service.get("/v1/versions/rollback/plan", params=name | {"version": version})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_plan_of_a_rollback_says_what_it_would_undo_and_changes_nothing(service, name):
    found = plan(service, name, 1)
    assert (found["version"], found["live"], found["undone"], found["redone"]) == (1, 2, 1, 0)
    assert (found["trajectories"], found["feedback"]) == (32, 0)
    changed, gone = found["topics"]
    assert (changed["title"], changed["size_now"], changed["size_then"]) == ("aaaa", 30, 10)
    assert changed["quality_now"] < 0.5 < changed["quality_then"]
    assert (gone["title"], gone["size_now"], gone["size_then"], gone["quality_then"]) == ("bbbb", 12, None, None)
    assert plan(service, name, 1) == found
    done = service.post("/v1/versions/rollback", {"version": 1}, params=name).json()
    back = plan(service, name, 2)
    assert (back["live"], back["undone"], back["redone"]) == (done["version"], 0, 1)
    assert plan(service, name, 0)["undone"] == 1


def test_a_version_that_is_not_kept_has_no_plan(service, name):
    assert service.get("/v1/versions/rollback/plan", params=name | {"version": 9}).status_code == 404


def test_differences_name_their_topics(service, service_url, name):
    patterns = service.get("/v1/dashboard/patterns", params=name).json()["patterns"]
    id_ = next(one["id"] for one in patterns if one["typical_queries"][0] == "aaaa")
    service.post("/v1/topics", {"pattern": id_, "name": "Late delivery"}, params=name)
    done = CliRunner().invoke(app, ["diff", "1", "2", "--space", name["space"], "--url", service_url])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["name"]: row["topic"] for row in rows if row["part"] == "pattern"}[id_] == "Late delivery"
    assert {row["topic"] for row in rows if row["part"] == "pattern"} == {"Late delivery", "bbbb"}
    assert {row["topic"] for row in rows if row["part"] == "array"} == {None}
