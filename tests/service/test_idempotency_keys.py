"""A request with an idempotency key is done once, whatever is refused, cut off or killed between its tries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from sona_pg import IngestConfig
from sona_pg.domain.ids import made_at
from sona_pg.errors import DatabaseUnavailable
from sona_pg.service import ServiceOptions
from sona_pg.store.key_store import KeyStore
from tests.service.conftest import CONFIG, DIM, serving

X = [1.0] * DIM
SLOW = CONFIG.replace(ingest=IngestConfig(flush_interval=30.0))
NARROW = CONFIG.replace(ingest=IngestConfig(buffer_bytes=1 << 16))
LOGGED = "2026-11-01T00:00:00Z"
LONG = "?" * 100_000  # more than the narrow buffer holds
ROWS = "SELECT id FROM sona.trajectories t JOIN sona.spaces s USING (space_id) WHERE s.name = %s ORDER BY id"


def keyed(name):
    return {"Idempotency-Key": name}


def stored(url, space, query=ROWS):
    with psycopg.connect(url) as connection:
        return connection.execute(query, [space]).fetchall()


def give_up(url):
    """Let unanswered requests be claimed again, as after two minutes."""
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat().encode()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sona.idempotent_requests SET answer = %s WHERE status IS NULL", [long_ago])


@pytest.fixture
def slow(service_url):
    """A service that commits nothing within a test, unless it is asked to."""
    with serving(service_url, ServiceOptions(dim=DIM, config=SLOW)) as running:
        yield running


@pytest.fixture
def deaf(slow, monkeypatch):
    """Ask for something, and lose the answer: the database takes neither that nor the end of the claim."""

    def lose(*what):
        raise DatabaseUnavailable("the database is away")

    def ask(path, body, name):
        with monkeypatch.context() as patched:
            for call in ("answer_request", "release_request"):
                patched.setattr(KeyStore, call, lose)
            return slow.post(path, body, headers=keyed(name))

    return ask


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("batch", {"trajectories": [{"vector": X}, {"vector": X, "route": "a\0b"}]}),
        ("batch", {"trajectories": [{"vector": X}, {"vector": X[:2]}]}),
        ("columns", {"vectors": [X, [0.0] * DIM]}),
        ("columns", {"vectors": [X, X], "routes": ["a", "a\0b"]}),
    ],
)
def test_of_a_batch_with_a_refused_row_nothing_is_recorded(service, service_url, space, path, body):
    name = space()
    for _ in range(2):
        refused = service.post(f"/v1/trajectories/{path}?space={name}", body, headers=keyed("k"))
        assert (refused.status_code, "/1" in refused.json()["errors"][0]["pointer"]) == (422, True)
    assert service.post(f"/v1/trajectories?space={name}", {"vector": X}, headers=keyed("k")).status_code == 202
    assert len(stored(service_url, name)) == 1  # the key of a refused request is free for another


def test_a_batch_that_a_full_buffer_cuts_off_is_completed_by_its_repetition(service, service_url, space):
    name = space()
    rows = [{"vector": X, "quality": 0.5}, {"vector": X, "query": LONG, "quality": 0.25}, {"vector": X}]
    ask = (f"/v1/trajectories/batch?space={name}", {"trajectories": rows})
    with serving(service_url, ServiceOptions(dim=DIM, config=NARROW)) as narrow:
        for _ in range(2):
            refused = narrow.post(*ask, headers=keyed("cut"))
            assert (refused.status_code, "rows from 1 on" in refused.json()["detail"]) == (503, True)
    answer = service.post(*ask, headers=keyed("cut"))
    assert answer.status_code == 202
    assert [id_ for (id_,) in stored(service_url, name)] == sorted(map(UUID, answer.json()["ids"]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/trajectories", {"vector": X, "quality": 0.5, "steps": [{"reward": 1}]}),
        ("/v1/trajectories/batch", {"trajectories": [{"vector": X}, {"vector": X, "started_at": LOGGED}]}),
        ("/v1/trajectories/columns", {"vectors": [X, X, X]}),
        ("/v1/trajectories/begin", {"vector": X, "query": "where?"}),
    ],
)  # fmt: skip
def test_a_request_whose_answer_was_lost_makes_the_same_records_again(slow, deaf, service_url, space, path, body):
    name = space()
    began = datetime.now(UTC)
    ask = f"{path}?space={name}"
    first = deaf(ask, body, "lost")
    assert first.status_code in (201, 202)
    known = stored(service_url, name)
    assert slow.post(ask, body, headers=keyed("lost")).status_code == 409
    give_up(service_url)
    again = slow.post(ask, body, headers=keyed("lost"))
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert "idempotency-replayed" not in again.headers
    assert slow.post(ask, body, headers=keyed("lost")).headers["idempotency-replayed"] == "true"
    assert stored(service_url, name) == known
    ids = first.json().get("ids") or [first.json()["id"]]
    if path != "/v1/trajectories/begin":
        assert [id_ for (id_,) in known] == sorted(map(UUID, ids))
    assert all(UUID(id_).version == 7 for id_ in ids)
    assert abs(made_at(UUID(ids[0])) - began) < timedelta(minutes=5)
    other = slow.post(ask, body, headers=keyed("other"))
    assert not set(other.json().get("ids") or [other.json()["id"]]) & set(ids)


def test_feedback_whose_answer_was_lost_is_the_same_fact_again(slow, deaf, service_url, space):
    name = space()
    id_ = slow.post(f"/v1/trajectories?space={name}", {"vector": X}, headers=keyed("t")).json()["id"]
    facts = {"feedback": [{"trajectory": id_, "quality": 0.5}, {"trajectory": id_, "quality": 1}]}
    ask = f"/v1/feedback/batch?space={name}"
    first = deaf(ask, facts, "f")
    give_up(service_url)
    again = slow.post(ask, facts, headers=keyed("f"))
    assert first.json() == again.json()
    told = "SELECT sequence, quality FROM sona.feedback f JOIN sona.spaces s USING (space_id) WHERE s.name = %s"
    assert sorted(stored(service_url, name, told)) == list(zip(first.json()["sequences"], (0.5, 1), strict=True))


def test_what_is_answered_under_a_key_is_committed(slow, service_url, space):
    name = space()
    answer = slow.post(f"/v1/trajectories?space={name}", {"vector": X}, headers=keyed("now"))
    assert [(UUID(answer.json()["id"]),)] == stored(service_url, name)


def test_a_step_and_an_end_under_a_key_are_done_once(slow, deaf, service_url, space):
    name = space()
    id_ = slow.post(f"/v1/trajectories/begin?space={name}", {"vector": X}).json()["id"]
    step = (f"/v1/trajectories/{id_}/steps?space={name}", {"reward": 0.5})
    assert deaf(*step, "step 1").status_code == 201
    give_up(service_url)
    for replayed in (None, "true"):
        answer = slow.post(*step, headers=keyed("step 1"))
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (201, replayed)
    assert slow.post(*step, headers=keyed("step 2")).status_code == 201
    end = (f"/v1/trajectories/{id_}/end?space={name}", {"quality": 1})
    for replayed in (None, "true"):
        answer = slow.post(*end, headers=keyed("end"))
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, replayed)
    assert slow.post(*end, headers=keyed("another end")).status_code == 404
    counted = "SELECT step_count FROM sona.trajectories t JOIN sona.spaces s USING (space_id) WHERE s.name = %s"
    assert stored(service_url, name, counted) == [(2,)]
