"""docs/sql.md equals the comments in the database, and every example runs and answers on a space that has learned;
so does every panel of the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.store.admin.sql_reference import HEAD, SqlObject, read_objects, render
from sona_pg.store.database import Database

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
DOCKER = PAGE.parents[1] / "docker"
MACROS = {
    "$__timeFrom()": "(now() - interval '30 days')", "$__timeTo()": "now()",
    "$__timeFilter(started_at)": "started_at > now() - interval '30 days'",
}  # fmt: skip
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
# Nothing of the kind exists in a space of a few rows without sessions, or it is a matter of time.
MAY_BE_EMPTY = {
    "change_parts", "communities", "diff", "dream_edges", "erasure_log", "failed_cycles", "forgetting_by_task",
    "graph_hubs", "hierarchy", "hubs", "imported", "nearest_nodes", "neighborhood", "neighbors", "next_patterns",
    "pattern_seasons", "quality_by_parameter", "quality_changes", "route_changes", "touched_days", "waiting_feedback",
}  # fmt: skip


@pytest.fixture
def support(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a store whose space 1, ``support`` of three dimensions, has decided, judged and learned."""
    rng = np.random.default_rng(0)
    with SonaEngine(3, database_url, "support", config=CONFIG) as engine:
        engine.set_budget(1.0, "day")
        engine.remember(["small", "large"], np.eye(3)[:2])
        for row in range(120):
            x = np.eye(3)[row % 3] + 0.05 * rng.standard_normal(3)
            decision = engine.route(x, ["small", "large"])
            t = engine.begin_trajectory(x, query=f"question {row}", decision=decision)
            for label in (f"user:{row % 2}", "beta"):
                engine.add_trajectory_context(t, label)
            engine.end_trajectory(t, 0.9 if decision.route == "large" else 0.3)
            if row % 4 == 0:
                engine.feedback(t, 1.0)
            if row in (59, 119):
                engine.force_learn()
                engine.refresh()
        engine.name_topic(engine.find_patterns(np.eye(3)[0], 1)[0].id, "First questions")
    database = Database.open(database_url)
    database.sum_up()
    database.close()
    with psycopg.connect(database_url) as connection:
        yield connection


def test_the_page_equals_the_comments(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert PAGE.read_text() == render(read_objects(connection)), "run make docs-sql"


def test_every_view_and_function_is_told_with_an_example(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        objects = read_objects(connection)
    assert [known.name for known in objects if not known.text] == []
    silent = [known.name for known in objects if known.kind != "table" and not known.example]
    assert silent == []


def test_every_view_shows_the_space(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        views = [known for known in read_objects(connection) if known.kind == "view"]
    assert [known.name for known in views if not {"space", "space_id"} <= set(known.columns)] == []


def test_every_example_runs(support: psycopg.Connection) -> None:
    told = [known for known in read_objects(support) if known.kind != "table"]
    empty = {known.name for known in told if not answer(support, known)}
    assert empty <= MAY_BE_EMPTY


def test_a_stored_embedding_is_searched_as_the_head_of_the_page_shows(support: psycopg.Connection) -> None:
    (query,) = re.findall(r"^```sql\n(.*?)^```$", HEAD, re.MULTILINE | re.DOTALL)
    found = support.execute(query.encode()).fetchall()
    assert len(found) == 3
    assert found[0] == (pytest.approx(1.0, abs=1e-3), "question 119")


def test_every_panel_of_the_dashboard_answers(support: psycopg.Connection) -> None:
    dashboard = json.loads((DOCKER / "grafana" / "dashboards" / "sona.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    (variable,) = dashboard["templating"]["list"]
    assert support.execute(variable["query"].encode()).fetchall() == [("support",)]
    empty = set()
    for panel in panels:
        (target,) = panel["targets"]
        query = target["rawSql"].replace("$space", "support")
        for macro, meaning in MACROS.items():
            query = query.replace(macro, meaning)
        if not support.execute(query.encode()).fetchall():
            empty.add(panel["title"])
    assert empty <= {"Servers", "Learning curve"}  # the engine is closed; few decisions by one version


def test_the_compose_files_name_no_registry() -> None:
    images = [
        line.split("image:")[1].strip()
        for path in DOCKER.glob("compose*.yaml")
        for line in path.read_text().splitlines()
        if line.strip().startswith("image:")
    ]
    assert len(images) == 2
    assert not [image for image in images if "." in image.split("/")[0]]


def answer(connection: psycopg.Connection, known: SqlObject) -> list[tuple]:
    """Run the example of an object, and undo it."""
    try:
        return connection.execute(known.example.encode()).fetchall()
    finally:
        connection.rollback()
