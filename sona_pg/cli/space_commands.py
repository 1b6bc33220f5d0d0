"""Commands about spaces: list, show, set, rename, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sona_pg.cli.options import Url, database_at
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.errors import ConfigError

space_app = typer.Typer(help="Spaces: list, show, change, rename or remove them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the space.")]


@space_app.command("list")
def space_list(url: Url = None) -> None:
    """List the spaces of the database."""
    with database_at(url) as database:
        show_rows([{"space": space.name, "dim": space.dim} for space in database.list_spaces()], "spaces")


@space_app.command("show")
def space_show(
    name: Name,
    history: Annotated[bool, typer.Option(help="Every change, with the version it holds from.")] = False,
    url: Url = None,
) -> None:
    """Print what a space learns with: the settings that every learner of it uses."""
    with database_at(url) as database:
        space = database.find_space(name)
        if not history:
            show_facts({"space": space.name, "dim": space.dim, **space.settings}, f"space {name!r}")
            return
        rows: list[dict[str, Any]] = []
        before: Mapping[str, Any] = {}
        for version, at, settings in database.settings_history(space):
            changed = {key: value for key, value in settings.items() if before and before[key] != value}
            rows.append({"from_version": version, "set_at": at, "changed": changed})
            before = settings
        show_rows(rows, f"settings of space {name!r}")


@space_app.command("set")
def space_set(
    name: Name,
    settings: Annotated[list[str], typer.Argument(help="What to change, as NAME=VALUE, such as base.rank=16.")],
    url: Url = None,
) -> None:
    """Change what a space learns with, for every learner, from its next version on; print all its settings."""
    from sona_pg.config.space_settings import parsed

    changes = dict(parsed(told) for told in settings)
    with database_at(url) as database:
        show_facts(database.set_settings(database.find_space(name), changes), f"space {name!r}")


@space_app.command("rename")
def space_rename(
    name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")], url: Url = None
) -> None:  # fmt: skip
    """Give a space another name; engines that have it open go on, what opens it next needs the new name."""
    with database_at(url) as database:
        space = database.rename_space(name, new_name)
        show_facts({"space": space.name, "dim": space.dim}, f"space {name!r} renamed")


@space_app.command("remove")
def space_remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it without another question.")] = False,
    url: Url = None,
) -> None:
    """Delete a space with all that was recorded and learned in it; engines that have it open stop recording."""
    if not yes:
        raise ConfigError(f"removing space {name!r} deletes all that was recorded and learned in it: say --yes")
    with database_at(url) as database:
        removed = database.remove_space(name)
        show_facts({table: rows for table, rows in removed.items() if rows}, f"removed space {name!r}")
