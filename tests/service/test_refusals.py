"""Requests that are refused, or taken once, and how that is said."""

from __future__ import annotations

import gzip
import importlib
import json
import re
import sys

import pytest
from sqlalchemy import text

from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.connect import connect
from sona_pg.store.transactions import transaction
from tests.service.conftest import DIM

ID = "01987654-3210-7000-8000-000000000000"
X = [1.0] + [0.0] * (DIM - 1)


def bearer(store, name):
    return {"Authorization": f"Bearer {store.create_key(name, 'holder', ['record', 'read'])[1]}"}


def test_an_idempotency_key_is_its_callers_own(service, service_store, space, service_url):
    name = space()
    trajectory = service.post("/v1/trajectories", {"vector": X}, headers=bearer(service_store, name)).json()["id"]
    fact = {"trajectory": trajectory, "quality": 0}
    again = {"Idempotency-Key": "thumb"}
    callers = [bearer(service_store, name) for _ in range(2)]
    answers = [service.post("/v1/feedback", fact, headers=caller | again) for caller in (*callers, callers[0])]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, None, "true"]


def test_bodies_of_several_gzip_members_are_read(service, space):
    body = json.dumps({"vector": X}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    one = gzip.compress(body)
    for content, status, told in (
        (gzip.compress(body[:5]) + gzip.compress(body[5:]) + gzip.compress(b""), 200, ""),
        (one + b"garbage", 400, "no gzip"),
        (one + one[:1], 400, "cut short"),
        (one + gzip.compress(b"") * 1000, 400, "members"),
    ):
        answer = service.post("/v1/adapt", content=content, headers=headers)
        assert (answer.status_code, told in answer.text) == (status, True)


def test_a_refusal_speaks_of_json_and_not_of_the_program_that_reads_it(service):
    for body in (
        {"vector": [1e9] * DIM},
        {"vector": X, "decision": {"route": "a", "propensity": 1, "version": 0, "candidate_set": "x"}},
    ):
        refused = service.post("/v1/trajectories", body)
        assert refused.status_code == 422
        assert "Value error" not in refused.text
        assert "expected" in refused.json()["detail"]


def test_a_name_with_nul_is_refused(service):
    refused = service.post("/v1/spaces", {"name": "a\0b", "dim": DIM})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/name")


def test_a_budget_is_removed_by_null_and_not_by_saying_nothing(service, space):
    asked = {"params": {"space": space()}}
    assert service.post("/v1/budget", {"amount": 2.0}, **asked).json()["amount"] == 2.0
    refused = service.post("/v1/budget", {}, **asked)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/amount")
    assert "null to remove the budget" in refused.json()["detail"]
    assert service.get("/v1/budget", **asked).json()["amount"] == 2.0
    assert service.post("/v1/budget", {"amount": None}, **asked).json()["amount"] is None


def test_a_budget_below_the_cheapest_route_is_refused_to_a_request_and_takes_the_cheapest_for_a_space(service, space):
    asked = {"params": {"space": space()}}
    body = {"vector": X, "candidates": ["small", "large"], "costs": {"small": 0.1, "large": 1}}
    refused = service.post("/v1/route", body | {"budget": 0.002}, **asked)
    assert (refused.status_code, "the cheapest route 'small' costs 0.1" in refused.json()["detail"]) == (422, True)
    assert refused.json()["errors"][0]["pointer"] == "/budget"
    service.post("/v1/budget", {"amount": 0.002}, **asked)
    taken = service.post("/v1/route", body, **asked).json()
    cheapest = taken["propensity"] if taken["route"] == "small" else 1 - taken["propensity"]
    assert cheapest > 0.99
    description = service.get("/openapi.json").json()["paths"]["/v1/budget"]["post"]["description"]
    assert "cheapest" in description


CALL = re.compile(r"\b[a-z_]+=|\w\(|=True|`engine\.|\bt\.id\b")  # a call or an argument of Python


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("feedback", {"trajectory": ID}, ""),
        ("feedback", {"trajectory": ID, "quality": 1, "retract": True}, "/retract"),
        ("feedback/batch", {"feedback": [{"trajectory": ID, "cost": 1}, {"trajectory": ID}]}, "/feedback/1"),
        ("trajectories", {"vector": X, "id": "line 7"}, "/id"),
        ("trajectories", {"vector": X, "id": "3f0e5a86-3f2c-4c57-9d0b-0d8f1e6b1a11"}, "/id"),
        ("route", {"vector": X, "candidates": ["a"], "budget": 0.5}, "/costs"),
        ("route", {"vector": X, "candidates": ["a"], "costs": {"a": 2}, "budget": 0.5}, "/budget"),
        ("patterns", {"vector": X, "context_vectors": [X]}, None),
        ("search", {"vector": X, "since": "2026-10-01T12:00:00"}, "/since"),
        ("rank", {"vector": X, "candidates": {"ids": ["nobody"]}}, "/candidates/ids"),
        ("recall", {"vector": X, "ids": ["nobody"]}, "/ids"),
        ("spaces", {"name": "default", "dim": DIM + 1}, None),
        ("trajectories/00000000-0000-7000-8000-000000000000/end", {"quality": 1}, None),
    ],
)
def test_a_refusal_speaks_of_fields_and_not_of_python(service, path, body, pointer):
    refused = service.post(f"/v1/{path}", body)
    told = refused.json()
    assert refused.status_code in (404, 409, 422), told
    assert not CALL.search(told["detail"]), told["detail"]
    if pointer is not None:
        assert told["errors"] == [{"pointer": pointer, "detail": told["detail"]}]


@pytest.mark.parametrize("body", [b'{"vector": [1', b"", b"\xff", b"{'vector': 1}"])
def test_a_body_that_is_no_json_is_a_bad_request(service, body):
    answer = service.post("/v1/adapt", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (400, "the body cannot be read")


def test_no_problem_shows_where_the_database_is(service, monkeypatch):
    def away():
        raise DatabaseUnavailable("learning at 'host=db.internal port=5432' failed")

    monkeypatch.setattr(service.engine, "flush", away)
    monkeypatch.setattr(service.app.state.service.store, "spaces", away)
    told = service.get("/v1/spaces")
    assert (told.status_code, told.json()["detail"][:33]) == (503, "the database does not answer now:")
    assert "db.internal" not in told.text


@pytest.mark.parametrize(
    ("statement", "status", "told"),
    [
        ("SELECT * FROM pg_authid", 403, "lacks a privilege (permission denied for table pg_authid)"),
        ("SELECT nothing", 500, "the database refuses this, now and later"),
        ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; END $$", 503, "the database does not answer now"),
    ],
)
def test_a_lasting_refusal_of_postgres_is_not_called_temporary(
    service, service_url, monkeypatch, statement, status, told
):
    def refused():
        engine = connect(service_url, pool_size=1, overflow=0)
        try:
            with transaction(engine, "reading") as connection:
                connection.execute(text("SET LOCAL ROLE pg_monitor"))
                connection.execute(text(statement))
        finally:
            engine.dispose()

    monkeypatch.setattr(service.app.state.service.store, "spaces", refused)
    answer = service.get("/v1/spaces")
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True)
    assert ("retry-after" in answer.headers) is (status == 503)
    assert "host" not in answer.text


def test_a_trajectory_begun_again_is_the_same_or_refused(service, space):
    asked = {"params": {"space": space()}}
    own = {"vector": X, "id": "order 7", "started_at": "2026-11-21T00:00:00Z", "query": "where?"}
    first, again, other = (
        service.post("/v1/trajectories/begin", own | more, **asked) for more in ({}, {}, {"query": "why?"})
    )
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert first.json() == again.json()


def test_a_time_that_no_id_can_hold_is_refused_by_name(service):
    for at in ("9999-12-31T23:59:59Z", "9000-01-01T00:00:00Z"):
        for path in ("/v1/trajectories", "/v1/trajectories/begin"):
            refused = service.post(path, {"vector": X, "id": "order 8", "started_at": at})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/started_at")
    far = service.post("/v1/trajectories", {"vector": X, "id": "ffffffff-ffff-7fff-bfff-ffffffffffff"})
    assert (far.status_code, far.json()["errors"][0]["pointer"]) == (422, "/id")


def test_without_its_extra_the_service_says_which_one(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sona_pg.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "orjson", None)
    with pytest.raises(ImportError, match=r"pip install 'sona-pg\[server\]'"):
        importlib.import_module("sona_pg.service")


@pytest.mark.parametrize("value", ["0.9", True])
def test_text_and_truth_values_are_no_numbers(service, space, value):
    name, trajectory = {"space": space()}, {"vector": X}
    for path, body, pointer in (
        ("/v1/trajectories", trajectory | {"quality": value}, "/quality"),
        ("/v1/trajectories", trajectory | {"cost": value}, "/cost"),
        ("/v1/trajectories", trajectory | {"latency": value}, "/latency"),
        ("/v1/trajectories", trajectory | {"steps": [{"reward": value}]}, "/steps/0/reward"),
        ("/v1/feedback", {"trajectory": ID, "quality": value}, "/quality"),
        ("/v1/feedback", {"trajectory": ID, "cost": value}, "/cost"),
    ):
        refused = service.post(path, body, params=name)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer), (path, body)
