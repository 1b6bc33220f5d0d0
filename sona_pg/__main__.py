"""Command line as a module: ``python -m sona_pg`` is ``sona-pg``."""

from __future__ import annotations

import sys

from sona_pg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
