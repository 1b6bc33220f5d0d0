"""A request is found by the id that it had in an imported file, or by its own."""

from __future__ import annotations

from uuid import UUID

import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.store.database import Database
from sona_pg.store.imported_ids import OwnId


@pytest.fixture
def database(service_url):
    database = Database.open(service_url)
    yield database
    database.close()


def test_a_request_is_found_by_the_id_of_its_file_and_by_its_own(service, space, rows, database):
    name = {"space": space()}
    body = {"text": "aab", "route": "small", "quality": 1.0, "cost": 0.5, "context": ["user:1"], "latency": 0.25}
    made = service.post("/v1/trajectories", body, params=name).json()["id"]
    service.post("/v1/feedback", {"trajectory": made, "quality": 0.5}, params=name)
    rows(name["space"])  # committed
    database.imported_ids.keep(database.find_space(name["space"]), {UUID(made): OwnId("T-1042", is_timed=True)})
    for told in ("T-1042", " T-1042 ", made):
        answer = service.get("/v1/dashboard/requests", params=name | {"find": told}).json()
        assert answer["requests"] == [{
            "trajectory": made, "imported_id": "T-1042", "query": "aab", "route": "small", "quality": 0.5,
            "latency": 0.25, "cost": 0.5, "context": ["user:1"],
            "feedback": [{"source": "http", "quality": 0.5, "correction": None, "paid": None, "stands": True}],
        }]  # fmt: skip


def test_another_id_finds_nothing(service, space):
    name = {"space": space()}
    for told in ("T-1042", str(uuid7()), "ffffffff-ffff-ffff-ffff-ffffffffffff", "\x01", "é" * 200):
        answer = service.get("/v1/dashboard/requests", params=name | {"find": told})
        assert (answer.status_code, answer.json()["requests"]) == (200, []), told
    assert service.get("/v1/dashboard/requests", params=name | {"find": ""}).status_code == 422
