"""Commands that print a view of SQL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from sona_pg.cli.options import Limit, SpaceName, Url, address_of, database_at
from sona_pg.cli.render import show_rows
from sona_pg.config import Environment

MOST_NAMED = 10  # spaces of a note

OF_SERVERS = ("fleet", "cycle_log")  # views that look like a store at rest, if its servers are in other spaces


def _tell_elsewhere(space: str, live: Mapping[str, int]) -> None:
    """Name the spaces with live servers if ``space`` has none; on standard error, for in a pipe rows are JSON."""
    if live and space not in live:
        named = ", ".join(repr(name) for name in list(live)[:MOST_NAMED])
        more = f" and {len(live) - MOST_NAMED} more" if len(live) > MOST_NAMED else ""
        print(
            f"sona-pg: space {space!r} has no live server; spaces with live servers: {named}{more} (--space NAME)",
            file=sys.stderr,
        )


def _view(
    name: str,
    space: str,
    limit: int,
    url: str | None,
    hide: tuple[str, ...] = (),
    keep: Callable[[dict[str, Any]], bool] = lambda row: True,
) -> None:
    from sona_pg.store.database import Database

    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            rows = [row for row in database.read_view(name, database.find_space(space), limit) if keep(row)]
            if name in OF_SERVERS:
                _tell_elsewhere(space, database.overview.live_servers())
        finally:
            database.close()
        show_rows(rows, f"{name.replace('_', ' ')} of space {space!r}", ("space", "space_id", *hide))


def patterns(space: SpaceName = "default", limit: Limit = 20, url: Url = None) -> None:
    """List the learned patterns, largest first: their most typical queries, and how trajectories and routes went.

    The best route is that of the dashboard: of a route that got worse only the ratings since count.

    Example: sona-pg patterns --space support --limit 5
    """
    hidden = (
        "pattern_id",
        "weight",
        "updated_at",
        "typical_query",
        "created_version",
        "updated_version",
        "merged",
    )
    from sona_pg.domain.route_choice import NONE_BEST
    from sona_pg.engine.level_changes import LATELY

    with database_at(url) as database:
        found = database.find_space(space)
        best = database.overview.best_routes(found, LATELY)
        rows = []
        for row in database.read_view("pattern_summary", found, limit):
            known = best.get(row["pattern_id"], NONE_BEST)
            rows.append(row | {"best_route": known.best, "former_best_route": known.former})
        show_rows(rows, f"patterns of space {space!r}", ("space", "space_id", *hidden))


def quality(space: SpaceName = "default", limit: Limit = 50, url: Url = None) -> None:
    """List quality and latency by day and route.

    Example: sona-pg quality --space support
    """
    _view("quality_by_day", space, limit, url, ("low", "high", "small_sample", "p95_latency_us", "as_of"))


def cycles(space: SpaceName = "default", limit: Limit = 20, url: Url = None) -> None:
    """List the learning cycles, latest first.

    Example: sona-pg cycles --limit 5
    """
    _view("cycle_log", space, limit, url, ("detail", "server_id"))


def fleet(
    space: SpaceName = "default",
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended or are gone.")] = False,
    workers: Annotated[
        bool, typer.Option("--workers", help="The workers that are connected to the store instead, of all spaces.")
    ] = False,
    limit: Limit = 50,
    url: Url = None,
) -> None:
    """List the live servers of a space, with the version of each and its lag; or the workers (sona-pg worker).

    Example: sona-pg fleet --all
    """
    if workers:
        with database_at(url) as database:
            show_rows([one._asdict() for one in database.connected_workers()], "workers")
        return
    _view("fleet", space, limit, url, keep=lambda row: every or row["state"] == "live")


def waiting_feedback(space: SpaceName = "default", limit: Limit = 50, url: Url = None) -> None:
    """List feedback without a trajectory, oldest first: it is late, was never recorded, or its id is wrong.

    Example: sona-pg waiting-feedback --space support
    """
    _view("waiting_feedback", space, limit, url)


VIEW_COMMANDS = (patterns, quality, cycles, fleet, waiting_feedback)
