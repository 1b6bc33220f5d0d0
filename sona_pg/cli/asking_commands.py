"""Commands that ask a space as an application does: find, rank, route; record and judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from sona_pg.cli.options import SpaceName, Url, database_at, engine_on
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.cli.space_commands import imported
from sona_pg.domain.answer import Ranking
from sona_pg.domain.judged import standing
from sona_pg.errors import InvalidValue, UnknownCandidate

if TYPE_CHECKING:
    from sona_pg.domain.answer import Decision
    from sona_pg.domain.route_choice import BestRoutes
    from sona_pg.engine import SonaEngine

Query = Annotated[
    str, typer.Argument(help="Text of the query; or its embedding as a JSON array; or - to read either from input.")
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Embeds the text: MODULE:NAME, a function of a list of texts; else the default of 256 dimensions."
    ),
]
Vector = list[float]


class Found(StrEnum):
    """Kinds of neighbours."""

    patterns = "patterns"
    trajectories = "trajectories"


@contextmanager
def asked_of(told: str, space: str, model: str | None, url: str | None) -> Iterator[tuple[SonaEngine, Any, str | None]]:
    """Yield the engine of a space, the embedding of a query, and its text unless an embedding was given."""
    with engine_on(space, url) as engine:
        engine.refresh()
        text: str | None = sys.stdin.read().strip() if told == "-" else told
        vector = _as_vector(text or "")
        if vector is not None:
            yield engine, vector, None
            return
        if not text:
            raise InvalidValue("the query is empty: expected a text, or a JSON array of numbers")
        yield engine, (imported(model, "--model")([text]) if model else engine.embed([text]))[0], text


def _as_vector(told: str) -> Vector | None:
    if not told.startswith("["):
        return None
    try:
        found = json.loads(told)
    except ValueError as exc:
        raise InvalidValue(f"{told[:40]!r} is no JSON array of numbers: {exc}") from exc
    if not all(isinstance(value, int | float) for value in found):
        raise InvalidValue(f"{told[:40]!r}: expected numbers alone")
    return [float(value) for value in found]


def find(
    query: Query,
    space: SpaceName = "default",
    of: Annotated[Found, typer.Option(help="What to find.")] = Found.patterns,
    k: Annotated[int, typer.Option(help="How many.", min=1)] = 5,
    route: Annotated[str | None, typer.Option(help="Only those of this route.")] = None,
    min_quality: Annotated[float, typer.Option(help="Only those of at least this quality.", min=0, max=1)] = 0.0,
    model: Model = None,
    url: Url = None,
) -> None:
    """Find the patterns, or the recorded trajectories, that are nearest to a query.

    A best route is named once it has 10 ratings; it is one that is offered now, and of one that got worse only the
    ratings since count, as on the dashboard.

    Example: sona-pg find "how do I reset my password" --k 3
    """
    with asked_of(query, space, model, url) as (engine, vector, _):
        rows: list[dict[str, Any]]
        if of is Found.patterns:
            found = engine.find_patterns(vector, k, min_quality=min_quality, route=route)
            from sona_pg.engine.overview import Overview

            best = Overview(engine).best_routes()
            rows = [_pattern(pattern, best.get(pattern.id)) for pattern in found]
        else:
            wanted = min_quality if min_quality > 0 else None
            nearest = engine.search(vector, k, route=route, min_quality=wanted)
            rows = [
                {
                    "similarity": one.similarity, "quality": one.quality, "route": one.route, "query": one.query,
                    "started_at": one.started_at, "id": one.id,
                }
                for one in nearest
            ]  # fmt: skip
        show_rows(rows, f"{of.value} near the query in space {space!r}")


def _pattern(pattern: Any, known: BestRoutes | None) -> dict[str, Any]:
    return {
        "similarity": pattern.similarity, "quality": pattern.quality if pattern.rated else None,
        "size": pattern.size, "kind": str(pattern.kind), "best_route": None if known is None else known.best,
        "typical_query": pattern.typical_queries[0] if pattern.typical_queries else None,
        "id": pattern.id,
    }  # fmt: skip


def rank(
    query: Query,
    space: SpaceName = "default",
    k: Annotated[int, typer.Option(help="How many.", min=1)] = 10,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only these stored candidates; may be repeated.")
    ] = None,
    model: Model = None,
    url: Url = None,
) -> None:
    """Rank the stored candidates of a space for a query, the most likely meant first.

    Example: sona-pg rank "how do I reset my password" --k 3 --space support
    """
    with asked_of(query, space, model, url) as (engine, vector, _):
        try:
            ranking = engine.rank(vector, ids=ids or None, k=k)
        except UnknownCandidate as exc:
            what = f"does not have all of {', '.join(map(repr, ids[:5]))}" if ids else "has no candidates"
            raise UnknownCandidate(
                f"space {space!r} {what}: store candidates first, by `sona-pg import` for instance"
            ) from exc
        scores = ranking.scores.tolist()
        rows = [
            {"place": place, "candidate": name, "score": score, "confidence": ranking.confidence, "fit": ranking.fit}
            for place, (name, score) in enumerate(zip(ranking.ids, scores, strict=True), 1)
        ]
        title = f"ranking by version {ranking.version} of space {space!r}{_believed(ranking)}"
        show_rows(rows, title, hide=("confidence", "fit"))


def _believed(ranking: Ranking) -> str:
    """Return how sure a ranking is, for a title; in JSON each row has ``confidence`` and ``fit``."""
    told = [("first right", ranking.confidence), ("any fits", ranking.fit)]
    return "".join(f", {what}: {100 * value:.0f} %" for what, value in told if value is not None)


Candidates = Annotated[list[str], typer.Option("--candidate", help="A route to choose from; may be repeated.")]


def route(
    query: Query,
    candidates: Candidates,
    space: SpaceName = "default",
    cost: Annotated[list[str] | None, typer.Option(help="Estimated cost of a route, as ROUTE=NUMBER.")] = None,
    budget: Annotated[float | None, typer.Option(help="Mean cost of a decision to keep within.")] = None,
    model: Model = None,
    url: Url = None,
) -> None:
    """Choose a route for a query as a server would; nothing is recorded.

    Example: sona-pg route "prove that 2 is prime" --candidate small --candidate large --cost large=0.6 --cost small=0.1
    """
    with asked_of(query, space, model, url) as (engine, vector, text):
        decision = engine.route(vector, candidates, query=text, costs=costs_of(cost), budget=budget)
        unit = {"cost_unit": engine.config.costs.unit} if engine.config.costs.unit else {}
        show_facts(_decision(decision) | unit, f"decision of version {decision.version} of space {space!r}")


def _decision(decision: Decision) -> dict[str, Any]:
    told = decision.as_dict()
    return {name: told[name] for name in ("route", "propensity", "scores", "cost", "reason", "version")}


def record(
    query: Query,
    space: SpaceName = "default",
    route: Annotated[str | None, typer.Option(help="The route that was taken.")] = None,
    quality: Annotated[float | None, typer.Option(help="How good it was, from 0 to 1.", min=0, max=1)] = None,
    latency: Annotated[float | None, typer.Option(help="Seconds that it took.", min=0)] = None,
    cost: Annotated[float | None, typer.Option(help="What it cost.", min=0)] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label of its context, such as user:7; may be repeated.")
    ] = None,
    model: Model = None,
    url: Url = None,
) -> None:
    """Record one trajectory and print its id; for many, use import.

    Example: sona-pg record "how do I reset my password" --route faq --quality 1 --label user:7
    """
    with asked_of(query, space, model, url) as (engine, vector, text):
        handle = engine.begin_trajectory(vector, query=text)
        for told in label or ():
            engine.add_trajectory_context(handle, told)
        if route is not None:
            engine.set_trajectory_route(handle, route)
        engine.end_trajectory(handle, quality, latency=latency, cost=cost)
        engine.flush()
        show_facts({"id": handle.id, "space": space}, "recorded")


def feedback(
    trajectory: Annotated[str, typer.Argument(help="Id of the trajectory.")],
    space: SpaceName = "default",
    quality: Annotated[float | None, typer.Option(help="How good it was, from 0 to 1.", min=0, max=1)] = None,
    correction: Annotated[str | None, typer.Option(help="The candidate that would have been right.")] = None,
    cost: Annotated[float | None, typer.Option(help="What it really cost, known later.", min=0)] = None,
    retract: Annotated[bool, typer.Option("--retract", help="Take back what this source has said.")] = False,
    source: Annotated[str, typer.Option(help="Name of the source.")] = "user",
    url: Url = None,
) -> None:
    """Record facts about a trajectory: its quality, a correction, its cost; or a retraction of these.

    Example: sona-pg feedback 01a201cc-93ea-76e6-b259-0c736d53debe --quality 0
    """
    if retract is any(value is not None for value in (quality, correction, cost)):
        raise InvalidValue("give one or more of --quality, --correction and --cost, or --retract alone")
    try:
        id_ = UUID(trajectory)
    except ValueError as exc:
        raise InvalidValue(
            f"{trajectory!r} is no id of a trajectory: expected the UUID that `sona-pg record` printed"
        ) from exc
    if retract:
        _require_said(space, id_, source, url)
    with engine_on(space, url) as engine:
        sequence = engine.feedback(id_, quality, correction=correction, cost=cost, retract=retract, source=source)
        engine.flush()
        show_facts({"trajectory": trajectory, "source": source, "sequence": sequence}, "recorded")


def _require_said(space: str, trajectory: UUID, source: str, url: str | None) -> None:
    """Refuse a retraction of a source that has said nothing of a trajectory, or has taken it back."""
    with database_at(url) as database:
        known = database.exports.recorded(database.find_space(space), [trajectory]).get(trajectory)
    if known is None:
        raise InvalidValue(f"space {space!r} has no trajectory {trajectory}")
    said = list(standing(known.facts))
    if source not in said:
        there = f"expected --source {' or '.join(said)}" if said else "nobody else has either"
        raise InvalidValue(f"{source!r} has said nothing of {trajectory} that could be taken back: {there}")


def costs_of(told: Sequence[str] | None) -> dict[str, float] | None:
    """Return the costs of routes, each told as ROUTE=NUMBER; None without any."""
    costs = {}
    for entry in told or ():
        name, _, value = entry.rpartition("=")
        try:
            costs[name] = float(value)
        except ValueError as exc:
            raise InvalidValue(f"--cost {entry}: expected ROUTE=NUMBER, such as large-model=0.6") from exc
    return costs or None


ASKING_COMMANDS = (find, rank, route, record, feedback)
