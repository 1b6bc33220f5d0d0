"""Figures and health that `sona-pg worker` serves."""

from __future__ import annotations

import urllib.error
import urllib.request

import numpy as np
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli import worker_figures
from sona_pg.cli.figures_port import figures_served
from sona_pg.cli.worker_figures import FIGURES, figure_lines
from sona_pg.store.database import Database
from sona_pg.worker import background
from sona_pg.worker.store_worker import StoreWorker

DIM = 8


def test_a_worker_without_a_cycle_yet_tells_every_figure(database_url: str) -> None:
    """An alert on the last cycle would never fire for a worker that stalls from its beginning."""
    database = Database.open(database_url)
    try:
        lines = list(figure_lines(StoreWorker(database)))
    finally:
        database.close()
    assert {line.split()[0] for line in lines if not line.startswith("#")} == {name for name, *_ in FIGURES}


def test_a_worker_whose_every_space_fails_is_not_healthy(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("permission denied for table state_versions")

    loops = LoopConfig(automatic=False, min_trajectories=5, shortest_interval=0.0)
    with SonaEngine(DIM, database_url, "apart", config=SonaConfig(loops=loops)) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.9)
        engine.flush()
    monkeypatch.setattr(background, "learn", refused)
    database = Database.open(database_url)
    try:
        with SonaEngine(DIM, database_url, "idle", config=SonaConfig(loops=loops)):
            pass
        worker = StoreWorker(database, names=["apart", "idle"])
        with figures_served(lambda: worker_figures.figures(worker), lambda: worker_figures.health(worker), 0) as port:
            health = f"http://127.0.0.1:{port}/health"
            with urllib.request.urlopen(health) as answer:
                assert answer.status == 200
            worker.run_once()
            told = list(figure_lines(worker))
            assert {"sona_worker_failing_spaces 1", "sona_worker_due_spaces 1"} <= set(told)  # one in back-off is due
            assert told[-1].startswith('sona_worker_failing_since_timestamp_seconds{space="apart"} 1')
            assert "space 'apart' fails since 20" in worker_figures.health(worker)[1]
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(health)
    finally:
        database.close()
