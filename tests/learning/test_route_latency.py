"""The latency of a route is the mean of those that are known, whatever other outcomes come between."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.domain.state import RouteStatistics
from sona_pg.learning.knowledge import initial_state
from sona_pg.learning.routing.route_latency import PART, RouteLatency, latencies_of, to_arrays

DIM = 8
CONFIG = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False))


def test_unknown_latencies_do_not_weigh_on_the_mean():
    told = [10.0, None, None, 20.0, None, 60.0]
    assert RouteLatency().fold(told) == RouteLatency(pytest.approx(30.0), 3)
    assert RouteLatency().fold([None]) == RouteLatency()


def test_a_latency_that_is_taken_out_leaves_the_mean_of_the_others():
    mean = RouteLatency().fold([10.0, None, 20.0, 60.0])
    assert mean.unfold(60.0) == RouteLatency(pytest.approx(15.0), 2)
    assert mean.unfold(None) == mean
    assert RouteLatency().fold([10.0]).unfold(10.0) == RouteLatency()


def test_a_state_of_an_earlier_release_counts_every_outcome_as_it_did():
    routes = {"b": RouteStatistics(9, 0.5, 0.1, 100.0), "a": RouteStatistics(4, 0.5, 0.1, None)}
    state = dataclasses.replace(initial_state(DIM, CONFIG), routes=routes)
    assert latencies_of(state) == {"b": RouteLatency(100.0, 9), "a": RouteLatency()}
    known = {"b": RouteLatency(100.0, 3), "a": RouteLatency()}
    assert latencies_of(dataclasses.replace(state, arrays=to_arrays(routes, known))) == known
    assert to_arrays({}, {}) == {}


def test_a_space_learns_the_mean_of_known_latencies_and_a_rebuild_the_same(database_url):
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        handles = []
        for latencies in ((0.010, None, None), (None, 0.030, None), (0.080, None)):
            for latency in latencies:
                handle = engine.begin_trajectory(rng.standard_normal(DIM).astype(np.float32))
                engine.set_trajectory_route(handle, "a")
                engine.end_trajectory(handle, 0.5, latency=np.nan if latency is None else latency)
                handles.append(handle)
            engine.force_learn()
        (known,) = engine._session.serving.state.routes.values()
        assert (known.size, known.latency_us) == (8, pytest.approx(40_000.0))
        assert engine._session.serving.state.arrays[PART]["counts"].tolist() == [3]
        assert engine.rebuild().equal
        engine.feedback(handles[6], 0.9)  # revised: its latency counts once
        engine.force_learn()
        (known,) = engine._session.serving.state.routes.values()
        assert (known.size, known.latency_us) == (8, pytest.approx(40_000.0))
        assert engine.rebuild().equal
