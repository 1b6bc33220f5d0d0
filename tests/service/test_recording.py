"""What is recorded over HTTP is stored as the engine stores it, whole, in batches, or begun and ended apart."""

from __future__ import annotations

import base64
import gzip
import json
from uuid import UUID

import numpy as np
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sona_pg import IngestConfig
from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG, DIM, serving

X = [1.0] * DIM
B64 = base64.b64encode(np.ones(DIM, "<f4").tobytes()).decode()


def stored(service, url, ids):
    service.engine.flush()
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT id, quality, route, query, context, parameters, latency_us, step_count FROM sona.trajectories "
            "WHERE id = ANY (%s) ORDER BY id",
            [[UUID(str(id_)) for id_ in ids]],
        ).fetchall()
    return {str(row[0]): row[1:] for row in rows}


def test_a_whole_trajectory(service, service_url):
    body = {
        "vector": X, "query": "where?", "route": "big", "quality": 0.5, "context": ["user:1"], "latency": 0.25,
        "parameters": {"top_k": 3}, "steps": [{"activations": B64, "reward": 0.5}, {"reward": -1.0}],
    }  # fmt: skip
    answer = service.post("/v1/trajectories", body)
    assert answer.status_code == 202
    id_ = answer.json()["id"]
    assert stored(service, service_url, [id_]) == {id_: (0.5, "big", "where?", ["user:1"], {"top_k": 3}, 250_000, 2)}


def test_a_text_is_embedded_and_stored_and_a_latency_that_nobody_told_is_unknown(service, service_url):
    id_ = service.post("/v1/trajectories", {"text": "where is it?"}).json()["id"]
    assert stored(service, service_url, [id_]) == {id_: (None, None, "where is it?", None, None, None, 0)}
    refused = service.post("/v1/trajectories", {"text": "?!"})
    assert refused.status_code == 422
    assert "its embedding is all 0" in refused.json()["detail"]


def test_a_log_comes_under_its_own_time_once(service, service_url):
    body = {"vector": B64, "id": "line 7", "started_at": "2026-10-01T12:00:00Z"}
    first, again = (service.post("/v1/trajectories", body).json()["id"] for _ in range(2))
    assert first == again
    assert len(stored(service, service_url, [first])) == 1


@pytest.mark.parametrize("path", ["batch", "columns"])
def test_a_batch(service, service_url, path):
    rows = [{"vector": B64, "quality": place / 10, "route": f"r{place}"} for place in range(5)]
    body = {"trajectories": rows}
    if path == "columns":
        body = {
            "vectors": [row["vector"] for row in rows],
            "qualities": [row["quality"] for row in rows],
            "routes": [row["route"] for row in rows],
        }
    answer = service.post(f"/v1/trajectories/{path}", body)
    ids = answer.json()["ids"]
    found = stored(service, service_url, ids)
    assert [found[id_][1] for id_ in ids] == ["r0", "r1", "r2", "r3", "r4"]
    assert found[ids[4]][0] == np.float32(0.4)


def test_a_batch_larger_than_the_buffer_waits_for_room(database_url):
    config = CONFIG.replace(ingest=IngestConfig(capacity=60, buffer_bytes=1 << 16, flush_interval=5.0))
    with serving(database_url, ServiceOptions(dim=DIM, config=config)) as service:
        answer = service.post("/v1/trajectories/columns", {"vectors": [B64] * 500})
        ids = answer.json()["ids"]
        assert len(stored(service, database_url, ids)) == len(set(ids)) == 500


def test_it_is_mounted_in_another_application(service):
    outer = Starlette(routes=[Mount("/sona", service.app)])
    inner, service.app = service.app, outer
    try:
        assert service.get("/sona/live", client=("203.0.113.7", 1)).status_code == 200
        assert service.get("/sona/v1/stats", client=("203.0.113.7", 1)).status_code == 401
        assert service.post("/sona/v1/adapt", {"vector": X}).status_code == 200
    finally:
        service.app = inner


def test_begun_on_one_server_and_ended_on_another(service, service_store, service_url):
    id_ = service.post("/v1/trajectories/begin", {"vector": X, "query": "where?"}).json()["id"]
    with serving(service_url) as other:  # its engine is of the same runtime, and knows no handle either
        assert other.post(f"/v1/trajectories/{id_}/steps", {"activations": X, "reward": 1}).status_code == 201
        ended = other.post(f"/v1/trajectories/{id_}/end", {"quality": 1, "route": "big", "latency": 2})
        assert ended.status_code == 202
        gone = other.post(f"/v1/trajectories/{id_}/end", {"quality": 1})
        assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
        other.engine.flush()
    assert stored(service, service_url, [id_]) == {id_: (1, "big", "where?", None, None, 2_000_000, 1)}


def test_a_decision_and_a_ranking_come_back_with_the_trajectory(service, service_url):
    decision = service.post("/v1/route", {"vector": X, "candidates": ["a", "b"], "costs": {"a": 1, "b": 2}}).json()
    ranking = service.post("/v1/rank", {"vector": X, "candidates": {"ids": ["x", "y"], "texts": ["abc", "xyz"]}}).json()
    ids = [
        service.post("/v1/trajectories", {"vector": X, **told}).json()["id"]
        for told in ({"decision": decision}, {"ranking": ranking, "route": ranking["ids"][0]})
    ]
    service.engine.flush()
    with psycopg.connect(service_url) as connection:
        told = "SELECT route, propensity, cost, candidate_set FROM sona.trajectories WHERE id = %s"
        first, second = (connection.execute(told, [id_]).fetchone() for id_ in ids)
    assert first == (decision["route"], decision["propensity"], decision["cost"], int(decision["candidate_set"]))
    assert (second[0], second[3]) == (ranking["ids"][0], int(ranking["candidate_set"]))


def test_the_number_of_a_set_survives_a_client_whose_numbers_are_float64(service, service_url):
    decision = service.post("/v1/route", {"vector": X, "candidates": ["a", "b"]}).json()
    told = decision["candidate_set"]
    assert isinstance(told, str)
    through_floats = json.loads(json.dumps(decision), parse_int=float)  # as JavaScript reads JSON
    ids = [
        service.post("/v1/trajectories", {"vector": X, "decision": {**decision, "candidate_set": value}}).json()["id"]
        for value in (through_floats["candidate_set"], int(told))  # an exact number is taken as well
    ]
    service.engine.flush()
    with psycopg.connect(service_url) as connection:
        stored = "SELECT candidates FROM sona.decisions WHERE trajectory_id = ANY (%s)"
        rows = connection.execute(stored, [[UUID(id_) for id_ in ids]]).fetchall()
    assert rows == [(["a", "b"],)] * 2


@pytest.mark.parametrize("value", ["6322404876480617000", "6322404876480617472", "-6322404876480617000"])
def test_a_number_of_a_set_that_was_rounded_is_refused_by_name(service, value):
    decision = service.post("/v1/route", {"vector": X, "candidates": ["a", "b"]}).json()
    body = {"vector": X, "decision": {**decision, "candidate_set": int(value)}}
    refused = service.post("/v1/trajectories", body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/decision/candidate_set")
    assert "was rounded" in refused.json()["detail"]


@pytest.mark.parametrize("value", ["", "-", "1.5", "x", "²", "9" * 20, "1_0", str(1 << 63), True])
def test_a_text_that_is_no_number_of_a_set_is_refused(service, value):
    decision = service.post("/v1/route", {"vector": X, "candidates": ["a", "b"]}).json()
    refused = service.post("/v1/trajectories", {"vector": X, "decision": {**decision, "candidate_set": value}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/decision/candidate_set")


def test_feedback_single_and_many(service, service_url):
    ids = service.post("/v1/trajectories/columns", {"vectors": [X, X]}).json()["ids"]
    first = service.post("/v1/feedback", {"trajectory": ids[0], "quality": 1})
    assert first.status_code == 202
    assert first.json()["sequence"] > 0
    many = service.post(
        "/v1/feedback/batch",
        {"feedback": [{"trajectory": id_, "quality": 0.25, "sequence": 7} for id_ in ids]},
    )
    assert many.json() == {"sequences": [7, 7]}
    assert service.post("/v1/feedback", {"trajectory": ids[0], "cost": 2}).status_code == 202
    nothing = service.post("/v1/feedback", {"trajectory": ids[0]})
    assert (nothing.status_code, "says nothing" in nothing.json()["detail"]) == (422, True)
    service.engine.flush()
    with psycopg.connect(service_url) as connection:
        told = "SELECT source, count(*) FROM sona.feedback WHERE trajectory_id = ANY (%s) GROUP BY source"
        rows = connection.execute(told, [[UUID(id_) for id_ in ids]]).fetchall()
    assert sorted(rows) == [("cost", 1), ("http", 3)]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("trajectories", {"vector": X[:3]}, "/vector"),
        ("trajectories", {"vector": "AAAA!"}, "/vector"),
        ("trajectories", {"vector": [0.0] * DIM}, "/vector"),
        ("trajectories", {"vector": [1e6] * DIM}, "/vector"),
        ("trajectories", {"vector": X, "quality": 2}, "/quality"),
        ("trajectories", {"vector": X, "steps": [{"reward": "x"}]}, "/steps/0/reward"),
        ("trajectories", {"vector": X, "id": "line 7"}, "/id"),
        ("trajectories", {"vector": X, "unknown": 1}, "/unknown"),
        ("trajectories", {"vector": X, "cost": -1}, "/cost"),
        ("trajectories", {"vector": X, "started_at": "9999-12-31T00:00:00Z"}, "/started_at"),
        ("trajectories", {}, "/text"),
        ("trajectories/batch", {"trajectories": [{"vector": X}, {"vector": X[:2]}]}, "/trajectories/1/vector"),
        ("trajectories/columns", {"vectors": [X, X], "routes": ["a"]}, "/routes"),
        ("trajectories/columns", {"vectors": [X, [0.0] * DIM]}, "/vectors/1"),
        ("adapt", {"vector": X, "layer": 77}, "/layer"),
        ("rank", {"vector": X, "candidates": {"ids": ["a"], "vectors": [X[:2]]}}, "/candidates/vectors/0"),
        ("route", {"vector": X, "candidates": ["a"], "budget": 0.5}, None),
        ("patterns", {"vector": X, "kind": "odd"}, "/kind"),
        ("search", {"vector": X, "since": "2026-10-01T12:00:00"}, "/since"),
    ],
)
def test_bad_data_is_refused_with_the_field(service, path, body, pointer):
    answer = service.post(f"/v1/{path}", body)
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert told["status"] == 422
    assert told["detail"]
    if pointer is not None:
        assert told["errors"][0]["pointer"] == pointer, told


def test_gzip_both_ways(service):
    body = gzip.compress(json.dumps({"vectors": [[1.0] * DIM] * 400}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = service.post("/v1/adapt", content=body, headers=headers)
    assert len(answer.json()["vectors"]) == 400
    assert answer.headers["content-encoding"] == "gzip"
    short = service.post("/v1/adapt", content=body[:-9], headers=headers)
    assert (short.status_code, "cut short" in short.json()["detail"]) == (400, True)
    assert service.post("/v1/adapt", content=b"no gzip", headers=headers).status_code == 400


def test_limits_of_a_request(service_store):
    with serving(service_store, ServiceOptions(dim=DIM, config=CONFIG, most_body=2048, most_batch=3)) as service:
        assert service.post("/v1/trajectories/columns", {"vectors": [X] * 4}).status_code == 413
        assert service.post("/v1/adapt", {"vector": X, "text": "x" * 3000}).status_code == 413
        bomb = gzip.compress(b" " * 100_000)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert service.post("/v1/adapt", content=bomb, headers=headers).status_code == 413
        assert service.post("/v1/adapt", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_request_with_an_idempotency_key_is_done_once(service, service_url):
    key = {"Idempotency-Key": "order 1"}
    body = {"vector": X, "route": "once"}
    first, again = (service.post("/v1/trajectories", body, headers=key) for _ in range(2))
    assert first.json() == again.json()
    assert first.status_code == again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    other = service.post("/v1/trajectories", body | {"route": "twice"}, headers=key)
    assert (other.status_code, "another request" in other.json()["detail"]) == (422, True)
    assert service.post("/v1/trajectories", body, headers={"Idempotency-Key": b"\xe9"}).status_code == 422
    bad = service.post("/v1/trajectories", {"vector": X[:1]}, headers={"Idempotency-Key": "order 2"})
    assert bad.status_code == 422
    assert service.post("/v1/trajectories", body, headers={"Idempotency-Key": "order 2"}).status_code == 202
