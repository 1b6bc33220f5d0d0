"""Operations of the dashboard: how a space goes, for people who look at it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from sona_pg.domain.judged import standing
from sona_pg.domain.leaderboard import ORDERS
from sona_pg.domain.overview_figures import WantedFacts
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.engine.leaderboards import Wanted
from sona_pg.engine.overview import Overview
from sona_pg.limits import LONGEST_ID, MOST_INT8
from sona_pg.service.dashboard_answers import (
    ChangeReasonsAnswer,
    ChangesAnswer,
    ComparedSpacesAnswer,
    CyclesAnswer,
    FiguresAnswer,
    FleetAnswer,
    LearningCurveAnswer,
    QualityAnswer,
    RoutesAnswer,
)
from sona_pg.service.dashboard_reads import LONGEST_FIND, DaysQuery, cost_unit_of, overview_of, period_of
from sona_pg.service.map_answers import LabelsAnswer
from sona_pg.service.operations import Call, Operations
from sona_pg.service.request_answers import (
    AnswersAnswer,
    FactsAnswer,
    FoundCandidatesAnswer,
    LearnedFactsAnswer,
    RequestsAnswer,
)
from sona_pg.service.wire_vectors import Asked, vector_of

operations = Operations("dashboard")

LONGEST_ROUTE = 1000
MOST_COMPARED = 24  # versions of one request


class RoutesQuery(DaysQuery):
    """How far back to look, a part of the routes' names, and the order of which the first 50 are wanted."""

    find: Annotated[str, Field(max_length=LONGEST_FIND)] = ""
    order: Annotated[str, Field(pattern=f"^({'|'.join(ORDERS)})$")] | None = None
    descending: bool = True


class RouteQuery(DaysQuery):
    """How far back to look, and at which route."""

    route: Annotated[str, Field(min_length=1, max_length=LONGEST_ROUTE)]


class ChangeQuery(DaysQuery):
    """Which change, of how far back."""

    day: date


class LimitQuery(BaseModel):
    """How many rows."""

    limit: Annotated[int, Field(ge=1, le=200)] = 30


class FeedbackQuery(LimitQuery):
    """How many facts, recorded when, about questions asked when, by whom, and whether only those that call one bad."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None  # without it
    bad: bool = False
    source: Annotated[str, Field(min_length=1, max_length=LONGEST_ID)] | None = None
    asked_since: AwareDatetime | None = None
    asked_until: AwareDatetime | None = None  # without it
    standing: bool = False  # ratings and corrections alone that count now


class FindQuery(BaseModel):
    """The id of an imported row or of a trajectory, or a part of the id or text of a candidate."""

    find: Annotated[str, Field(min_length=1, max_length=LONGEST_FIND)]


class AnswersBody(Asked):
    """A question, and the versions to ask."""

    versions: Annotated[list[Annotated[int, Field(ge=0, le=MOST_INT8)]], Field(max_length=MOST_COMPARED)] = Field(
        default_factory=list
    )
    k: Annotated[int, Field(ge=1, le=50)] = 5


class FactsBody(Asked):
    """A question, and how many of the nearest trajectories to look at."""

    k: Annotated[int, Field(ge=1, le=200)] = 40


@operations.add("GET", "/v1/dashboard/quality", scope="read", query=DaysQuery, answer=QualityAnswer)
async def quality(call: Call[Any]) -> Any:
    """Return the quality over time; of more than 100,000 trajectories it is estimated from a sample."""
    found = await overview_of(call, lambda known: known.quality_over_time(*period_of(call)))
    points = [{"start": one.start, "end": one.end, **one.mean._asdict()} for one in found.points]
    return {"points": points, "sampled": found.sampled}


@operations.add("GET", "/v1/dashboard/changes", scope="read", query=DaysQuery, answer=ChangesAnswer)
async def quality_changes(call: Call[Any]) -> Any:
    """Return the days of the last ones on which quality changed beyond chance, from the daily figures.

    Where there is none, the latest one of as many days before them. ``routes``: since when the quality of single ones
    is another, and not as that of the others. ``notes``: how large a fall could hide, and weeks that were worse than
    the days around them.
    """
    found = await overview_of(call, lambda known: known.changes(*period_of(call)))
    earlier = await overview_of(call, lambda known: known.earlier_change(*period_of(call))) if not found else None
    told = [{**one.change._asdict(), "sentence": one.sentence} for one in (*found, *([earlier] if earlier else []))]
    routes = await overview_of(call, lambda known: known.route_changes(*period_of(call), beside=found))
    notes = await overview_of(call, lambda known: known.hidden_changes(*period_of(call), found, routes))
    return {
        "changes": told[: len(found)], "earlier": told[0] if earlier else None,
        "routes": [{**one.change._asdict(), "sentence": one.sentence} for one in routes], "notes": notes,
    }  # fmt: skip


@operations.add("GET", "/v1/dashboard/change", scope="read", query=ChangeQuery, answer=ChangeReasonsAnswer)
async def change_reasons(call: Call[Any]) -> Any:
    """Return one of these changes with what it came with: routes, topics, labels, users, versions and events."""
    day = call.query["day"]
    found = await overview_of(call, lambda known: known.explained_change(day, *period_of(call)))
    names = ("sentence", "reasons", "named", "parts", "events")
    return found.change._asdict() | {name: getattr(found, name) for name in names}


@operations.add("GET", "/v1/dashboard/learning", scope="read", answer=LearningCurveAnswer)
async def learning_curve(call: Call[Any]) -> Any:
    """Return the quality of what each version decided, as in SQL `sona.learning_curve`, from the daily figures."""
    names = ("version", "origin", "made_at", "learned", "first_day", "last_day")
    found = await overview_of(call, Overview.quality_by_version)
    points = [{**{name: getattr(one, name) for name in names}, **one.mean._asdict()} for one in found.points]
    told = {"points": points, "undecided": found.undecided._asdict(), "missing_days": found.missing_days}
    return told | {"events": await overview_of(call, Overview.events)}


@operations.add("GET", "/v1/dashboard/figures", scope="read", query=DaysQuery, answer=FiguresAnswer)
async def period_figures(call: Call[Any]) -> Any:
    """Return quality and spending of the last days, from the daily figures, and the change against those before.

    Where all trajectories are older, as after an import, the period ends with the newest.
    """
    found = await overview_of(call, lambda known: known.figures(*period_of(call)))
    names = ("first_day", "last_day", "routes", "days", "as_of", "missing_days", "feedback")
    sums = {
        name: None if (one := getattr(found, name)) is None else one._asdict()
        for name in ("now", "before", "change", "without_chat")
    }
    ends = found.since_start
    told = ends and {
        "days": ends.days, "first": ends.first._asdict(), "last": ends.last._asdict(),
        "change": ends.change and ends.change._asdict(),
    }  # fmt: skip
    lists = {name: [one._asdict() for one in getattr(found, name)] for name in ("prices", "traffic")}
    return (
        {name: getattr(found, name) for name in names} | sums | {"since_start": told} | lists | await cost_unit_of(call)
    )


@operations.add("GET", "/v1/dashboard/routes", scope="read", query=RoutesQuery, answer=RoutesAnswer)
async def route_leaderboard(call: Call[Any]) -> Any:
    """Return the routes taken most often in the last days, best first, with quality, median latency and mean cost.

    They are those of the daily figures, as in SQL ``sona.routes_between``; the quality on like questions, which orders
    them, is that of ``sona.routes_on_like_questions``. With ``order`` the first of all routes by that figure, those
    without it last; of more than 50,000 routes, of those taken most often and those rated bad. ``changed``: as in
    ``sona.route_changes``.
    """
    days, until = period_of(call)
    wanted = Wanted(*(call.query[name] for name in ("find", "order", "descending")))
    found = await overview_of(call, lambda known: known.leaderboard(days, wanted, until))
    return found._asdict() | await cost_unit_of(call)


@operations.add("GET", "/v1/dashboard/labels", scope="read", query=DaysQuery, answer=LabelsAnswer)
async def quality_by_label(call: Call[Any]) -> Any:
    """Return the quality by label in the last days, and users who gave much of what was rated down or rated all good.

    As in SQL `sona.quality_by_label`.
    """
    found = await overview_of(call, lambda known: known.labels(*period_of(call)))
    rows = {name: [one._asdict() for one in getattr(found, name)] for name in ("labels", "heavy_users", "always_good")}
    without = found.without_always_good
    days = {"first_day": found.first_day, "last_day": found.last_day}
    return days | rows | {"without_always_good": without and without._asdict()}


@operations.add("GET", "/v1/dashboard/spaces", scope="read", query=DaysQuery, answer=ComparedSpacesAnswer)
async def spaces_in_period(call: Call[Any]) -> Any:
    """Return requests and quality of the spaces in the last days of this one; with a key, of its own space alone.

    They are those of the daily figures; of more than 20 spaces those with most trajectories.
    """
    only = call.caller.space_id
    found = await overview_of(call, lambda known: known.compared_spaces(*period_of(call), only))
    told = [{"space": one.space, "missing_days": one.missing_days, **one.sums._asdict()} for one in found.spaces]
    return found._asdict() | {"spaces": told}


@operations.add("GET", "/v1/dashboard/fleet", scope="read", query=LimitQuery, answer=FleetAnswer)
async def fleet(call: Call[Any]) -> Any:
    """Return whether the space learns, and its servers."""
    return await overview_of(call, lambda known: known.fleet(call.query["limit"]))


@operations.add("GET", "/v1/dashboard/cycles", scope="read", query=LimitQuery, answer=CyclesAnswer)
async def cycles(call: Call[Any]) -> Any:
    """Return the latest cycles of learning, newest first."""
    return {"cycles": await overview_of(call, lambda known: known.cycles(call.query["limit"]))}


@operations.add("GET", "/v1/dashboard/feedback", scope="read", query=FeedbackQuery, answer=FactsAnswer)
async def latest_feedback(call: Call[Any]) -> Any:
    """Return the latest facts about the newest trajectories; imported ones count as recorded when they were imported.

    Those about the newest 500, or, of a time, of bad answers or of one source alone, about the 10,000 that were asked
    last until then.
    """
    limit, names = call.query["limit"], WantedFacts.__slots__
    wanted = WantedFacts(**{name: call.query[name] for name in names})
    return {"facts": await overview_of(call, lambda known: known.latest_feedback(limit, wanted))}


@operations.add("GET", "/v1/dashboard/requests", scope="read", query=FindQuery, answer=RequestsAnswer)
async def found_requests(call: Call[Any]) -> Any:
    """Return the requests that have an id, or were imported of a row that had it in its file."""
    found = await overview_of(call, lambda known: known.requests(call.query["find"]))
    return {"requests": [_request(one) for one in found]} | await cost_unit_of(call)


@operations.add("GET", "/v1/dashboard/rated-bad", scope="read", query=RouteQuery, answer=RequestsAnswer)
async def rated_bad(call: Call[Any]) -> Any:
    """Return the latest requests of a route in the last days that were rated bad, as topics count them.

    Of very many requests the newest are looked at.
    """
    found = await overview_of(call, lambda known: known.rated_bad(call.query["route"], *period_of(call)))
    return {"requests": [_request(one) for one in found]} | await cost_unit_of(call)


@operations.add("POST", "/v1/dashboard/answers", scope="read", body=AnswersBody, answer=AnswersAnswer)
async def answers(call: Call[AnswersBody]) -> Any:
    """Return what is answered to a question now, and what versions answer with the candidates of their time."""
    body = call.body
    x = await vector_of(call, body)
    found = await overview_of(call, lambda known: known.answers(x, body.versions, body.k))
    return found._asdict() | {"first": found.first and found.first._asdict()}


@operations.add("POST", "/v1/dashboard/facts", scope="read", body=FactsBody, answer=LearnedFactsAnswer)
async def facts_near(call: Call[FactsBody]) -> Any:
    """Return judged trajectories like a question, with the version that has learned each."""
    x = await vector_of(call, call.body)
    return {"facts": await overview_of(call, lambda known: known.facts_near(x, call.body.k))}


@operations.add(
    "GET", "/v1/dashboard/candidates", scope="read", query=FindQuery, answer=FoundCandidatesAnswer, waits=True
)
async def find_candidates(call: Call[Any]) -> Any:
    """Find stored candidates by a part of their id or text, the retired ones as well."""
    found = await overview_of(call, lambda known: known.candidates_with(call.query["find"]))
    return {"candidates": [one._asdict() for one in found.candidates], "all": found.all}


def _request(stored: StoredTrajectory) -> dict[str, Any]:
    last = standing(stored.facts)
    return {
        "trajectory": stored.id, "imported_id": stored.imported_id, "query": stored.query, "route": stored.route,
        "quality": stored.outcome.quality, "cost": stored.outcome.paid, "context": stored.context,
        "latency": None if stored.latency_us is None else stored.latency_us / 1e6,
        "feedback": [
            {"source": fact.source, "quality": fact.quality, "correction": fact.correction, "paid": fact.paid,
             "stands": last.get(fact.source) is fact}
            for fact in stored.facts
        ],
    }  # fmt: skip
