"""The reference of all commands in Markdown, from their help: ``python -m sona_pg.cli.reference > docs/cli.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from sona_pg.cli.commands import app

HEAD = """\
# Command line

Written by `python -m sona_pg.cli.reference > docs/cli.md` from the commands' help; a test compares.

`pip install 'sona-pg[cli]'`. Tables on a terminal, one JSON object a line in a pipe or with `--json`; what does not fit
the terminal's width is named below the table. Every command takes `--url`, else `SONA_PG_URL`, else the embedded
Postgres in `SONA_PG_HOME`. Errors go to standard error in one line. Completion: `sona-pg --install-completion`.

Exit codes: 0 done, 1 an error, 2 wrong usage; a command with others says so.
"""


def markdown() -> str:
    """Return the reference."""
    return "\n".join([HEAD, *_commands(get_command(app), "sona-pg")])


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield from _described(command, name)
        return
    for child in sorted(children):
        yield from _commands(children[child], f"{name} {child}")


def _described(command: Any, name: str) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    named = " ".join(_argument(param) for param in arguments)
    yield f"## {name}\n"
    for paragraph in command.help.strip().split("\n\n"):
        text = " ".join(paragraph.split())
        label, _, example = text.partition("Example: ")
        yield f"```bash\n{example}\n```\n" if not label and example else f"{text}\n"
    yield f"Usage: `{name} [OPTIONS]{' ' + named if named else ''}`\n"
    rows = [_row(param) for param in command.params if param.name not in ("help", "url", "as_json")]
    if rows:
        yield "| | |\n|---|---|"
        yield "\n".join(rows) + "\n"


def _argument(param: Any) -> str:
    told = param.name.upper() + ("…" if param.nargs == -1 or getattr(param, "multiple", False) else "")
    return told if param.required else f"[{told}]"


def _row(param: Any) -> str:
    is_argument = param.param_type_name == "argument"
    names = [param.name.upper()] if is_argument else [*param.opts, *param.secondary_opts]
    given = param.default
    default = "" if given in (None, "", False, ()) or callable(given) else f" Default: {_plain(given)}."
    told = " ".join((param.help or "").split()).replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {told}{'' if told.endswith('.') else '.'}{default} |"


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


if __name__ == "__main__":
    sys.stdout.write(markdown())
