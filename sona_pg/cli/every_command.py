"""What every command has: the option ``--json``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sona_pg.cli.render import force_json

Json = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.", show_default=False)]


def with_common_options(app: typer.Typer) -> None:
    """Give all commands of an application, and of its groups, the common options."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_json(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_common_options(group.typer_instance)


def _with_json(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(*arguments: Any, as_json: bool = False, **options: Any) -> Any:
        force_json(as_json)
        return command(*arguments, **options)

    told = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    call.__signature__ = told.replace(parameters=[*told.parameters.values(), added])  # type: ignore[attr-defined]
    call.__annotations__ = {name: parameter.annotation for name, parameter in told.parameters.items()} | {
        "as_json": Json
    }
    del call.__wrapped__  # whose signature typer would read
    return call
