"""What an application asks, a person can ask in the terminal: find, rank, route, record, feedback, watch."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.cli.watch_command import curve, panel, rates_between
from sona_pg.domain.pattern import UNRATED
from sona_pg.errors import InvalidValue, UnknownCandidate
from sona_pg.store.database import Database

DIM = 4


@pytest.fixture
def taught(database_url: str) -> str:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as engine:
        engine.remember(["red", "green"], np.eye(DIM, dtype=np.float32)[:2])
        for row in range(40):
            t = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[row % 2], query=f"question {row % 2}")
            engine.set_trajectory_route(t, "a" if row % 4 < 2 else "b")
            engine.end_trajectory(t, 0.9 if row % 4 < 2 else 0.1)
        engine.force_learn()
    return database_url


def told(url: str, *arguments: str, text: str | None = None) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, [*arguments, "--url", url], input=text, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_neighbours_of_an_embedding_are_found(taught: str) -> None:
    patterns = told(taught, "find", "[1, 0, 0, 0]", "--k", "1")
    assert (patterns[0]["typical_query"], patterns[0]["best_route"]) == ("question 0", "a")
    near = told(
        taught, "find", "-", "--of", "trajectories", "--route", "a", "--min-quality", "0.5", text="[0, 1, 0, 0]\n"
    )
    assert [row["query"] for row in near] == ["question 1"] * 5


def test_a_pattern_without_ratings_has_no_quality(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as engine:
        for _ in range(5):
            t = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[0])
            engine.set_trajectory_route(t, "a")
            engine.end_trajectory(t)
        engine.force_learn()
        (pattern,) = engine.find_patterns(np.eye(DIM, dtype=np.float32)[0])
    assert (pattern.rated, pattern.quality) == (False, UNRATED)
    assert told(database_url, "find", "[1, 0, 0, 0]")[0]["quality"] is None
    (row,) = told(database_url, "patterns")
    assert (row["quality"], row["routes"]["a"]["quality"], row["routes"]["a"]["size"]) == (None, None, 5)
    with psycopg.connect(database_url) as connection:
        ((quality, routes),) = connection.execute("SELECT quality, routes FROM sona.patterns_at('default', 1)")
        assert (quality, routes["a"]["quality"], routes["a"]["size"]) == (None, None, 5)
        ((added,),) = connection.execute("SELECT after FROM sona.diff('default', 0, 1) WHERE part = 'pattern'")
        assert (added["quality"], added["size"]) == (None, 5)


def test_candidates_are_ranked_and_a_route_is_chosen(taught: str) -> None:
    ranked = told(taught, "rank", "[1, 0, 0, 0]")
    assert [row["candidate"] for row in ranked] == ["red", "green"]
    assert 0 <= ranked[0]["confidence"] <= 1
    assert told(taught, "rank", "[1, 0, 0, 0]", "--id", "green")[0]["candidate"] == "green"
    costs = ["--cost", "a=0.5", "--cost", "b=0.1"]
    (decision,) = told(taught, "route", "[1, 0, 0, 0]", "--candidate", "a", "--candidate", "b", *costs)
    assert decision["scores"]["a"] > decision["scores"]["b"]


def test_the_best_route_is_that_of_sql(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as engine:
        for route, quality, times in (("lucky", 1.0, 3), ("often", 0.9, 15)):
            for _ in range(times):
                t = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[0])
                engine.set_trajectory_route(t, route)
                engine.end_trajectory(t, quality)
        engine.force_learn()
    (pattern,) = told(database_url, "find", "[1, 0, 0, 0]", "--k", "1")
    assert pattern["best_route"] == "often"


def test_a_trajectory_is_recorded_and_judged(taught: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.py").write_text("def embed(texts):\n    return [[len(text), 1, 0, 0] for text in texts]\n")
    monkeypatch.chdir(tmp_path)
    (made,) = told(
        taught, "record", "where?", "--route", "a", "--quality", "1", "--label", "user:7", "--model", "models:embed"
    )
    (judged,) = told(taught, "feedback", made["id"], "--quality", "0")
    assert judged["source"] == "user"
    (near,) = told(taught, "find", "[6, 1, 0, 0]", "--of", "trajectories", "--k", "1")
    assert (near["id"], near["query"], near["quality"]) == (made["id"], "where?", 0.0)


def test_a_retraction_names_the_sources_that_there_are(taught: str) -> None:
    (made,) = told(taught, "record", "[6, 1, 0, 0]", "--quality", "1")
    told(taught, "feedback", made["id"], "--quality", "0", "--source", "http")
    done = CliRunner().invoke(app, ["feedback", made["id"], "--retract", "--url", taught])
    assert isinstance(done.exception, InvalidValue)
    assert "expected --source http" in str(done.exception)
    (retracted,) = told(taught, "feedback", made["id"], "--retract", "--source", "http")
    assert retracted["source"] == "http"
    again = CliRunner().invoke(app, ["feedback", made["id"], "--retract", "--source", "http", "--url", taught])
    assert isinstance(again.exception, InvalidValue)
    assert "nobody else has either" in str(again.exception)


@pytest.mark.parametrize("query", ["", "[1, 2", '[1, "x", 2, 3]'])
def test_a_query_that_is_none_is_refused(taught: str, query: str) -> None:
    done = CliRunner().invoke(app, ["find", query, "--url", taught])
    assert isinstance(done.exception, InvalidValue)


def test_a_space_is_watched(taught: str) -> None:
    first, second = told(taught, "watch", "--count", "2", "--every", "0.1")
    assert (first["live_version"], first["trajectories"], first["waiting"], first["rated"]) == (1, 40, 0, 40)
    assert first["quality"] == pytest.approx(0.5)
    assert second["trajectories_a_second"] == 0.0
    database = Database.open(taught)
    try:
        pulse = database.pulse(database.find_space("default"))
    finally:
        database.close()
    console = Console(width=80, record=True)
    console.print(panel("space", pulse, rates_between(pulse, pulse), deque([1.0, 4.0]), deque([0.5])))
    view = console.export_text()
    assert "40 trajectories" in view
    assert "▃█" in view
    assert "1, " in view
    assert curve(deque([0.0])) == ""


def test_a_short_measurement_leaves_nothing_behind(taught: str) -> None:
    rows = told(taught, "bench", "--trajectories", "200", "--dim", "8")
    assert len(rows) == 8
    assert all(row["value"] > 0 for row in rows)
    assert [row["space"] for row in told(taught, "space", "list")] == ["default"]


def test_a_candidate_is_retired_listed_and_restored(taught: str) -> None:
    assert told(taught, "candidates", "retire", "red", "red") == [{"retired": 1}]
    assert [row["candidate"] for row in told(taught, "candidates", "retired")] == ["red"]
    assert [row["candidate"] for row in told(taught, "rank", "[1, 0, 0, 0]")] == ["green"]
    with pytest.raises(UnknownCandidate, match="'blue'"):
        told(taught, "candidates", "restore", "red", "blue")
    assert told(taught, "candidates", "restore", "red", "green") == [{"restored": 1}]
    assert told(taught, "candidates", "retired") == []
    assert [row["candidate"] for row in told(taught, "rank", "[1, 0, 0, 0]")] == ["red", "green"]
