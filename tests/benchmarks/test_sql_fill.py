"""Rows inserted by the benchmark of SQL objects are read by the figures, and learned from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import psycopg  # noqa: E402

from benchmarks.server import DIM  # noqa: E402
from benchmarks.sql_fill import ROUTES, AnalyticsFiller  # noqa: E402
from sona_pg import SonaConfig, SonaEngine  # noqa: E402
from sona_pg.config import LoopConfig, MaintenanceConfig  # noqa: E402

CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


def test_figures_and_a_cycle_read_every_row(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "bench", config=CONFIG) as engine:
        ends = AnalyticsFiller(database_url, datetime.now(UTC)).fill(600)
        with psycopg.connect(database_url) as connection:
            told = connection.execute(
                "SELECT kind, count(DISTINCT name), sum(trajectories), sum(facts) FROM sona.figures"
                " WHERE kind IN ('space', 'route', 'label') GROUP BY kind ORDER BY kind"
            ).fetchall()
            (decided,) = connection.execute("SELECT decisions FROM sona.off_policy WHERE policy = 'logged'").fetchone()  # type: ignore[misc]
        assert [row[:3] for row in told] == [("label", 2, 600), ("route", len(ROUTES), 600), ("space", 1, 600)]
        assert told[2][3] == 120
        assert decided == 600
        assert ends[0] < ends[1]
        result = engine.force_learn()
        assert (result.trajectories, result.feedback, result.set_aside) == (600, 120, 0)
