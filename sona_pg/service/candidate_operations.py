"""Operations that retire candidates, restore them, and tell which are stored or retired."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from sona_pg.errors import UnknownCandidate
from sona_pg.service.operations import Call, Operations
from sona_pg.service.problems import field_problem
from sona_pg.service.recall_operations import require_few
from sona_pg.service.record_bodies import Id
from sona_pg.service.wire_vectors import STRICT

operations = Operations("candidates")


class CandidateIds(BaseModel):
    """The ids of stored candidates."""

    model_config = STRICT

    ids: Annotated[list[Id], Field(min_length=1)]


class RetiredCount(BaseModel):
    """How many were not retired before."""

    retired: int


class RestoredCount(BaseModel):
    """How many were retired."""

    restored: int


class KnownIds(BaseModel):
    """The ids that are stored, in the order in which they were asked for."""

    known: list[str]


class RetiredCandidate(BaseModel):
    """A candidate that is not answered with."""

    id: str
    since: datetime


class RetiredList(BaseModel):
    """The retired candidates, the first retired first."""

    retired: list[RetiredCandidate]


@operations.add("POST", "/v1/candidates/retire", scope="record", body=CandidateIds, answer=RetiredCount, waits=True)
async def retire(call: Call[CandidateIds]) -> Any:
    """Answer with candidates no more, on any server, until they are restored. What was learned stays."""
    require_few(call, len(call.body.ids), "/ids")
    return {"retired": await _changed((await call.engine()).retire_candidates(call.body.ids))}


@operations.add("POST", "/v1/candidates/restore", scope="record", body=CandidateIds, answer=RestoredCount, waits=True)
async def restore(call: Call[CandidateIds]) -> Any:
    """Answer with retired candidates again."""
    require_few(call, len(call.body.ids), "/ids")
    return {"restored": await _changed((await call.engine()).restore_candidates(call.body.ids))}


@operations.add("POST", "/v1/candidates/known", scope="read", body=CandidateIds, answer=KnownIds)
async def known(call: Call[CandidateIds]) -> Any:
    """Return which of these ids are stored, the retired ones as well."""
    require_few(call, len(call.body.ids), "/ids")
    return {"known": await (await call.engine()).known_candidates(call.body.ids)}


@operations.add("GET", "/v1/candidates/retired", scope="read", answer=RetiredList, waits=True)
async def retired(call: Call[Any]) -> Any:
    """List the retired candidates, the first retired first."""
    found = await (await call.engine()).retired_candidates()
    return {"retired": [{"id": id_, "since": since} for id_, since in found.items()]}


async def _changed(change: Awaitable[int]) -> int:
    try:
        return await change
    except UnknownCandidate as exc:
        raise field_problem("/ids", str(exc)) from exc
