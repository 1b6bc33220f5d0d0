"""Handles and ids of open trajectories, and decisions that were overridden."""

from __future__ import annotations

import logging
from uuid import uuid4

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.errors import InvalidValue, TrajectoryError

pytestmark = pytest.mark.no_vectors

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def test_an_id_stands_for_its_handle_until_the_end(engine, database_url):
    by_id = engine.begin_trajectory(np.ones(DIM)).id  # the handle itself is not kept
    by_text = str(engine.begin_trajectory(np.ones(DIM)).id)
    for trajectory in (by_id, by_text):
        engine.add_step(trajectory, np.ones(DIM))
        engine.add_trajectory_context(trajectory, "user:1")
        engine.set_trajectory_parameters(trajectory, {"top_k": 3})
        engine.set_trajectory_route(trajectory, "big")
        engine.end_trajectory(trajectory, quality=0.5)
    engine.flush()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id, route, step_count, context FROM sona.trajectories ORDER BY id").fetchall()
    assert [str(row[0]) for row in rows] == [str(by_id), by_text]
    assert [row[1:] for row in rows] == [("big", 1, ["user:1"])] * 2
    for ended in (by_id, by_text, uuid4()):
        with pytest.raises(TrajectoryError, match="not open in this process"):
            engine.end_trajectory(ended)


def test_neither_a_handle_nor_an_id_is_refused(engine):
    with pytest.raises(InvalidValue, match="expected a handle, or its id"):
        engine.end_trajectory("no id")
    for wrong in (None, 3, b"x"):
        with pytest.raises(TypeError, match="expected a handle, or its id"):
            engine.end_trajectory(wrong)


def test_ids_of_trajectories_that_never_end_are_kept_up_to_a_bound(engine):
    ids = [engine.begin_trajectory(np.ones(DIM)).id for _ in range(4100)]
    assert engine.abandoned_count >= 4
    with pytest.raises(TrajectoryError):
        engine.end_trajectory(ids[0])
    for id_ in ids[-4000:]:
        engine.end_trajectory(id_)


def test_an_overridden_decision_has_no_propensity_and_is_logged(engine, database_url, caplog):
    decision = engine.route(np.ones(DIM), ["small", "big"], costs={"small": 1.0, "big": 2.0})
    other = "big" if decision.route == "small" else "small"
    taken = []
    with caplog.at_level(logging.WARNING, "sona_pg.recorder"):
        for route in (other, decision.route, None, other):
            handle = engine.begin_trajectory(np.ones(DIM), decision=decision)
            if route is not None:
                engine.set_trajectory_route(handle, route)
            engine.end_trajectory(handle, quality=1.0)
            taken.append(handle.id)
    assert engine.overridden_count == 2
    assert [record.getMessage() for record in caplog.records if "not the one that its decision chose" in record.message]
    assert len(caplog.records) == 1
    engine.flush()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT route, propensity IS NULL, cost IS NULL, candidate_set IS NULL FROM sona.trajectories ORDER BY id"
        ).fetchall()
    followed = (decision.route, False, False, False)
    assert rows == [(other, True, True, True), followed, followed, (other, True, True, True)]
    assert engine.force_learn().learned
    assert engine.metrics()["routes"] == {other: 2, decision.route: 2}
