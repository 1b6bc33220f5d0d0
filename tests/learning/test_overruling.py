"""Earlier evidence about a kind of query is forgotten once newer evidence contradicts it, and only then."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit, withdraw

DIM, KINDS = 16, np.eye(16, dtype=np.float32)[:2]
CONFIG = RouterConfig(landmarks=40, width=20)
BEFORE = np.array([[0.9, 0.5], [0.5, 0.9]])  # (kinds, routes) chance of a yes


def events(rng: np.random.Generator, n: int, chance: np.ndarray) -> RouteEvents:
    kind, route = rng.integers(0, 2, n), rng.integers(0, 2, n)
    query = KINDS[kind] + 0.1 * rng.standard_normal((n, DIM)).astype(np.float32)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    quality = rng.random(n) < chance[kind, route]
    return RouteEvents(query, route.astype(np.int32), quality.astype(np.float32))


def learned(seed: int) -> tuple[RouterState, np.random.Generator]:
    """Return a router that has learned ``BEFORE`` from 1,200 events."""
    rng = np.random.default_rng(seed)
    state = fit(RouterState.initial(DIM), events(rng, 600, BEFORE), config=CONFIG)
    for _ in range(6):
        state = fit(state, events(rng, 100, BEFORE), config=CONFIG)
    return state, rng


def test_a_route_that_broke_for_a_kind_of_query_is_learned_anew_and_the_others_stay() -> None:
    state, rng = learned(1)
    known = state.predict(KINDS, None, np.arange(2))
    assert known[0, 0] > 0.75
    broken = np.array([[0.0, 0.5], [0.5, 0.9]])
    for _ in range(2):
        state = fit(state, events(rng, 120, broken), config=CONFIG)
    now = state.predict(KINDS, None, np.arange(2))
    assert now[0, 0] < 0.3  # 300 events said .9, 60 say 0
    assert now[1, 1] > 0.75
    assert np.isfinite(now).all()
    assert np.linalg.eigvalsh(state.gram[0]).min() > -1e-3


def test_the_router_explores_more_where_it_has_forgotten() -> None:
    state, rng = learned(2)
    broken = fit(state, events(rng, 150, np.array([[0.0, 0.5], [0.5, 0.9]])), config=CONFIG)
    assert broken.totals[0, 0] < state.totals[0, 0] - 50
    assert np.allclose(broken.totals[:, 0], broken.gram[:, 0, 0], rtol=1e-3)
    assert (broken.totals[:, 1] <= broken.totals[:, 0] + 1e-6).all()


def test_nothing_is_forgotten_where_nothing_changes() -> None:
    state, rng = learned(3)
    for _ in range(20):
        state = fit(state, events(rng, 60, BEFORE), config=CONFIG)
    assert state.totals[:, 0].sum() == state.folded == 2400


def test_a_basis_that_is_built_anew_does_not_bring_back_what_was_forgotten() -> None:
    state, rng = learned(4)
    state = fit(state, events(rng, 150, np.array([[0.0, 0.5], [0.5, 0.9]])), config=CONFIG)
    forgotten = state.folded - state.totals[:, 0].sum()
    assert forgotten > 50
    everything = events(rng, int(state.folded), BEFORE)
    wider = RouterConfig(landmarks=80, width=40)
    again = fit(state, events(rng, 1400, BEFORE), everything, wider)
    assert again.based_at > state.based_at
    assert again.folded - again.totals[:, 0].sum() > 0.5 * forgotten


def test_what_was_forgotten_counts_again_once_the_events_that_contradict_it_are_taken_back() -> None:
    state, rng = learned(5)
    wrong = events(rng, 150, np.array([[0.0, 0.5], [0.5, 0.9]]))
    told = fit(state, wrong, config=CONFIG)
    assert len(told.forgotten)
    told = RouterState.from_arrays(told.to_arrays())
    back = withdraw(told, wrong)
    assert not len(back.forgotten)
    assert np.abs(back.totals - state.totals).max() < 0.05
    assert np.abs(back.gram - state.gram).max() < 0.05
    assert np.abs(back.predict(KINDS, None, np.arange(2)) - state.predict(KINDS, None, np.arange(2))).max() < 0.05
