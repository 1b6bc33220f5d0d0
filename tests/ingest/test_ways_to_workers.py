"""Where a space's batches are written, as the store is distributed and spaces come and go."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.ingest import own_worker

CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


def test_a_store_that_is_distributed_later_is_noticed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bool] = []
    monkeypatch.setattr(own_worker, "SPREAD_MEANWHILE", 0.0)
    monkeypatch.setattr(own_worker, "has_citus", lambda raw: looked.append(True))
    with SonaEngine(4, database_url, "s", config=CONFIG) as engine:
        for _ in range(3):
            engine.end_trajectory(engine.begin_trajectory(np.ones(4, np.float32)), 0.5)
            engine.flush()
    assert len(looked) >= 3


def test_nothing_is_kept_of_spaces_that_are_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[own_worker.OwnWorkers] = []
    looked = own_worker.OwnWorkers._look
    monkeypatch.setattr(own_worker, "has_citus", lambda raw: True)
    monkeypatch.setattr(own_worker.OwnWorkers, "_read", lambda self, raw, space_id: None)

    def look(self: own_worker.OwnWorkers, *arguments: object) -> object:
        known.append(self)
        return looked(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(own_worker.OwnWorkers, "_look", look)
    with SonaEngine(4, database_url, "s", config=CONFIG) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(4, np.float32)), 0.5)
        engine.flush()
        assert len(known[0]._without) == 1
    assert known[0]._without == known[0]._ways == {}
