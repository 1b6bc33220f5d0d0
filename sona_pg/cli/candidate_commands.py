"""Commands that retire candidates, restore them, and list the retired ones."""

from __future__ import annotations

from typing import Annotated

import typer

from sona_pg.cli.options import SpaceName, Url, database_at
from sona_pg.cli.render import show_facts, show_rows

candidates_app = typer.Typer(
    help="Candidates that are not to be answered with: retire, restore or list them.", no_args_is_help=True
)

Ids = Annotated[list[str], typer.Argument(help="Ids of stored candidates.")]


@candidates_app.command()
def retire(ids: Ids, space: SpaceName = "default", url: Url = None) -> None:
    """Answer with candidates no more until they are restored, on all servers within about a second.

    What was recorded and learned stays; to remove a person's data see sona-pg forget.

    Example: sona-pg candidates retire "the shop closes at noon" --space support
    """
    with database_at(url) as database:
        changed = database.retirements.retire(database.find_space(space), list(dict.fromkeys(ids)))
        show_facts({"retired": changed}, f"space {space!r}")


@candidates_app.command()
def restore(ids: Ids, space: SpaceName = "default", url: Url = None) -> None:
    """Answer with retired candidates again, as if they had never been retired.

    Example: sona-pg candidates restore "the shop closes at noon" --space support
    """
    with database_at(url) as database:
        changed = database.retirements.restore(database.find_space(space), list(dict.fromkeys(ids)))
        show_facts({"restored": changed}, f"space {space!r}")


@candidates_app.command("retired")
def list_retired(space: SpaceName = "default", url: Url = None) -> None:
    """List the retired candidates, the first retired first.

    Example: sona-pg candidates retired --space support
    """
    with database_at(url) as database:
        found = database.retirements.retired(database.find_space(space))
        rows = [{"candidate": name, "retired_at": at} for name, at in found.items()]
        show_rows(rows, f"retired in space {space!r}")
