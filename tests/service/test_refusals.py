"""Requests that are refused, or taken once, and how that is said."""

from __future__ import annotations

import gzip
import json

from sona_pg.errors import DatabaseUnavailable
from tests.service.conftest import DIM

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


def test_a_name_with_nul_is_refused(service):
    refused = service.post("/v1/spaces", {"name": "a\0b", "dim": DIM})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/name")


def test_no_problem_shows_where_the_database_is(service, monkeypatch):
    def away():
        raise DatabaseUnavailable("learning at 'host=db.internal port=5432' failed")

    monkeypatch.setattr(service.engine, "flush", away)
    monkeypatch.setattr(service.app.state.service.store, "spaces", away)
    told = service.get("/v1/spaces")
    assert (told.status_code, told.json()["detail"][:33]) == (503, "the database does not answer now:")
    assert "db.internal" not in told.text
