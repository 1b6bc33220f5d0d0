"""docs/cli.md has every command, as its help has it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.main import get_command

from sona_pg.cli.commands import HELP, app
from sona_pg.cli.options import complete_space
from sona_pg.cli.reference import markdown

WRITTEN = Path(__file__).parents[2] / "docs" / "cli.md"


def every(command: Any = None, name: str = "") -> dict[str, Any]:
    command = command or get_command(app)
    children = getattr(command, "commands", None)
    if children is None:
        return {name: command}
    return {path: leaf for child in children for path, leaf in every(children[child], f"{name} {child}").items()}


def test_the_reference_is_up_to_date() -> None:
    assert WRITTEN.read_text() == markdown(), "run: python -m sona_pg.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", every())
def test_every_commands_help_has_an_example_that_can_be_parsed(name: str) -> None:
    command = every()[name]
    example = command.help.partition("Example: ")[2].splitlines()[0].partition(" |")[0]
    words = shlex.split(example)
    assert words[: 1 + len(name.split())] == ["sona-pg", *name.split()]
    command.make_context(name, words[1 + len(name.split()) :])


def test_names_of_spaces_are_completed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SONA_PG_URL", raising=False)
    assert complete_space("") == []
    monkeypatch.setenv("SONA_PG_URL", database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at) "
            "VALUES (1, 'support', 8, now()), (2, 'b', 8, now())"
        )
    assert complete_space("su") == ["support"]
    monkeypatch.setenv("SONA_PG_URL", "postgresql://nobody@127.0.0.1:9/x")
    assert complete_space("") == []


def test_every_command_takes_json() -> None:
    assert [
        name for name, command in every().items() if not any("--json" in param.opts for param in command.params)
    ] == []


def test_no_help_has_brackets_that_the_terminal_takes_for_markup() -> None:
    """Rich drops `[demo]` as an unknown style, unless a backslash stands before it."""
    eaten = re.compile(r"(?<!\\)\[[a-z#/@][^\[]*?\]")
    texts = [HELP, *(text for made in every().values() for text in (made.help, *(one.help for one in described(made))))]
    assert [found for text in texts for found in eaten.findall(text)] == []


def described(command: Any) -> list[Any]:
    return [param for param in command.params if getattr(param, "help", None)]
