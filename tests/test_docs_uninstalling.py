"""docs/uninstalling.md is true: its statements leave nothing in the database, and a new store can be made there."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import psycopg

from sona_pg import SonaEngine
from sona_pg.config.environment import Environment

TEXT = (Path(__file__).parent.parent / "docs" / "uninstalling.md").read_text(encoding="utf-8")
LEFT = """
    SELECT nspname FROM pg_namespace WHERE nspname ~ 'sona'
    UNION ALL SELECT extname FROM pg_extension WHERE extname = 'vector'
    UNION ALL SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'
"""


def test_the_statements_leave_nothing_and_a_store_can_be_made_again(database_url: str) -> None:
    with SonaEngine(8, database_url, "support") as engine:
        engine.end_trajectory(engine.begin_trajectory([1.0] * 8), 1.0)
    statements = [dedent(code) for code in re.findall(r"^ *```sql\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)]
    assert len(statements) == 2
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            connection.execute(statement)
        assert connection.execute(LEFT).fetchall() == []
    with SonaEngine(8, database_url, "support") as engine:
        assert engine.version == 0


def test_the_folders_are_those_of_the_code() -> None:
    home = str(Environment.read({}).home)
    assert home.replace(str(Path.home()), "~") in TEXT
    for folder in ("spool/", "set-aside/", "served/", "postgres/", "receipt.key"):
        assert f"`{folder}`" in TEXT
