"""Entry point of ``sona-pg``: reports a missing extra ``cli``, and renders our errors."""

from __future__ import annotations

import sys

from sona_pg.errors import ConfigError, Conflict, InvalidValue, NotFound, SonaError

FAILED, WRONG_USAGE = 1, 2


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from sona_pg.cli.commands import app
    except ModuleNotFoundError as exc:
        if exc.name not in ("typer", "rich"):
            raise
        print("sona-pg: the command line needs an extra: pip install 'sona-pg[cli]'", file=sys.stderr)
        return WRONG_USAGE
    try:
        app()
    except SonaError as exc:
        print(f"sona-pg: {exc}", file=sys.stderr)
        return exit_status(exc)
    return 0


def exit_status(exc: SonaError) -> int:
    """Return the exit status of an error: wrong arguments and settings differ from failures."""
    usage = isinstance(exc, InvalidValue | ConfigError) and not isinstance(exc, NotFound | Conflict)
    return WRONG_USAGE if usage else FAILED
