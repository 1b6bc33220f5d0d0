"""In SQL: quality by parameter, how often candidates were offered, and the reason for an estimate without DR."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, MaintenanceConfig, SonaConfig, SonaEngine

DIM = 4
QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


def test_quality_is_told_by_the_value_of_each_parameter(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "calls", config=QUIET), psycopg.connect(database_url) as connection:
        for turn in range(40):
            hot = turn % 2
            told = {"temperature": 0.9 if hot else 0.1, "top_k": turn}
            connection.execute(
                "SELECT sona.record_trajectory('calls', '[1,0,0,0]'::vector, %s, parameters => %s)",
                (1.0 - hot, json.dumps(told)),
            )
        columns = "parameter, lowest, highest, rated, quality, small_sample"
        asked = f"SELECT {columns} FROM sona.quality_by_parameter('calls', parts => 2)"
        rows = connection.execute(asked).fetchall()
        assert rows[:2] == [("temperature", 0.1, 0.1, 20, 1.0, False), ("temperature", 0.9, 0.9, 20, 0.0, False)]
        assert [(row[0], row[1], row[2]) for row in rows[2:]] == [("top_k", 0, 19), ("top_k", 20, 39)]
        few = connection.execute("SELECT * FROM sona.quality_by_parameter('calls', '2019-01-01', '2019-02-01')")
        assert few.fetchall() == []


def test_candidates_are_counted_where_they_were_offered_and_an_estimate_without_dr_says_why(database_url: str) -> None:
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, "routes", config=QUIET) as engine:
        for turn in range(200):
            x = rng.standard_normal(DIM).astype(np.float32)
            decision = engine.route(x, ["a", "b"] if turn % 2 else ["a", "b", "c"])
            engine.end_trajectory(engine.begin_trajectory(x, decision=decision), float(decision.route == "a"))
        engine.flush()
        with psycopg.connect(database_url) as connection:
            counts = "SELECT candidate_id, offered, taken, quality FROM sona.candidates_offered('routes')"
            told = {row[0]: row[1:] for row in connection.execute(counts)}
            reasons = connection.execute("SELECT policy, dr, refused FROM sona.evaluate_policies('routes')").fetchall()
            mean = connection.execute(
                "SELECT ips, dr FROM sona.evaluate_policies('routes') WHERE policy = 'logged'"
            ).fetchone()
    assert {name: row[0] for name, row in told.items()} == {"a": 200, "b": 200, "c": 100}
    assert sum(row[1] for row in told.values()) == 200
    assert told["a"][2] == pytest.approx(1.0)
    assert mean is not None
    assert mean[0] == mean[1]
    assert {policy for policy, dr, refused in reasons if dr is None and not refused} == set()
    assert any("no dr: its model is the mean of earlier days" in (refused or "") for _, _, refused in reasons)
