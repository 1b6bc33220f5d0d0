"""Operations about the names of topics."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from sona_pg.domain.topic import LONGEST_NAME
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.wire_vectors import STRICT

operations = Operations("topics")


class TopicBody(BaseModel):
    """A pattern of the live version, and its name; null: none."""

    model_config = STRICT | {"json_schema_extra": {"required": ["pattern", "name"]}}

    pattern: UUID
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] | None = None


class TopicRow(BaseModel):
    """A name, and the live pattern that it belongs to; null: none is about the same."""

    name: str
    pattern: UUID | None = None
    size: int | None = None
    rated: int | None = None
    quality: float | None = None
    typical_query: str | None = None
    named_pattern: UUID
    named_by: str
    named_at: datetime


class TopicsAnswer(BaseModel):
    """Named topics, the largest first."""

    topics: list[TopicRow]


@operations.add("GET", "/v1/topics", scope="read", answer=TopicsAnswer, waits=True)
async def topics(call: Call[Any]) -> Any:
    """Return the names that people gave to patterns, with the live pattern of each."""
    return {"topics": await (await call.engine()).topics()}


@operations.add("POST", "/v1/topics", scope="learn", body=TopicBody, answer=TopicsAnswer, waits=True)
async def name_topic(call: Call[TopicBody]) -> Any:
    """Name a pattern for people, in place of the names that it had; `"name": null` takes them away."""
    if "name" not in call.body.model_fields_set:
        raise field_problem("/name", "expected a name, or null to take it away")
    engine = await call.engine()
    await engine.name_topic(call.body.pattern, call.body.name)
    return {"topics": await engine.topics()}
