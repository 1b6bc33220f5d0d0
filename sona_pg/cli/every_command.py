"""What every command has: the option ``--json``, a help that is folded, and a place among the others."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from sona_pg.cli.render import force_json

Json = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.", show_default=False)]


# Panels of the help, with their commands and groups; others stand below.
PANELS = {
    "Begin": ("demo", "info", "doctor", "db", "space"),
    "Ask and record": ("find", "rank", "route", "why", "record", "feedback", "candidates", "import", "export"),
    "Look": ("watch", "stats", "patterns", "topics", "quality", "cycles", "fleet", "waiting-feedback", "set-aside"),
    "Learn": ("learn", "dream", "worker", "rebuild", "evaluate"),
    "Versions": ("versions", "diff", "stage", "promote", "rollback", "save", "load"),
    "Serve": ("serve", "keys", "mcp"),
    "Keep": ("maintain", "distribute", "roles", "audit", "forget", "dump", "restore", "recall", "bench"),
}


def with_common_options(app: typer.Typer, *, panels: bool = True) -> None:
    """Give all commands of an application, and of its groups, the common options, and order them by panels."""
    places = {name: (panel, place) for panel, names in PANELS.items() for place, name in enumerate(names)}
    for command in app.registered_commands:
        if command.callback is None:
            continue
        name = command.name or command.callback.__name__.replace("_", "-")
        if panels and name in places:
            command.rich_help_panel = places[name][0]
        command.callback = _with_json(command.callback)
        command.name = name
    for group in app.registered_groups:
        if panels and group.name in places:
            group.rich_help_panel = places[group.name][0]
        if group.typer_instance is not None:
            with_common_options(group.typer_instance, panels=False)
    if panels:
        order = list(PANELS)

        def rank(command: CommandInfo) -> tuple[int, int]:
            panel, place = places.get(command.name or "", ("", 0))
            return (order.index(panel) if panel else len(order)), place

        app.registered_commands.sort(key=rank)


def _with_json(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(*arguments: Any, as_json: bool = False, **options: Any) -> Any:
        if as_json:  # else it may stand before the command
            force_json(True)
        return command(*arguments, **options)

    told = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    call.__signature__ = told.replace(parameters=[*told.parameters.values(), added])  # type: ignore[attr-defined]
    call.__annotations__ = {name: parameter.annotation for name, parameter in told.parameters.items()} | {
        "as_json": Json
    }
    del call.__wrapped__  # whose signature typer would read
    paragraphs = re.split(r"\n\n|\n(?=Example: )", inspect.getdoc(command) or "")
    call.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)  # folded by the terminal
    return call
