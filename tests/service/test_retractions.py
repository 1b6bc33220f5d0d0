"""The answer to a retraction says what it takes back."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from sona_pg.engine.overview import Overview
from sona_pg.errors import DatabaseUnavailable

KEYS = {"thumbs": ["record"], "desk": ["read", "record"], "chief": ["record", "admin"]}


@pytest.fixture
def say(service, space):
    """Say something of one trajectory of a space, and return the answer."""
    name, trajectory = {"space": space()}, str(uuid4())

    def send(**fact):
        answer = service.post("/v1/feedback", {"trajectory": trajectory, **fact}, params=name)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return send


def test_a_retraction_tells_what_was_said(say):
    assert "retracted" not in say(quality=0.25)
    assert say(retract=True)["retracted"] == {
        "source": "http", "found": True, "quality": 0.25, "correction": None, "cost": None, "others": [],
    }  # fmt: skip


def test_a_retraction_of_nothing_says_so(say):
    assert say(retract=True)["retracted"] == {"source": "http", "found": False, "others": []}
    say(correction="parcels")
    assert say(retract=True)["retracted"]["correction"] == "parcels"
    assert say(retract=True)["retracted"]["found"] is False


def test_a_cost_has_a_source_of_its_own_and_goes_on_counting(say):
    say(quality=1, cost=0.5)
    say(cost=0.75)
    told = say(retract=True)["retracted"]
    assert (told["quality"], told["cost"], told["others"]) == (1.0, 0.5, ["cost"])


def test_a_retraction_is_recorded_while_the_database_is_away(say, monkeypatch):
    def refuse(*_):
        raise DatabaseUnavailable("away")

    say(quality=1)
    with monkeypatch.context() as patched:
        patched.setattr(Overview, "said", refuse)
        answer = say(retract=True)
    assert (answer["retracted"], answer["sequence"] > 0) == (None, True)
    assert say(retract=True)["retracted"]["found"] is False


def test_a_retraction_comes_after_feedback_numbered_in_nanoseconds(say):
    far = time.time_ns()  # a thousand times the store's microseconds
    say(quality=1, sequence=far)
    answer = say(retract=True)
    assert (answer["sequence"], answer["retracted"]["found"]) == (far + 1, True)
    assert say(retract=True)["retracted"] == {"source": "http", "found": False, "others": []}


def test_a_retraction_below_a_later_word_tells_that_it_stands(say):
    say(quality=1, sequence=7)
    assert say(retract=True, sequence=6)["retracted"] == {
        "source": "http", "found": False, "quality": 1.0, "correction": None, "cost": None, "later": 7, "others": [],
    }  # fmt: skip
    assert say(retract=True, sequence=7)["retracted"]["later"] == 7  # stored already under that number
    assert say(retract=True, sequence=8)["retracted"]["found"] is True


def test_the_word_of_another_source_is_taken_back_by_a_key_that_may(service, service_store, space):
    name = space()
    trajectory = service.post("/v1/trajectories", {"text": "aab"}, params={"space": name}).json()["id"]
    tokens = {key: service_store.create_key(name, key, scopes)[1] for key, scopes in KEYS.items()}
    heads = {key: {"Authorization": f"Bearer {token}"} for key, token in tokens.items()}
    service.post("/v1/feedback", {"trajectory": trajectory, "quality": 0}, headers=heads["thumbs"])
    body = {"trajectory": trajectory, "retract": True, "source": "thumbs"}
    refused = service.post("/v1/feedback", body, headers=heads["desk"])
    assert (refused.status_code, "admin" in refused.json()["detail"]) == (403, True)
    assert service.post("/v1/feedback/batch", {"feedback": [body]}, headers=heads["desk"]).status_code == 403
    taken = service.post("/v1/feedback", body, headers=heads["chief"]).json()["retracted"]
    assert (taken["source"], taken["found"], taken["quality"]) == ("thumbs", True, 0.0)
    assert service.post("/v1/feedback", body, headers=heads["thumbs"]).json()["retracted"]["found"] is False


def test_only_a_retraction_names_a_source(service, space):
    body = {"trajectory": str(uuid4()), "quality": 1, "source": "user"}
    refused = service.post("/v1/feedback", body, params={"space": space()})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/source")


def test_feedback_tells_whether_it_still_counts(service, space, rows):
    name = space()
    asked = {"space": name}
    trajectory = service.post("/v1/trajectories", {"text": "aab"}, params=asked).json()["id"]
    for fact in ({"quality": 0}, {"quality": 1}, {"retract": True}, {"correction": "parcels"}):
        service.post("/v1/feedback", {"trajectory": trajectory, **fact}, params=asked)
        rows(name)  # committed
    facts = service.get("/v1/dashboard/feedback", params=asked).json()["facts"]
    assert [(fact["quality"], fact["correction"], fact["stands"]) for fact in facts] == [
        (None, "parcels", True), (None, None, False), (1.0, None, False), (0.0, None, False),
    ]  # fmt: skip
    (request,) = service.get("/v1/dashboard/requests", params=asked | {"find": trajectory}).json()["requests"]
    assert [fact["stands"] for fact in request["feedback"]] == [False, False, False, True]
