"""Commands as a user types them."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from sona_pg.cli.commands import app


def run(*words: str) -> Result:
    """Run a command in this process; its exit code and output are in the result."""
    return CliRunner().invoke(app, words)
