"""Figures come from memory, and the database is asked only for missing ones."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.store.database import Database

pytestmark = pytest.mark.no_vectors

DIM = 8


def without_times(figures: dict[str, Any]) -> dict[str, Any]:
    """Leave out the figures that differ from one reading to the next: ages, and the clock as last measured."""
    return {**figures, "version_age_seconds": 0.0, "server": {**figures["server"], "clock_skew_ms": 0.0}}


def test_the_reference_names_every_figure(database_url: str) -> None:
    def names(told: dict[str, Any]) -> Iterator[str]:
        for name, value in told.items():
            yield name
            if isinstance(value, dict):
                yield from names(value)

    known = set(re.findall(r"\w+", SonaEngine.get_stats.__doc__ or ""))
    with SonaEngine(DIM, database_url) as engine:
        assert set(names(engine.metrics())) <= known


def test_stats_are_the_metrics_as_indented_json(database_url: str) -> None:
    with SonaEngine(DIM, database_url, 'a "space" ä') as engine:
        for turn in range(30):
            t = engine.begin_trajectory(np.ones(DIM, np.float32))
            engine.set_trajectory_route(t, f'route "{turn % 3}"\n')
            engine.end_trajectory(t, 0.5)
        engine.force_learn()
        for fresh in (True, False):
            text = engine.get_stats(fresh=fresh)
            told = json.loads(text)
            assert text == json.dumps(told, indent=2)
            figures = engine.metrics(fresh=fresh)
            assert list(told) == list(figures)
            assert list(told["server"]["writer"]) == list(figures["server"]["writer"])
            assert without_times(told) == without_times(json.loads(json.dumps(figures)))
        assert told["routes"] == {f'route "{turn}"\n': 10 for turn in range(3)}


def test_stats_ask_the_database_once_a_poll_and_count_flushed_records(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    totals = Database.totals

    def counted(self: Database, space: object) -> dict[str, int]:
        asked.append(time.monotonic())
        return totals(self, space)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "totals", counted)
    quiet = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=0.05))
    with SonaEngine(DIM, database_url, config=quiet) as engine:
        assert json.loads(engine.get_stats())["totals"]["trajectories"] == 0
        first = len(asked)
        for _ in range(50):
            engine.get_stats()
        assert len(asked) <= first + 3
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 1.0)
        engine.flush()
        assert json.loads(engine.get_stats())["totals"]["trajectories"] == 1
        with SonaEngine(DIM, database_url) as other:  # changes by others arrive with the follower's polls
            other.end_trajectory(other.begin_trajectory(np.ones(DIM, np.float32)), 1.0)
            other.flush()
        deadline = time.monotonic() + 10
        while json.loads(engine.get_stats())["totals"]["trajectories"] != 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = len(asked)
        assert engine.metrics()["totals"]["trajectories"] == 2
        assert len(asked) > before
