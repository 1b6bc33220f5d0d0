"""Spaces on the command line: made once, and named in what maintenance prints."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.cli.database_commands import _with_name
from sona_pg.errors import SpaceExists


def test_maintenance_names_spaces() -> None:
    action = {"action": "summed", "subject": "space 2", "detail": ""}
    assert _with_name(action, {2: "support"})["subject"] == "space 'support'"
    assert _with_name(action, {})["subject"] == "space 2"


def test_a_space_is_made_once(database_url: str) -> None:
    missing = CliRunner().invoke(app, ["keys", "create", "web", "--url", database_url])
    assert "sona-pg space create NAME" in str(missing.exception)
    words = ["space", "create", "new", "--dim", "3", "--url", database_url]
    assert json.loads(CliRunner().invoke(app, words).stdout) == {"space": "new", "dim": 3}
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert isinstance(again.exception, SpaceExists)
