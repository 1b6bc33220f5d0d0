"""Command that explains an answer."""

from __future__ import annotations

from typing import Annotated

import typer

from sona_pg.cli.asking_commands import Model, Query, asked_of
from sona_pg.cli.options import SpaceName, Url
from sona_pg.cli.render import show_facts, show_rows, wants_json


def why(
    query: Query,
    space: SpaceName = "default",
    candidate: Annotated[str | None, typer.Option(help="Explain the score of this candidate.")] = None,
    route: Annotated[str | None, typer.Option(help="Explain the expected quality of this route.")] = None,
    k: Annotated[int, typer.Option(help="How many facts to print.", min=1)] = 5,
    near: Annotated[int, typer.Option(help="How many of the nearest to try.", min=1)] = 16,
    seconds: Annotated[float, typer.Option(help="After which no other one is tried.", min=0)] = 20.0,
    model: Model = None,
    url: Url = None,
) -> None:
    """Print the recorded trajectories that moved an answer most: what it would be without each of them.

    Without --candidate or --route, the best candidate is explained.

    Example: sona-pg why "where is my parcel" --space support --route small
    """
    with asked_of(query, space, model, url) as (engine, vector, _):
        if candidate is None and route is None:
            candidate = engine.rank(vector, k=1).ids[0]
        found = engine.why(vector, candidate=candidate, route=route, k=k, near=near, seconds=seconds)
    if wants_json():
        show_facts(found.as_dict(), "why")
        return
    rows = [{"effect": one.effect, "similarity": one.similarity, "quality": one.quality, "route": one.route,
             "query": one.query, "trajectory": one.trajectory} for one in found.influences]  # fmt: skip
    tried = f"{found.tried} of {found.near} nearest facts tried"
    show_rows(rows, f"{found.kind} {found.name!r}: {found.value:.4f} at version {found.version}; {tried}")
