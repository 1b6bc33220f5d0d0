"""An export holds what was recorded: imported elsewhere it gives the same outcomes and the same learned state."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.store.database import Database
from sona_pg.transfer import (
    ExportWanted,
    ImportWanted,
    export_candidates,
    export_pairs,
    export_trajectories,
    exporting,
    import_file,
)

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), ingest=IngestConfig(when_full="wait"))
BEGAN = datetime(2026, 10, 5, 12, tzinfo=UTC)
NAMES = ["red", "green", "blue"]
ANSWERS = np.eye(DIM, dtype=np.float32)[:3]


@pytest.fixture
def database(database_url):
    opened = Database.open(database_url)
    yield opened
    opened.close()


def record(engine: SonaEngine, n: int = 60) -> None:
    """Rankings with thumbs and corrections, routed queries with steps, parameters and costs."""
    chance = np.random.default_rng(5)
    engine.remember(NAMES, ANSWERS)
    for row in range(n):
        x = (ANSWERS[row % 3] + 0.3 * chance.normal(size=DIM)).astype(np.float32)
        at = BEGAN + timedelta(seconds=row)
        if row % 2:
            t = engine.begin_trajectory(x, query=f"question {row % 6}", candidates=NAMES, id=f"{row}", started_at=at)
            engine.set_trajectory_route(t, NAMES[(row // 7) % 3])
            engine.end_trajectory(t, latency=0.25)
            wrong = NAMES[(row // 7) % 3] != NAMES[row % 3]
            if wrong and row % 5 == 0:
                engine.feedback(t.id, correction=NAMES[row % 3], sequence=row)
            else:
                engine.feedback(t.id, float(not wrong), sequence=row)
                engine.feedback(t.id, 0.7, source="judge", sequence=row)
            continue
        decision = engine.route(x, ["small", "large"], costs={"small": 1.0, "large": 3.0})
        t = engine.begin_trajectory(x, decision=decision, id=f"{row}", started_at=at)
        engine.add_trajectory_context(t, f"user:{row}")
        engine.set_trajectory_parameters(t, {"top_k": row})
        engine.add_step(t, x, x[:3], reward=0.5)
        engine.end_trajectory(t, row / n, cost=row / 3)
    engine.feedback(t.id, 0.25, source="judge", sequence=100)
    engine.feedback(t.id, source="judge", retract=True, sequence=101)
    engine.flush()


def lines_of(database: Database, name: str, **wanted: Any) -> list[dict[str, Any]]:
    written: list[str] = []
    export_trajectories(database, database.find_space(name), ExportWanted(**wanted), written.append)
    return [json.loads(line) for line in written]


def outcomes(url: str, space_id: int) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        query = "SELECT trajectory_id, quality FROM sona.outcomes WHERE space_id = %s ORDER BY 1"
        return connection.execute(query, [space_id]).fetchall()


def test_an_export_imported_elsewhere_learns_the_same(database, database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 7)
    with SonaEngine(DIM, database_url, "here", config=CONFIG) as engine:
        record(engine)
        engine.force_learn()
        here = database.find_space("here")
        files = [tmp_path / "candidates.jsonl", tmp_path / "trajectories.jsonl"]
        with files[0].open("w") as file:
            assert export_candidates(database, here, file.write) == 3
        with files[1].open("w") as file:
            assert export_trajectories(database, here, ExportWanted(embeddings=True), file.write) == 60
        with SonaEngine(DIM, database_url, "there", config=CONFIG) as other:
            there = database.find_space("there")
            for path in files:
                done = import_file(other, database, there, ImportWanted(path))
                assert done.rejected == 0
                assert not done.ignored_fields
            assert done.recorded == 60
            other.force_learn()
            assert outcomes(database_url, there.space_id) == outcomes(database_url, here.space_id)
            told, again = (lines_of(database, space.name, embeddings=True) for space in (here, there))
            assert [{**row, "version": None} for row in again] == [{**row, "version": None} for row in told]
            asked = np.random.default_rng(6).normal(size=(20, DIM)).astype(np.float32)
            for x in asked:
                first, second = engine.rank(x, ids=NAMES), other.rank(x, ids=NAMES)
                assert list(first.ids) == list(second.ids)
                np.testing.assert_array_equal(first.scores, second.scores)
                np.testing.assert_array_equal(engine.apply_base_lora(0, x), other.apply_base_lora(0, x))
            assert [known.size for known in engine.find_patterns(asked[0], 5)] == [
                known.size for known in other.find_patterns(asked[0], 5)
            ]


def test_an_export_is_bounded_by_times_and_leaves_vectors_out_unless_asked(database, database_url):
    with SonaEngine(DIM, database_url, "here", config=CONFIG) as engine:
        record(engine)
    since, until = BEGAN + timedelta(seconds=10), BEGAN + timedelta(seconds=20)
    rows = lines_of(database, "here", since=since, until=until)
    assert [row["started_at"] for row in rows] == [
        (BEGAN + timedelta(seconds=second)).isoformat() for second in range(10, 20)
    ]
    assert "embedding" not in rows[0]
    assert rows[0].keys() >= {"id", "route", "quality", "cost", "context", "parameters", "decision", "steps"}
    assert rows[1].keys() >= {"query", "route", "latency", "candidates", "feedback"}
    (last,) = lines_of(database, "here", since=BEGAN + timedelta(seconds=59))
    assert [fact.get("retract") for fact in last["feedback"]] == [None, None, True, None]


def test_pairs_set_what_was_refused_against_its_correction_or_against_a_thumb_up(database, database_url):
    shown = [
        ("where?", "red", 0.0, None),
        ("where?", "green", 1.0, None),
        ("where?", "blue", None, "green"),
        ("where?", "red", 0.0, None),  # told before
        ("when?", "red", 1.0, None),
        (None, "red", None, "green"),  # has no text
    ]
    with SonaEngine(DIM, database_url, "here", config=CONFIG) as engine:
        engine.remember(NAMES, ANSWERS)
        for row, (query, route, quality, correction) in enumerate(shown):
            at = BEGAN + timedelta(seconds=row)
            t = engine.begin_trajectory(ANSWERS[0], query=query, candidates=NAMES, id=f"{row}", started_at=at)
            engine.set_trajectory_route(t, route)
            engine.end_trajectory(t)
            engine.feedback(t.id, quality, correction=correction)
    written: list[str] = []
    texts = {"green": "It is green."}
    assert export_pairs(database, database.find_space("here"), ExportWanted(), written.append, texts) == 2
    pairs = [json.loads(line) for line in written]
    assert [(pair["query"], pair["chosen"], pair["rejected"], pair["reason"]) for pair in pairs] == [
        ("where?", "It is green.", "red", "thumbs"),
        ("where?", "It is green.", "blue", "correction"),
    ]
