"""Operations of the dashboard's maps: topics, also of a period, and the memory graph."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Any

from pydantic import BaseModel, Field

from sona_pg.domain.overview_figures import MeanQuality
from sona_pg.engine.pattern_maps import AS_RATED
from sona_pg.engine.topic_periods import ToldTopicRoute
from sona_pg.limits import MOST_INT8
from sona_pg.service.dashboard_reads import LONGEST_FIND, DaysQuery, cost_unit_of, overview_of, period_of
from sona_pg.service.map_answers import MemoryAnswer, PatternMapAnswer, TopicCostsAnswer, TopicPeriodsAnswer
from sona_pg.service.operations import Call, Operations

operations = Operations("dashboard")

MOST_TOPICS = 100_000


class TopicsQuery(BaseModel):
    """At most how many topics, in which patterns are put together by their centroids; absent: each pattern is one."""

    topics: Annotated[int, Field(ge=1, le=MOST_TOPICS)] | None = None


class MapQuery(BaseModel):
    """Which version, and at most how many topics; 0: as many as have enough ratings."""

    version: Annotated[int, Field(ge=0, le=MOST_INT8)] | None = None
    topics: Annotated[int, Field(ge=AS_RATED, le=MOST_TOPICS)] | None = None


class TopicDaysQuery(TopicsQuery, DaysQuery):
    """How far back to look, and at most how many topics."""


class MemoryQuery(BaseModel):
    """A text of the nodes to show with what they are connected to; by default the best-connected part."""

    find: Annotated[str, Field(max_length=LONGEST_FIND)] = ""


@operations.add("GET", "/v1/dashboard/patterns", scope="read", query=MapQuery, answer=PatternMapAnswer)
async def pattern_map(call: Call[Any]) -> Any:
    """Return the largest patterns of a version, by default the served one, on a plane.

    With `topics` patterns are put together by their centroids into at most so many, and the figures of each are those
    of all its ratings; with 0 into as many as have a route with 10 ratings for half of the requests.
    """
    found = await overview_of(call, lambda known: known.pattern_map(call.query["version"], call.query["topics"]))
    return {name: getattr(found, name) for name in found.__slots__} | await cost_unit_of(call)


@operations.add("GET", "/v1/dashboard/topic-costs", scope="read", query=TopicsQuery, answer=TopicCostsAnswer)
async def topic_costs(call: Call[Any]) -> Any:
    """Return the costs of the questions of each live pattern; of a large space of its latest trajectories."""
    found = await overview_of(call, lambda known: known.topic_costs(call.query["topics"]))
    return {"topics": [one._asdict() for one in found.topics], "latest": found.latest} | await cost_unit_of(call)


@operations.add("GET", "/v1/dashboard/topics", scope="read", query=TopicDaysQuery, answer=TopicPeriodsAnswer)
async def topics_in_period(call: Call[Any]) -> Any:
    """Return the quality of the live topics in the last days, and its change against those before.

    Each rating counts for the topic nearest to its question; of very many, those of a sample. `route_changes` are
    routes whose quality changed in one topic and not likewise elsewhere, looked for in topics of every size.
    """
    found = await overview_of(call, lambda known: known.topics_in_period(*period_of(call), call.query["topics"]))
    period = found.period
    topics = [
        {
            "pattern": one.pattern, "bad": one.bad, "change": one.change and one.change._asdict(),
            **_means(one.now, one.before), "routes": [{"route": of.route, **_means(*of[1:])} for of in one.routes],
        }
        for one in period.topics
    ]  # fmt: skip
    return {
        "first_day": period.first_day, "last_day": period.last_day, "topics": topics, "sampled": period.sampled,
        "route_changes": [_route_change(one) for one in found.routes], "more_route_changes": found.more,
    }  # fmt: skip


def _means(now: MeanQuality, before: MeanQuality) -> dict[str, Any]:
    known = {name: getattr(now, name) for name in ("rated", "quality", "low", "high")}
    return known | {"before_rated": before.rated, "before_quality": before.quality}


def _route_change(told: ToldTopicRoute) -> dict[str, Any]:
    change = told.change
    names = ("rated", "quality", "before_rated", "before_quality")
    elsewhere = {f"elsewhere_{name}": getattr(change.elsewhere, name) for name in names}
    there = {name: getattr(change.there, name) for name in names}
    return {"route": change.route, "patterns": sorted(change.patterns), "sentence": told.sentence} | there | elsewhere


@operations.add("GET", "/v1/dashboard/memory", scope="read", query=MemoryQuery, answer=MemoryAnswer)
async def memory_graph(call: Call[Any]) -> Any:
    """Return the best-connected part of the memory graph, or what surrounds the nodes with a text."""
    graph, dreams = await overview_of(call, lambda known: (known.memory_graph(call.query["find"]), known.last_dreams()))
    return {field.name: getattr(graph, field.name) for field in fields(graph)} | {"dreams": dreams and asdict(dreams)}
