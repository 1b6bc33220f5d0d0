"""Entry point of ``sona-pg``: reports a missing extra ``cli``, and renders our errors."""

from __future__ import annotations

import sys

from sona_pg.errors import SonaError


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from sona_pg.cli.commands import app
    except ModuleNotFoundError as exc:
        if exc.name not in ("typer", "rich"):
            raise
        print("sona-pg: the command line needs an extra: pip install 'sona-pg[cli]'", file=sys.stderr)
        return 2
    try:
        app()
    except SonaError as exc:
        print(f"sona-pg: {exc}", file=sys.stderr)
        return 1
    return 0
