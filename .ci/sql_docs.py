"""Write docs/sql.md from the comments of a freshly migrated, embedded database: python .ci/sql_docs.py [file]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psycopg

from sona_pg.store.admin.embedded import start_embedded
from sona_pg.store.admin.migrate import upgrade
from sona_pg.store.admin.sql_reference import read_objects, render

PAGE = Path(__file__).parents[1] / "docs" / "sql.md"


def main(page: Path) -> None:
    """Write the reference to ``page``."""
    with tempfile.TemporaryDirectory(prefix="sona-pg-docs-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with start_embedded(home) as server:
            upgrade(server.url)
            with psycopg.connect(server.url) as connection:
                page.write_text(render(read_objects(connection)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE)
