"""Operations about learning: a cycle now, what is known, and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from sona_pg.domain.gate import Judgement
from sona_pg.domain.version import VersionOrigin, VersionStatus
from sona_pg.engine.overview import Overview
from sona_pg.limits import MOST_INT8
from sona_pg.service.operations import Call, Operations
from sona_pg.service.wire_vectors import STRICT

operations = Operations("learn")

MOST_SECONDS = 600.0  # of one request; longer cycles run in parts

VersionNumber = Annotated[int, Field(ge=0, le=MOST_INT8)]


class Cycle(BaseModel):
    """The outcome of learning."""

    loop: str
    cycle_id: UUID
    base_version: int
    version: int
    trajectories: int  # new ones read
    feedback: int
    revised: int  # earlier trajectories whose quality changed
    set_aside: int  # rows that could not be learned from
    patterns: int  # afterwards
    patterns_created: int
    patterns_merged: int
    patterns_pruned: int
    milliseconds: float
    candidates: int  # with a slot in the learned state
    without_route: int  # trajectories with candidates but no route
    cycles: int  # that are summed up here
    followed: bool  # whether unlearned facts remained
    learned: bool


class DeepBody(BaseModel):
    """How long a deep cycle may take."""

    model_config = STRICT

    seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = 30.0  # the next cycle goes on where it ended


class DeepCycle(BaseModel):
    """The outcome of a deep cycle, or of the part that there was time for; further figures are of its stages."""

    model_config = ConfigDict(extra="allow")

    loop: str
    cycle_id: UUID
    base_version: int
    version: int
    patterns: int
    milliseconds: float
    learned: bool
    finished: bool
    nodes: int
    edges: int
    dreams: dict[str, Any]


class Stats(BaseModel):
    """Figures of the space and of this server, as ``SonaEngine.metrics`` has them."""

    model_config = ConfigDict(extra="allow")

    space: str
    dim: int
    version: int


class VersionAnswer(BaseModel):
    """One version of the space."""

    version: int
    parent: int  # of a rollback: the version whose content it has
    status: VersionStatus
    origin: VersionOrigin
    created_at: datetime
    cycle_id: UUID
    server_id: UUID | None  # that made it; null: an earlier release did
    trajectories: int | None  # that its cycle read; null: no longer recorded
    feedback: int | None
    patterns: int | None  # null: its content is not kept
    routes: int | None
    complete: bool  # whether a rollback to it is possible
    judgement: Judgement | None  # by its gate
    difference: float | None  # in mean quality from the version before, as far as the gate has judged


class VersionsAnswer(BaseModel):
    """Versions, newest first."""

    versions: list[VersionAnswer]
    serving: int


class VersionsQuery(BaseModel):
    """How many versions to list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20


class DiffQuery(BaseModel):
    """Two versions."""

    a: VersionNumber
    b: VersionNumber


class DiffAnswer(BaseModel):
    """What differs between two versions."""

    a: int
    b: int
    differences: list[dict[str, Any]]


class PlanQuery(BaseModel):
    """The version to go back to."""

    version: VersionNumber


class UndoneTopicRow(BaseModel):
    """A topic that would vanish, come back or change; null: it is not there on that side."""

    pattern: UUID
    title: str | None = None
    quality_now: float | None = None
    quality_then: float | None = None
    size_now: int | None = None
    size_then: int | None = None


class UndoPlanAnswer(BaseModel):
    """What a rollback to a version would do; nothing is changed."""

    version: int
    live: int
    undone: int  # runs of learning
    redone: int
    trajectories: int  # that the undone runs had learned
    feedback: int
    since: datetime | None = None  # when the first of them began
    topics: list[UndoneTopicRow]  # the largest first


class VersionBody(BaseModel):
    """The version to make live."""

    model_config = STRICT

    version: VersionNumber
    keep_facts: bool = False  # of a rollback: whether the facts learned since wait again


class Live(BaseModel):
    """The version that is live now."""

    version: int


@operations.add("POST", "/v1/learn", scope="learn", answer=Cycle, waits=True)
async def learn(call: Call[Any]) -> Any:
    """Learn now from everything recorded so far, and serve the result."""
    return (await (await call.engine()).force_learn()).as_dict()


@operations.add("POST", "/v1/learn/deep", scope="learn", body=DeepBody, answer=DeepCycle, waits=True)
async def learn_deep(call: Call[DeepBody]) -> Any:
    """Dream over the memory graph and consolidate it now, and serve the result; it learns no new facts."""
    return (await (await call.engine()).deep_learn(call.body.seconds)).as_dict()


@operations.add("GET", "/v1/stats", scope="read", answer=Stats)
async def stats(call: Call[Any]) -> Any:
    """Return figures of the space and of this server."""
    return await (await call.engine()).metrics(fresh=False)


@operations.add("GET", "/v1/versions", scope="read", query=VersionsQuery, answer=VersionsAnswer, waits=True)
async def versions(call: Call[Any]) -> Any:
    """List the versions of the space, newest first."""
    engine = await call.engine()
    found = await engine.versions(call.query["limit"])
    return {"versions": [version.as_dict() for version in found], "serving": engine.version}


@operations.add("GET", "/v1/versions/diff", scope="read", query=DiffQuery, answer=DiffAnswer, waits=True)
async def diff(call: Call[Any]) -> Any:
    """Say what differs between two versions."""
    a, b = call.query["a"], call.query["b"]
    found = await (await call.engine()).diff(a, b)
    return {"a": a, "b": b, "differences": [difference.as_dict() for difference in found]}


@operations.add("GET", "/v1/versions/rollback/plan", scope="read", query=PlanQuery, answer=UndoPlanAnswer, waits=True)
async def rollback_plan(call: Call[Any]) -> Any:
    """Tell what a rollback to a version would undo; it changes nothing."""
    engine, version = await call.engine(), call.query["version"]
    plan = await engine.in_thread(lambda opened: Overview(opened).undo_plan(version), engine.engine)
    return {
        "version": plan.version,
        "live": plan.live,
        **plan.runs._asdict(),
        "topics": [one._asdict() for one in plan.topics],
    }


@operations.add("POST", "/v1/versions/rollback", scope="admin", body=VersionBody, answer=Live, waits=True)
async def rollback(call: Call[VersionBody]) -> Any:
    """Make an earlier version live again on every server."""
    done = await (await call.engine()).rollback(call.body.version, keep_facts=call.body.keep_facts)
    return {"version": done.version}


@operations.add("POST", "/v1/versions/promote", scope="admin", body=VersionBody, answer=Live, waits=True)
async def promote(call: Call[VersionBody]) -> Any:
    """Make a staged version live on every server."""
    return {"version": await (await call.engine()).promote(call.body.version)}
