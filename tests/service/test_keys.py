"""Who may ask: keys with scopes, bound to a space, revocable; without a key nobody but this machine."""

from __future__ import annotations

import json
import threading

import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app as command_line
from sona_pg.errors import ConfigError, DatabaseUnavailable, InvalidValue, UnknownKey
from sona_pg.service import ServiceOptions, callers
from sona_pg.store import transactions
from tests.service.conftest import CONFIG, DIM, serving

X = [1.0] * DIM
AWAY = ("203.0.113.7", 5)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_scopes_and_the_space_of_a_key(service, service_store, space, service_url):
    name = space()
    _, reads = service_store.create_key(name, "reader", ["read"])
    _, records = service_store.create_key(name, "app", ["record"])
    ask = {"client": AWAY, "base_url": "http://example.org"}
    assert service.post("/v1/adapt", {"vector": X}, headers=bearer(reads), **ask).status_code == 200
    assert service.post("/v1/adapt", {"vector": X}, headers={"X-API-Key": reads}, **ask).status_code == 200
    refused = service.post("/v1/adapt", {"vector": X}, headers=bearer(records), **ask)
    assert (refused.status_code, "lacks the scope 'read'" in refused.json()["detail"]) == (403, True)
    made = service.post("/v1/trajectories", {"vector": X}, headers=bearer(records), **ask)
    assert made.status_code == 202
    fact = {"trajectory": made.json()["id"], "quality": 1}
    assert service.post("/v1/feedback", fact, headers=bearer(records), **ask).status_code == 202
    other = service.get("/v1/stats", params={"space": "default"}, headers=bearer(reads), **ask)
    assert (other.status_code, "bound to the space" in other.json()["detail"]) == (403, True)
    listed = service.get("/v1/spaces", headers=bearer(reads), **ask).json()
    assert ([one["name"] for one in listed["spaces"]], listed["scopes"]) == ([name], ["read"])
    compared = service.get("/v1/dashboard/spaces", headers=bearer(reads), **ask).json()
    assert ([one["space"] for one in compared["spaces"]], compared["all"]) == ([name], 1)
    service.app.state.service.spaces.opened[name].engine.flush()
    with psycopg.connect(service_url) as connection:
        rows = connection.execute("SELECT source FROM sona.feedback WHERE source = 'app'").fetchall()
        assert rows == [("app",)]  # from the key, never from the body
        hidden = connection.execute("SELECT encode(hash, 'escape') FROM sona.api_keys").fetchall()
    secret = reads.split("_", 3)[3]  # which may have underscores of its own
    assert len(secret) == 43
    assert not any(secret in hash_ for (hash_,) in hidden)


@pytest.mark.parametrize("token", ["", "x", "sona_1_2_3", "sona_1_" + "0" * 32 + "_secret", "sona_x_y_z", "é"])
def test_a_bad_key_is_refused_everywhere(service, token):
    answer = service.get("/v1/stats", headers={"X-API-Key": token.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_is_refused_once_it_is_looked_up_again(service, service_store, space, monkeypatch):
    name = space()
    key, token = service_store.create_key(name, "gone", ["read"])
    assert service.get("/v1/stats", headers=bearer(token)).status_code == 200
    service_store.revoke_key(name, key.key_id)
    monkeypatch.setattr(callers, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(callers, "MOST_WAIT", 60.0)
    assert service.get("/v1/stats", headers=bearer(token)).status_code == 401
    with pytest.raises(UnknownKey):
        service_store.revoke_key(name, key.key_id)


def test_a_good_key_goes_on_while_its_look_up_gets_no_answer(service, service_store, space, monkeypatch):
    _, token = service_store.create_key(space(), "app", ["read"])
    body = {"vector": X}
    assert service.post("/v1/adapt", body, headers=bearer(token)).status_code == 200
    asked, answered = [], threading.Event()

    def silent(token):
        asked.append(token)
        assert answered.wait(60)

    monkeypatch.setattr(callers, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(callers, "MOST_WAIT", 0.01)
    monkeypatch.setattr(service_store, "find_key", silent)
    for _ in range(3):
        assert service.post("/v1/adapt", body, headers=bearer(token)).status_code == 200
    assert asked == [token]
    answered.set()  # the key is gone
    monkeypatch.setattr(callers, "MOST_WAIT", 60.0)
    assert service.post("/v1/adapt", body, headers=bearer(token)).status_code == 401


def test_a_look_up_that_waits_for_a_lock_is_given_up_by_the_server(service_store, service_url, space, monkeypatch):
    _, token = service_store.create_key(space(), "app", ["read"])
    monkeypatch.setattr(transactions, "SERVER_LIMIT", transactions.limit_of(0.2))
    with psycopg.connect(service_url) as locking, psycopg.connect(service_url, autocommit=True) as looking:
        locking.execute("LOCK TABLE sona.api_keys IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="a lock is held"):
            service_store.find_key(token)
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'sona.api_keys'::regclass AND NOT granted"
        assert looking.execute(waiting).fetchone() == (0,)
    assert service_store.find_key(token) is not None


def test_a_stream_of_events_ends_once_its_key_is_revoked(service, service_store, space, monkeypatch):
    name = space()
    key, token = service_store.create_key(name, "gone", ["read"])
    find_key, found = service_store.find_key, []

    def then_revoked(asked):
        found.append(find_key(asked))
        if len(found) == 2:  # still good at the first look during the stream
            service_store.revoke_key(name, key.key_id)
        return found[-1]

    monkeypatch.setattr(service_store, "find_key", then_revoked)
    monkeypatch.setattr(callers, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(callers, "MOST_WAIT", 60.0)
    told = service.get("/v1/events", headers=bearer(token))  # returns when the stream has ended
    assert (told.status_code, told.text.count("event: version")) == (200, 1)
    assert [one is not None for one in found] == [True, True, False]


def test_without_a_key_only_this_machine_asks(service):
    for client, headers, base, status in (
        (AWAY, {}, "http://127.0.0.1", 401),
        (("127.0.0.1", 1), {"X-Forwarded-For": "203.0.113.7"}, "http://127.0.0.1", 401),
        (("127.0.0.1", 1), {}, "http://evil.example", 403),  # a name that a page has pointed here
        (("::1", 1), {}, "http://[::1]:8700", 200),
        (("127.0.0.1", 1), {}, "http://localhost:8700", 200),
    ):
        assert service.get("/v1/stats", client=client, headers=headers, base_url=base).status_code == status
    for path in ("/live", "/ready", "/health", "/openapi.json"):
        assert service.get(path, client=AWAY).status_code == 200
    assert service.get("/metrics", client=AWAY).status_code == 401


def test_keys_may_be_asked_for_everywhere_and_have_a_rate(service_store, space):
    _, token = service_store.create_key("default", "fast", ["read"])
    with serving(service_store, ServiceOptions(dim=DIM, config=CONFIG, require_keys=True, rate=2.0)) as service:
        assert service.get("/v1/stats").status_code == 401
        statuses = [service.get("/v1/stats", headers=bearer(token)) for _ in range(4)]
        assert [answer.status_code for answer in statuses][:2] == [200, 200]
        late = statuses[-1]
        assert (late.status_code, late.headers["retry-after"]) == (429, "1")


def test_browsers_elsewhere_are_let_in_only_if_that_is_said(service, service_store):
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in service.ask("OPTIONS", "/v1/adapt", headers=asks).headers
    with serving(service_store, ServiceOptions(dim=DIM, config=CONFIG, origins=("https://app.example",))) as open_one:
        answer = open_one.ask("OPTIONS", "/v1/adapt", headers=asks)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        told = open_one.get("/v1/adapters", headers={"Origin": "https://app.example"}).headers
        assert told["access-control-expose-headers"] == "Date, ETag, Retry-After"  # which the JavaScript client reads


def test_keys_on_the_command_line(service_store, service_url, space):
    name = space()

    def run(*words):
        return CliRunner().invoke(command_line, ["keys", *words, "--space", name, "--url", service_url])

    made = json.loads(run("create", "web", "--scope", "record").output)
    assert service_store.find_key(made["token"]).scopes == {"record"}
    listed = [json.loads(line) for line in run("list").output.splitlines()] or None
    assert made["key_id"] in json.dumps(listed)
    assert made["token"] not in json.dumps(listed)
    assert run("revoke", made["key_id"]).exit_code == 0
    assert service_store.find_key(made["token"]) is None
    assert isinstance(run("create", "web", "--scope", "all").exception, InvalidValue)
    assert isinstance(run("revoke", "x").exception, InvalidValue)


def test_another_address_without_keys_is_refused(database_url):
    done = CliRunner().invoke(command_line, ["serve", "--host", "0.0.0.0", "--port", "0", "--url", database_url])
    assert isinstance(done.exception, ConfigError)
    assert "sona-pg keys create" in str(done.exception)
