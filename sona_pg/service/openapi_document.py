"""The OpenAPI document of the service, from its operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sona_pg._version import __version__
from sona_pg.service.operations import JSON, MOST_KEY, NoBody, Operation, Operations
from sona_pg.service.problems import MEDIA_TYPE

PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "JSON pointer of a field of the body, or a query's name",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
        "error": {
            "type": "object",
            "description": "The same for OpenAI's clients, of the paths that they ask.",
            "required": ["message"],
            "properties": {"message": {"type": "string"}},
        },
    },
}
BINARY = {"type": "string", "format": "binary"}
REFUSALS = {
    400: "The body cannot be read: broken JSON or gzip.",
    401: "A key is needed, or it is no good.",
    403: "The key does not allow it, or the service's login of the database lacks a privilege.",
    404: "It is not there.",
    409: "It conflicts with the current state.",
    413: "The request is too large.",
    415: "The body is of another type.",
    422: "The caller's data is invalid; `errors` names the fields.",
    429: "The key has sent too many requests; `Retry-After` says when to go on.",
    500: "The database refuses it, now and later; the service's log says why.",
    502: "The upstream cannot be reached, or its answer cannot be read.",
    503: "The database does not answer now; `Retry-After` says when to try again.",
}


def document(subjects: Sequence[Operations]) -> dict[str, Any]:
    """Return the document."""
    schemas, references = _schemas([operation for subject in subjects for operation in subject.all])
    paths: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        for operation in subject.all:
            described = _described(operation, references) | {"tags": [subject.tag]}
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "sona-pg", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`sona-pg keys create`"},
            },
        },
    }


def _schemas(operations: Sequence[Operation]) -> tuple[dict[str, Any], dict[tuple[Any, str], Any]]:
    wanted: list[tuple[type[BaseModel], Any]] = []
    for operation in operations:
        if operation.body is not NoBody:
            wanted.append((operation.body, "validation"))
        if operation.answer is not None:
            wanted.append((operation.answer, "validation"))
    references, defined = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    return defined["$defs"], {(model, mode): schema for (model, mode), schema in references.items()}


def _described(operation: Operation, references: dict[tuple[Any, str], Any]) -> dict[str, Any]:
    summary, _, rest = (operation.handler.__doc__ or "").partition("\n\n")
    answer = {"schema": references[operation.answer, "validation"]} if operation.answer is not None else {}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": " ".join(summary.split()),
        "parameters": list(_parameters(operation)),
        "responses": {
            str(operation.status): {"description": "Done.", "content": {operation.media_type: answer}},
            **{str(status): _refusal(status) for status in _refusals(operation)},
        },
        "security": [] if operation.scope is None else [{"key": []}, {}],
    }
    if rest:
        described["description"] = " ".join(rest.split())
    if operation.scope is not None:
        described["x-scope"] = operation.scope
    if operation.body is not NoBody:
        body = references[operation.body, "validation"]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    elif operation.reads:
        bodies = {kind: {"schema": {"type": "object"} if kind == JSON else BINARY} for kind in operation.reads}
        described["requestBody"] = {"required": True, "content": bodies}
    return described


def _refusals(operation: Operation) -> list[int]:
    statuses = [500, 503, *operation.extra]
    if operation.scope is not None:
        statuses += [401, 403, 404, 409, 429]
    if operation.body is not NoBody or operation.reads:
        statuses += [400, 413, 415]
    if operation.body is not NoBody or operation.reads or operation.query is not None or operation.idempotent:
        statuses.append(422)
    return sorted(statuses)


def _refusal(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusal: dict[str, Any] = {"description": REFUSALS[status], "content": content}
    if status in (429, 503):
        refusal["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return refusal


def _parameters(operation: Operation) -> Any:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    if operation.of_space and operation.scope is not None:
        told = "Name of the space; by default that of the key, else the service's own."
        yield {"name": "space", "in": "query", "required": False, "description": told, "schema": {"type": "string"}}
    if operation.query is not None:
        schema = operation.query.model_json_schema()
        for name, described in schema["properties"].items():
            known = next((one for one in described.get("anyOf", ()) if one.get("type") != "null"), described)
            known = {key: value for key, value in known.items() if key not in ("default", "title")}
            yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": known}
    if operation.idempotent:
        told = "The same request with the same key is done once, and answered alike for a day."
        kind = {"type": "string", "minLength": 1, "maxLength": MOST_KEY, "pattern": "^[ -~]+$"}
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "description": told, "schema": kind}
