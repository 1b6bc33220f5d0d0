"""A linear part of the router's kernel: taken where outcomes speak for one, stored, and read again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.errors import LearningError
from sona_pg.learning.routing import router_kernel
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit
from sona_pg.learning.vectors import unit
from tests.learning.routing_kernels import preferring

DIM, ROUTES, TOLD = 384, 4, 3000
CONFIG = RouterConfig(landmarks=512, width=256)
Rows = np.ndarray


def linear_world(n: int) -> tuple[Rows, Rows]:
    """Return queries (n, DIM) and each route's chance of a yes (n, ROUTES), linear in 8 of the coordinates."""
    rng = np.random.default_rng(0)
    effect = rng.standard_normal((8, ROUTES))
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    return unit(x), np.clip(0.5 + 0.09 * x[:, :8] @ effect, 0.02, 0.98)


def crossed_world(n: int) -> tuple[Rows, Rows]:
    """Return the same of chances that depend on whether two coordinates have the same sign."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, DIM)).astype(np.float32)
    x[:, 4:] *= 0.15
    first, second = np.sign(x[:, 0] * x[:, 1]), np.sign(x[:, 2] * x[:, 3])
    return unit(x), 0.5 + 0.4 * np.stack([first, -first, second, -second], axis=1)


def told(x: Rows, chance: Rows, seed: int = 1) -> RouteEvents:
    """Return what a random policy would see."""
    rng = np.random.default_rng(seed)
    route = rng.integers(0, ROUTES, len(x)).astype(np.int32)
    return RouteEvents(x, route, (rng.random(len(x)) < chance[np.arange(len(x)), route]).astype(np.float32))


def taken(state: RouterState, x: Rows, chance: Rows) -> float:
    """Return the mean chance of a yes by the routes that the state expects most of."""
    best = state.predict(x, None, np.arange(ROUTES)).argmax(axis=1)
    return float(chance[np.arange(len(x)), best].mean())


def test_outcomes_linear_in_a_few_of_many_coordinates_are_learned_better_with_a_linear_part() -> None:
    x, chance = linear_world(TOLD + 1000)
    events = told(x[:TOLD], chance[:TOLD])
    state = fit(RouterState.initial(DIM), events, config=CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router_kernel, "FIRST_COMPARED", TOLD + 1)
        without = fit(RouterState.initial(DIM), events, config=CONFIG)
    assert (state.basis.linear, state.basis.width) == (router_kernel.LINEAR, CONFIG.linear_width)
    assert (without.basis.linear, without.basis.width) == (0.0, CONFIG.width)
    gain = taken(state, x[TOLD:], chance[TOLD:]) - chance.mean()
    assert gain > 1.15 * (taken(without, x[TOLD:], chance[TOLD:]) - chance.mean())


def test_outcomes_that_no_linear_part_explains_keep_the_gaussian_kernel() -> None:
    state = fit(RouterState.initial(DIM), told(*crossed_world(TOLD)), config=CONFIG)
    assert state.basis.linear == 0.0


def test_a_likelier_kernel_of_low_rank_queries_is_no_wider() -> None:
    x, chance = linear_world(TOLD)
    x[:, 48:] *= 0.05
    state = fit(RouterState.initial(DIM), told(unit(x), chance), config=CONFIG)
    assert state.basis.width == CONFIG.width


def test_a_comparison_that_the_present_kernel_wins_changes_nothing() -> None:
    x, chance = crossed_world(TOLD)
    early, late = told(x[:1200], chance[:1200]), told(x[1200:], chance[1200:], 2)
    before = fit(RouterState.initial(DIM), early, config=CONFIG)
    compared = fit(before, late, early, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router_kernel, "FIRST_COMPARED", TOLD + 1)
        without = fit(before, late, early, CONFIG)
    assert (before.compared_at, compared.compared_at, without.compared_at) == (1200, TOLD, 1200)
    arrays = without.to_arrays()
    assert [name for name, array in compared.to_arrays().items() if not np.array_equal(array, arrays[name])] == [
        "compared_at"
    ]


def test_a_wide_basis_fits_the_bytes_of_many_routes() -> None:
    config = RouterConfig(landmarks=64, width=16, linear_width=48, gram_bytes=4 * 30 * 33**2)
    x, chance = linear_world(400)
    events = told(x, chance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router_kernel, "FIRST_COMPARED", 1)
        patch.setattr(router_kernel, "_log_evidence", lambda basis, *_: float(basis.width))
        patch.setattr(router_kernel, "LEFT_OUT", 0.0)
        state = fit(RouterState.initial(DIM), events, config=config)
    assert state.basis.width == 48
    more = fit(state, RouteEvents(x[:30], np.arange(30, dtype=np.int32), events.quality[:30]), events, config)
    assert more.basis.width == 32
    assert more.gram.nbytes <= config.gram_bytes


@pytest.fixture
def mixed() -> RouterState:
    x, chance = linear_world(400)
    with preferring(router_kernel.LINEAR):
        return fit(RouterState.initial(DIM), told(x, chance), config=RouterConfig(landmarks=64, width=32))


def test_a_stored_linear_part_is_read_again(mixed: RouterState) -> None:
    again = RouterState.from_arrays(mixed.to_arrays())
    x = linear_world(20)[0]
    assert again.basis.linear == 0.5
    assert np.array_equal(again.predict(x, None, np.arange(ROUTES)), mixed.predict(x, None, np.arange(ROUTES)))


def test_a_release_that_knows_no_linear_part_refuses_it(mixed: RouterState) -> None:
    known = {name: array for name, array in mixed.to_arrays().items() if name != "basis.mixed_length"}
    with pytest.raises(LearningError, match=r"basis\.length"):
        RouterState.from_arrays(known)


def test_a_state_stored_before_there_was_a_linear_part_has_none(mixed: RouterState) -> None:
    plain = replace(mixed, basis=replace(mixed.basis, linear=0.0)).to_arrays()
    stored = {name: array for name, array in plain.items() if name not in ("basis.linear", "compared_at")}
    again = RouterState.from_arrays(stored)
    assert (again.basis.linear, again.compared_at) == (0.0, 0.0)


def test_events_of_a_linear_basis_are_carried_into_a_gaussian_one(mixed: RouterState) -> None:
    """A basis that later events make Gaussian keeps what was learned."""
    x, chance = linear_world(1400)
    with preferring(0.0):
        later = fit(mixed, told(x[400:], chance[400:], 2), told(x[200:400], chance[200:400], 3), CONFIG)
    assert later.basis.linear == 0.0
    assert later.totals[:, 0].sum() == 1400
    assert taken(later, x, chance) > chance.mean() + 0.02
