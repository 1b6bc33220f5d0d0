"""Commands about trajectories that learners have set aside."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from sona_pg.cli.options import Limit, SpaceName, Url, database_at
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.errors import InvalidValue

set_aside_app = typer.Typer(help="Trajectories that cannot be learned from: list or retry them.", no_args_is_help=True)


@set_aside_app.command("list")
def set_aside_list(space: SpaceName = "default", limit: Limit = 50, url: Url = None) -> None:
    """List the trajectories that learners have set aside, newest first, with the reason of each.

    Example: sona-pg set-aside list --space support
    """
    with database_at(url) as database:
        show_rows(
            database.set_aside.listing(database.find_space(space), limit), f"set aside in space {space!r}", ("stored",)
        )


@set_aside_app.command("retry")
def set_aside_retry(
    trajectories: Annotated[
        list[str] | None, typer.Argument(help="Ids of trajectories; by default all of the space.", show_default=False)
    ] = None,
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """Give trajectories back to the next cycle, for instance after an upgrade; it sets them aside again if it must.

    Example: sona-pg set-aside retry --space support
    """
    from sona_pg.domain.ids import uuid7
    from sona_pg.ingest.numbers import random_start

    try:
        ids = [UUID(told) for told in trajectories] if trajectories else None
    except ValueError as exc:
        raise InvalidValue(f"{exc}: expected ids as `sona-pg set-aside list` prints them") from exc
    with database_at(url) as database:
        retried = database.set_aside.retry(database.find_space(space), random_start(), uuid7(), ids)
        show_facts({"retried": retried}, f"space {space!r}")
