"""Structured logs: a line for each request, with the trajectory that it was about."""

from __future__ import annotations

import json
import logging
from uuid import uuid4

import pytest

from sona_pg.cli.log_lines import JsonLines
from sona_pg.errors import DatabaseUnavailable, StorageError
from sona_pg.service.problems import Trouble
from tests.service.conftest import DIM

X = [1.0] * DIM


def lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    found = [record for record in caplog.records if record.name == "sona_pg.service.access"]
    return [json.loads(JsonLines().format(record)) for record in found]


def test_a_line_names_the_trajectory_of_each_call_about_one(service, caplog):
    with caplog.at_level(logging.INFO, "sona_pg.service.access"):
        whole = service.post("/v1/trajectories", {"vector": X}).json()["id"]
        once = service.post("/v1/trajectories", {"vector": X}, headers={"Idempotency-Key": uuid4().hex}).json()["id"]
        begun = service.post("/v1/trajectories/begin", {"vector": X}).json()["id"]
        service.post(f"/v1/trajectories/{begun}/end", {"quality": 1})
        service.post("/v1/feedback", {"trajectory": whole, "quality": 1})
        asked = service.post("/api/query", {"query": "where?"}).json()["trajectoryId"]
        service.post("/api/feedback", {"trajectoryId": asked, "quality": 1})
        service.post("/v1/adapt", {"vector": X})
    told = lines(caplog)
    assert [line.get("trajectory") for line in told] == [whole, once, begun, begun, whole, asked, asked, None]
    assert (told[0]["operation"], told[0]["status"], told[0]["caller"]) == ("/v1/trajectories", 202, "http")
    assert told[0]["space"] == "default"
    assert told[0]["milliseconds"] > 0
    assert told[-1]["message"] == "POST /v1/adapt: 200"


def test_a_refused_request_has_a_line_without_one(service, caplog):
    with caplog.at_level(logging.INFO, "sona_pg.service.access"):
        service.get("/v1/nowhere")
    assert (lines(caplog)[0]["status"], lines(caplog)[0]["operation"]) == (404, "other")


def test_an_outage_is_told_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    trouble = Trouble(lambda: now[0])
    for second in (0.0, 1.0, 29.0, 31.0, 32.0):
        now[0] = second
        trouble.note(DatabaseUnavailable("gone"))
    trouble.note(StorageError("full"))
    assert [line.getMessage() for line in caplog.records] == [
        "answered by 503: gone", "answered by 503 (2 more since the last line): gone", "answered by 503: full",
    ]  # fmt: skip
