"""What is asked over HTTP is answered as the engine answers it; operators see how the service does."""

from __future__ import annotations

import base64
import json
import re
from uuid import UUID

import numpy as np
import psycopg
from fix_proxy import Proxy

from sona_pg.domain.ids import uuid7
from sona_pg.service import ServiceOptions
from sona_pg.service.operations import Operations
from tests.service.conftest import CONFIG, DIM, serving

X = [1.0] * DIM


def test_what_was_recorded_is_learned_and_asked(service, space):
    name = {"space": space()}
    rows = [{"text": f"where is parcel {place}", "route": "big", "quality": 0.9} for place in range(20)]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    learned = service.post("/v1/learn", params=name).json()
    assert (learned["trajectories"], learned["version"], learned["learned"]) == (20, 1, True)
    asked = {"text": "where is my parcel"}
    patterns = service.post("/v1/patterns", asked, params=name).json()
    assert patterns["patterns"][0]["routes"]["big"]["size"] >= 1
    assert service.post("/v1/route", asked | {"candidates": ["big"]}, params=name).json()["route"] == "big"
    found = service.post("/v1/search", asked | {"k": 3}, params=name).json()
    assert [one["route"] for one in found["found"]] == ["big"] * 3
    versions = service.get("/v1/versions", params=name).json()
    assert (versions["serving"], [one["version"] for one in versions["versions"]]) == (1, [1])
    diff = service.get("/v1/versions/diff", params={**name, "a": 0, "b": 1}).json()
    assert {one["part"] for one in diff["differences"]} >= {"pattern", "route"}
    assert service.get("/v1/versions/diff", params={**name, "a": 0, "b": 9}).status_code == 404
    assert service.post("/v1/versions/rollback", {"version": 0}, params=name).json() == {"version": 2}
    assert service.post("/v1/versions/promote", {"version": 2}, params=name).status_code == 409
    assert service.get("/v1/stats", params=name).json()["version"] == 2


def test_patterns_are_found_by_the_graph_and_dreamt_over_for_some_seconds(service, space):
    name = {"space": space()}
    rows = [
        {"text": text, "quality": 0.9, "route": "big", "context": [f"session:{number}"]}
        for number in range(10)
        for text in ("where is my parcel", "when will it come")
    ]
    service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name)
    service.post("/v1/learn", params=name)
    asked = {"text": "when will it come", "graph": True}
    alone = service.post("/v1/patterns", asked, params=name).json()["patterns"]
    after = service.post("/v1/patterns", asked | {"context": ["where is my parcel"]}, params=name).json()["patterns"]
    assert alone
    assert after
    refused = service.post("/v1/patterns", {"text": "x", "context": ["before"]}, params=name)
    assert refused.status_code == 422
    assert "ask with graph as well" in refused.text
    deep = service.post("/v1/learn/deep", {"seconds": 5}, params=name).json()
    assert (deep["learned"], deep["finished"], deep["version"]) == (True, True, 2)
    assert deep["nodes"] > 0
    assert service.post("/v1/learn/deep", {"seconds": 0}, params=name).status_code == 422


def test_a_user_is_forgotten_with_a_receipt(service, space, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))  # of the key
    name = {"space": space()}
    rows = [{"text": f"parcel {place}", "quality": 0.9, "context": [f"user:{place % 2}"]} for place in range(6)]
    ids = service.post("/v1/trajectories/batch", {"trajectories": rows}, params=name).json()["ids"]
    service.post("/v1/learn", params=name)
    plan = service.post("/v1/forget/plan", {"user": "1"}, params=name).json()
    assert (plan["trajectories"], plan["first_version"]) == (3, 1)
    receipt = service.post("/v1/forget", {"user": "1"}, params=name).json()
    assert (receipt["removed"]["trajectories"], receipt["version"], receipt["versions_dropped"]) == (3, 2, [1])
    assert service.post("/v1/forget/verify", {"receipt": receipt}, params=name).json() == {"genuine": True}
    assert service.post("/v1/forget", {"trajectories": ids[:1]}, params=name).json()["removed"]["trajectories"] == 1
    assert service.post("/v1/forget", {}, params=name).status_code == 422
    assert service.post("/v1/forget/verify", {"receipt": {}}, params=name).status_code == 422


def test_adapted_vectors_come_as_they_are_asked_for(service):
    one = service.post("/v1/adapt", {"vector": X}).json()
    coded = service.post("/v1/adapt", {"vectors": [X, X], "encoding": "base64"}).json()
    assert coded["version"] == one["version"]
    for row in coded["vectors"]:
        assert np.allclose(np.frombuffer(base64.b64decode(row), "<f4"), one["vector"])


def test_candidates_are_stored_and_ranked_by_id(service, space):
    name = {"space": space()}
    body = {"ids": ["a", "b"], "vectors": [X, [1.0] + [0.0] * (DIM - 1)]}
    assert service.post("/v1/candidates", body, params=name).json() == {"candidates": 2}
    ranked = service.post("/v1/rank", {"vector": X, "candidates": {"ids": ["b", "a"]}}, params=name).json()
    assert ranked["ids"] == ["a", "b"]
    unknown = service.post("/v1/rank", {"vector": X, "candidates": {"ids": ["c"]}}, params=name)
    assert unknown.status_code == 422
    assert "no version or server" in unknown.json()["detail"] or "'c'" in unknown.json()["detail"]


def test_spaces_are_made_listed_and_missed(service, space):
    name = space()
    listed = {one["name"]: one for one in service.get("/v1/spaces").json()["spaces"]}
    assert listed[name]["dim"] == DIM
    assert service.get("/v1/stats", params={"space": "nowhere"}).status_code == 404
    assert service.post("/v1/spaces", {"name": name, "dim": DIM + 1}).status_code == 409
    assert service.post("/v1/spaces", {"name": "big", "dim": 16_001}).status_code == 422


def test_the_paths_of_sonas_tutorial(service):
    asked = service.post("/api/query", {"query": "where is my parcel?", "context": ["user:1"]}).json()
    assert service.post("/api/feedback", {"trajectoryId": asked["trajectoryId"], "quality": 1}).json()["success"]
    assert service.post("/api/learn").json()["learned"]
    assert service.get("/api/stats").json()["dim"] == DIM
    assert service.get("/health").json()["status"] == "ok"


def test_events_tell_of_versions_and_records(service, space):
    name = space()
    body = service.get("/v1/events", params={"space": name, "events": 1})
    assert body.headers["content-type"].startswith("text/event-stream")
    assert re.fullmatch(r'id: [0-9a-f-]{36}:0:0\nevent: version\ndata: {"version":0}\n\n', body.text)


def test_who_reconnects_to_the_events_is_told_what_came_meanwhile(service, space):
    name = space()
    known = {"space": name, "events": 1}
    last = service.get("/v1/events", params=known).text.split()[1]
    for _ in range(2):
        service.post("/v1/trajectories", {"vector": X, "route": "a"}, params={"space": name})
    body = service.get("/v1/events", params=known, headers={"Last-Event-ID": last}).text
    assert body.endswith('event: recorded\ndata: {"records":2,"total":2}\n\n')
    elsewhere = {"Last-Event-ID": f"{UUID(int=0)}:7:9"}
    assert '{"version":0}' in service.get("/v1/events", params=known, headers=elsewhere).text


def test_figures_for_prometheus(service):
    service.post("/v1/adapt", {"vector": X})
    told = service.get("/metrics").text
    lines = [line for line in told.splitlines() if not line.startswith("#")]
    assert any(line.startswith('sona_http_requests_total{method="POST",operation="/v1/adapt"') for line in lines)
    assert 'sona_version{space="default"}' in told
    for line in lines:
        assert float(line.rpartition(" ")[2]) >= 0, line
    buckets = [line for line in lines if line.startswith("sona_http_request_seconds_bucket") and "/v1/adapt" in line]
    counts = [float(line.rpartition(" ")[2]) for line in buckets]
    assert counts == sorted(counts)
    assert 'le="+Inf"' in buckets[-1]


def test_an_unknown_path_and_method_are_problems(service):
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/v1/adapt", 405)):
        answer = service.ask(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_the_document_describes_every_operation(service):
    described = service.get("/openapi.json").json()
    for name, path in described["paths"].items():
        for method, operation in path.items():
            assert operation["summary"].endswith("."), (method, name)
            assert operation["responses"]
    assert len(json.dumps(described)) > 10_000
    assert isinstance(Operations("x").all, list)


def test_with_the_database_silent_it_is_alive_and_not_ready_and_goes_on(proxy: Proxy, monkeypatch):
    from sona_pg.engine import current_space

    options = ServiceOptions(dim=DIM, config=CONFIG)
    with serving(proxy.url, options) as service:
        assert service.get("/ready").status_code == 200
        monkeypatch.setattr(current_space, "SILENT_FOR", -2.0)
        proxy.stall()
        while service.get("/ready").status_code == 200:
            assert service.get("/live").status_code == 200
        away = service.get("/ready")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        assert service.post("/v1/adapt", {"vector": X}).status_code == 200
        assert service.post("/v1/trajectories", {"vector": X, "route": "meanwhile"}).status_code == 202
        assert service.post("/v1/candidates", {"ids": ["new"], "vectors": [X]}).status_code == 202
        of = f"/v1/trajectories/{uuid7()}"
        for path, body in {
            "/v1/trajectories/begin": {"vector": X}, f"{of}/steps": {}, f"{of}/end": {}, "/v1/search": {"vector": X},
            "/v1/learn": {}, "/v1/learn/deep": {}, "/api/learn": {}, "/v1/forget/plan": {"user": "7"},
        }.items():  # fmt: skip
            refused = service.post(path, body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), path
        assert service.get("/v1/versions").status_code == 503
        once = {"Idempotency-Key": "one"}
        assert service.post("/v1/trajectories", {"vector": X}, headers=once).status_code == 503
        proxy.resume()
    with psycopg.connect(proxy.url) as connection:
        assert connection.execute("SELECT route FROM sona.trajectories").fetchall() == [("meanwhile",)]
