"""A NUL character, which Postgres cannot store: texts that have one are refused in every parameter and field."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from sona_pg.domain.ids import uuid7
from tests.service.conftest import DIM

NUL = "a\0b"
REQUIRED = {"vector": [1.0] * DIM, "vectors": [[1.0] * DIM], "quality": 1.0, "trajectory": str(uuid7()), "pattern": 0}


@pytest.fixture(scope="module")
def document(service):
    return service.get("/openapi.json").json()


def texts(parameters, place):
    return [one["name"] for one in parameters if one["in"] == place and one["schema"].get("type") == "string"]


def test_every_text_parameter_refuses_a_nul_character(service, document):
    refused = set()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            own = [one for one in told["parameters"] if one["in"] == "path"]
            there = path.replace("{" + own[0]["name"] + "}", quote(NUL)) if own else path
            if own:
                assert service.ask(method, there).status_code in (404, 405, 415, 422), path
            for name in texts(told["parameters"], "query"):
                answer = service.ask(method, path, params={name: NUL})
                assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}"), path
                refused.add((path, name))
    assert {
        ("/v1/dashboard/routes", "find"), ("/v1/dashboard/rated-bad", "route"), ("/v1/dashboard/requests", "find"),
        ("/v1/dashboard/memory", "find"), ("/v1/dashboard/candidates", "find"), ("/v1/stats", "space"),
    } <= refused  # fmt: skip


def resolved(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def with_nul(document: Any, schema: Any) -> Any:
    """Return a value of a schema with a NUL character in each of its texts; None where it has none."""
    schema = resolved(document, schema)
    for one in schema.get("anyOf", ()):
        found = with_nul(document, one)
        if found is not None:
            return found
    if schema.get("type") == "string" and "format" not in schema:
        return NUL
    if schema.get("type") == "array":
        item = with_nul(document, schema.get("items", {}))
        return None if item is None else [item]
    if schema.get("type") == "object":
        inner = {name: with_nul(document, told) for name, told in schema.get("properties", {}).items()}
        return {name: value for name, value in inner.items() if value is not None} or None
    return None


def test_no_text_of_a_body_fails_the_database(service, document):
    asked = 0
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        schema = resolved(document, content.get("application/json", {}).get("schema", {}))
        fields = schema.get("properties", {})
        for name, told in fields.items():
            value = with_nul(document, told)
            if value is None:
                continue
            asked += 1
            body = {key: known for key, known in REQUIRED.items() if key in fields} | {name: value}
            answer = service.post(path, body)
            assert answer.status_code < 500, (path, name, answer.text)
    assert asked > 30
