"""Requests that web pages elsewhere make a browser on this machine send, which needs no key here."""

from __future__ import annotations

import pytest

from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG, DIM, serving

EVIL = "http://evil.example"
APP = "https://app.example"
# Content types that a browser sends to other origins without asking first; None: of a POST without a body.
UNASKED = (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
CHANGES = ("post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def changing(service):
    """List the operations of the OpenAPI document that may change something: methods and paths."""
    paths = service.get("/openapi.json").json()["paths"]
    known = [(method, path.replace("{trajectory}", "0" * 8), told[method])
             for path, told in paths.items() for method in CHANGES if method in told]  # fmt: skip
    assert len(known) > 30
    return known


def ask(service, method, path, kind, **headers):
    typed = {"Content-Type": kind} if kind else {}
    return service.ask(method, path, headers={**typed, **headers}, content=b"")


@pytest.mark.parametrize("kind", [*UNASKED, "application/json"])
def test_a_page_elsewhere_changes_nothing(service, changing, kind):
    for method, path, _ in changing:
        for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = ask(service, method, path, kind, **headers)
            assert (answer.status_code, "without a key" in answer.text) == (403, True), (method, path, headers)


@pytest.mark.parametrize("kind", UNASKED)
def test_a_body_of_a_type_that_browsers_send_unasked_is_refused(service, changing, kind):
    for method, path, told in changing:
        if "requestBody" in told:
            assert ask(service, method, path, kind).status_code == 415, (method, path)


def test_a_page_of_this_machine_learns_only_from_its_own_port(service, space):
    name = space()
    for origin, status in (
        ("http://127.0.0.1:8700", 200),
        ("http://127.0.0.1:8919", 403),
        ("http://localhost:8700", 403),
        ("http://127.0.0.1", 403),
    ):
        for path in ("/v1/learn", "/api/learn"):
            asked = {"params": {"space": name}, "base_url": "http://127.0.0.1:8700", "headers": {"Origin": origin}}
            assert service.post(path, **asked).status_code == status, (origin, path)
    refused = service.post("/v1/learn", headers={"Origin": EVIL}).json()["detail"]
    assert "--origin http://evil.example" in refused


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl and programs
        {"Content-Type": "application/x-www-form-urlencoded"},  # curl -d ''
        {"Sec-Fetch-Mode": "cors"},  # Node
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:5173"},  # by a developer's proxy
    ],
)
def test_programs_and_the_services_own_pages_go_on(service, space, headers):
    assert service.post("/v1/learn", params={"space": space()}, headers=headers).status_code == 200


def test_a_key_is_no_browsers_to_add(service, service_store, space):
    """Behind a proxy the name of this service is another than that of the page's origin."""
    _, token = service_store.create_key(space(), "web", ["learn"])
    asked = {"Authorization": f"Bearer {token}", "Origin": APP}
    assert service.post("/v1/learn", headers=asked).status_code == 200


@pytest.mark.parametrize("origin", [APP, "*"])
def test_an_origin_that_is_allowed_changes_something(service_store, origin):
    with serving(service_store, ServiceOptions(dim=DIM, config=CONFIG, origins=(origin,))) as service:
        assert service.post("/v1/learn", headers={"Origin": APP}).status_code == 200
        elsewhere = service.post("/v1/learn", headers={"Origin": EVIL}).status_code
        assert elsewhere == (200 if origin == "*" else 403)
