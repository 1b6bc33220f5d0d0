"""Topics put together, as the command line lists them."""

from __future__ import annotations

import json

import numpy as np
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.config import PatternConfig

DIM, KINDS = 16, 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), patterns=PatternConfig(clusters=KINDS, min_size=1))


def test_coarser_topics_count_all_ratings_of_what_they_put_together(database_url: str) -> None:
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        for row in range(8 * KINDS):
            x = np.eye(DIM, dtype=np.float32)[row % KINDS] + np.float32(0.01) * rng.standard_normal(DIM)
            trajectory = engine.begin_trajectory(x.astype(np.float32), query=f"question {row % KINDS}")
            engine.set_trajectory_route(trajectory, "good")
            engine.end_trajectory(trajectory, 1.0)
        engine.force_learn()
        known = len(engine.find_patterns(x.astype(np.float32), 100))
    done = CliRunner().invoke(app, ["topics", "list", "--topics", "3", "--url", database_url], catch_exceptions=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3 < known
    assert sum(row["patterns"] for row in rows) == known
    assert (sum(row["size"] for row in rows), sum(row["rated"] for row in rows)) == (8 * KINDS, 8 * KINDS)
    assert {row["best_route"] for row in rows} == {"good"}
