"""Earlier evidence about a kind of query is forgotten once newer evidence contradicts it, and only then."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.learning.routing import forgotten
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import RouterConfig, fit, revise, withdraw

DIM, KINDS = 16, np.eye(16, dtype=np.float32)[:2]
CONFIG = RouterConfig(landmarks=40, width=20)
BEFORE = np.array([[0.9, 0.5], [0.5, 0.9]])  # (kinds, routes) chance of a yes
BROKEN = np.array([[0.0, 0.5], [0.5, 0.9]])


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


def by(version: int, told: RouteEvents) -> RouteEvents:
    return replace(told, learned=np.full(len(told), version, np.int32))


def of(told: RouteEvents, kind: int, route: int) -> NDArray[np.intp]:
    """Return the rows of a kind of query and a route."""
    return np.flatnonzero((told.query[:, kind] > 0.5) & (told.route == route))


def broken(seed: int) -> tuple[RouterState, RouteEvents, RouteEvents]:
    """Return a router whose route 0 broke for kind 0, and what it learned before and since."""
    rng = np.random.default_rng(seed)
    earlier, later = by(1, events(rng, 1200, BEFORE)), by(2, events(rng, 150, BROKEN))
    state = fit(RouterState.initial(DIM), earlier, config=CONFIG, version=1)
    state = fit(state, later, config=CONFIG, version=2)
    assert len(state.forgotten)
    return state, earlier, later


def test_a_route_that_broke_for_a_kind_of_query_is_learned_anew_and_the_others_stay() -> None:
    state, rng = learned(1)
    known = state.predict(KINDS, None, np.arange(2))
    assert known[0, 0] > 0.75
    for _ in range(2):
        state = fit(state, events(rng, 120, BROKEN), config=CONFIG)
    now = state.predict(KINDS, None, np.arange(2))
    assert now[0, 0] < 0.3  # 300 events said .9, 60 say 0
    assert now[1, 1] > 0.75
    assert np.isfinite(now).all()
    assert np.linalg.eigvalsh(state.gram[0]).min() > -1e-3


def test_the_router_explores_more_where_it_has_forgotten() -> None:
    state, rng = learned(2)
    after = fit(state, events(rng, 150, BROKEN), config=CONFIG)
    assert after.totals[0, 0] < state.totals[0, 0] - 50
    assert np.allclose(after.totals[:, 0], after.gram[:, 0, 0], rtol=1e-3)
    assert (after.totals[:, 1] <= after.totals[:, 0] + 1e-6).all()


def test_nothing_is_forgotten_where_nothing_changes() -> None:
    state, rng = learned(3)
    for _ in range(20):
        state = fit(state, events(rng, 60, BEFORE), config=CONFIG)
    assert state.totals[:, 0].sum() == state.folded == 2400


def test_a_basis_that_is_built_anew_does_not_bring_back_what_was_forgotten() -> None:
    state, rng = learned(4)
    state = fit(state, events(rng, 150, BROKEN), config=CONFIG)
    forgotten = state.folded - state.totals[:, 0].sum()
    assert forgotten > 50
    everything = events(rng, int(state.folded), BEFORE)
    wider = RouterConfig(landmarks=80, width=40)
    again = fit(state, events(rng, 1400, BEFORE), everything, wider)
    assert again.based_at > state.based_at
    assert again.folded - again.totals[:, 0].sum() > 0.5 * forgotten


def test_what_was_forgotten_counts_again_once_the_events_that_contradict_it_are_taken_back() -> None:
    state, rng = learned(5)
    wrong = by(2, events(rng, 150, BROKEN))
    told = fit(state, wrong, config=CONFIG, version=2)
    assert len(told.forgotten)
    told = RouterState.from_arrays(told.to_arrays())
    back = withdraw(told, wrong)
    assert not len(back.forgotten)
    assert np.abs(back.totals - state.totals).max() < 0.05
    assert np.abs(back.gram - state.gram).max() < 0.05
    assert np.abs(back.predict(KINDS, None, np.arange(2)) - state.predict(KINDS, None, np.arange(2))).max() < 0.05


def test_it_counts_again_as_well_once_they_are_revised() -> None:
    state, rng = learned(5)
    wrong = by(2, events(rng, 150, BROKEN))
    told = fit(state, wrong, config=CONFIG, version=2)
    good = replace(wrong, quality=events(rng, 150, np.ones((2, 2))).quality)
    right = revise(told, good, wrong.quality)
    assert not right.forgotten.in_force().any()
    assert abs(right.totals[:, 0].sum() - right.folded) < 0.1
    assert right.predict(KINDS, None, np.arange(2))[0, 0] > 0.85


def test_taking_one_event_back_brings_nothing_else_back() -> None:
    state, earlier, later = broken(6)
    known = state.predict(KINDS, None, np.arange(2))
    for told in (earlier, later):
        for kind, route in np.ndindex(2, 2):
            left = withdraw(state, told[of(told, kind, route)[:1]])
            assert len(left.forgotten) == len(state.forgotten)
            gone = state.totals[:, 0] - left.totals[:, 0]
            assert (gone > -0.1).all()
            assert (gone < 1.1).all()
            assert np.abs(left.predict(KINDS, None, np.arange(2)) - known).max() < 0.03


def test_taking_back_everything_earlier_leaves_the_later_events_alone() -> None:
    state, earlier, later = broken(7)
    left = withdraw(state, earlier)
    for route in range(2):
        phi = state.basis(later.query, None)[later.route == route].astype(np.float64)
        assert np.abs(left.gram[route] - phi.T @ phi).max() < 0.05
        assert np.abs(left.moment[route] - later.quality[later.route == route] @ phi).max() < 0.05


def test_revising_forgotten_events_counts_with_what_is_left_of_them() -> None:
    state, earlier, _ = broken(8)
    known = state.predict(KINDS, None, np.arange(2))
    for value in (0.0, 1.0):
        rows = of(earlier, 0, 0)
        rows = rows[earlier.quality[rows] != value]
        wrong = earlier[rows]
        now = revise(state, replace(wrong, quality=np.full(len(rows), value, np.float32)), wrong.quality)
        assert np.abs(now.predict(KINDS, None, np.arange(2)) - known).max() < 0.25
        assert (now.totals[:, 1] >= 0).all()
        assert (now.totals[:, 1] <= now.totals[:, 0]).all()
        assert all(0 <= each.quality <= 1 and each.uncertainty < 0.1 for each in now.statistics())


def test_events_learned_after_the_forgetting_are_revised_in_full() -> None:
    state, _, later = broken(9)
    rows = of(later, 0, 0)
    wrong = later[rows]
    now = revise(state, replace(wrong, quality=np.ones(len(rows), np.float32)), wrong.quality)
    assert now.predict(KINDS, None, np.arange(2))[0, 0] > 0.75


def test_a_repeated_query_is_not_many_events() -> None:
    state, rng = learned(10)
    for _ in range(20):
        state = fit(state, events(rng, 100, BEFORE), config=CONFIG)
    bad = RouteEvents(np.repeat(KINDS[:1], 12, axis=0), np.zeros(12, np.int32), np.zeros(12, np.float32))
    after = fit(state, events(rng, 88, BEFORE).followed_by(bad), config=CONFIG)
    assert not len(after.forgotten)


def test_a_basis_that_is_built_anew_keeps_the_share_that_is_left_of_earlier_events() -> None:
    state, earlier, later = broken(11)
    wider = RouterConfig(landmarks=80, width=40)
    rng = np.random.default_rng(11)
    again = fit(state, events(rng, 1500, BROKEN), earlier.followed_by(later), wider, version=4)
    assert again.based_at > state.based_at
    known = again.predict(KINDS, None, np.arange(2))
    wrong = earlier[of(earlier, 0, 0)]
    now = revise(again, replace(wrong, quality=1 - wrong.quality), wrong.quality)
    assert np.abs(now.predict(KINDS, None, np.arange(2)) - known).max() < 0.15


def test_a_state_of_the_release_before_is_read() -> None:
    state, _ = learned(12)
    arrays = {name: value for name, value in state.to_arrays().items() if not name.startswith("forgotten.")}
    arrays["forgotten"] = np.zeros((2, 21, 33), np.float32)
    assert not len(RouterState.from_arrays(arrays).forgotten)


def expected(state: RouterState) -> NDArray[np.float64]:
    return state.predict(KINDS, None, np.arange(2))


def broken_for_days(seed: int, days: int) -> tuple[RouterState, RouterState, list[RouteEvents]]:
    """Return a router before and after route 0 was broken for some days, and what it learned on each."""
    rng = np.random.default_rng(seed)
    before = state = fit(RouterState.initial(DIM), events(rng, 1200, BEFORE), config=CONFIG, version=1)
    told = [by(day + 2, events(rng, 150, BROKEN)) for day in range(days)]
    for day, part in enumerate(told):
        state = fit(state, part, config=CONFIG, version=day + 2)
    assert len(state.forgotten)
    return before, state, told


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("seed", range(4))
def test_days_that_are_taken_back_in_any_order_leave_what_was_known_before(seed: int, order: tuple[int, ...]) -> None:
    before, state, days = broken_for_days(seed, 3)
    for day in order:
        for part in np.array_split(np.arange(len(days[day])), 3):
            state = RouterState.from_arrays(withdraw(state, days[day][part]).to_arrays())
    assert not len(state.forgotten)
    assert np.abs(state.totals - before.totals).max() < 0.05
    assert np.abs(state.gram - before.gram).max() < 0.05
    assert np.abs(expected(state) - expected(before)).max() < 0.02


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("seed", range(6))
def test_a_wrong_correction_that_is_corrected_leaves_no_trace(seed: int, parts: int) -> None:
    _, state, days = broken_for_days(seed, 2)
    bad, good = days[0], np.ones(len(days[0]), np.float32)
    pieces = [np.flatnonzero(np.arange(len(bad)) % parts == part) for part in range(parts)]
    now = state
    for rows in pieces:
        now = revise(now, replace(bad, quality=good)[rows], bad.quality[rows])
    now = RouterState.from_arrays(now.to_arrays())
    for rows in pieces[::-1]:
        now = revise(now, bad[rows], good[rows])
    assert (now.forgotten.in_force() == state.forgotten.in_force()).all()
    assert np.abs(now.totals - state.totals).max() < 0.05
    assert np.abs(now.gram - state.gram).max() < 0.05
    assert np.abs(expected(now) - expected(state)).max() < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_a_reduction_that_is_lifted_counts_what_is_taken_out_meanwhile(seed: int) -> None:
    state, earlier, later = broken(seed)
    good = np.ones(len(later), np.float32)
    some = earlier[np.random.default_rng(seed).permutation(len(earlier))[:200]]
    lifted = revise(state, replace(later, quality=good), later.quality)
    assert len(lifted.forgotten)
    assert not lifted.forgotten.in_force().any()
    again = revise(withdraw(lifted, some), later, good)
    never = withdraw(state, some)
    assert again.forgotten.in_force().all()
    assert np.abs(again.gram - never.gram).max() < 0.05
    assert np.abs(again.moment - never.moment).max() < 0.05
    assert np.abs(expected(again) - expected(never)).max() < 0.02


def test_of_too_many_reductions_the_lifted_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _, later = broken(3)
    lifted = revise(state, replace(later, quality=np.ones(len(later), np.float32)), later.quality).forgotten
    monkeypatch.setattr(forgotten, "MOST", len(state.forgotten))
    assert lifted.followed_by(state.forgotten).in_force().all()


def joined(*parts: RouteEvents) -> RouteEvents:
    told = (np.concatenate([getattr(part, name) for part in parts]) for name in ("query", "route", "quality"))
    return RouteEvents(*told, learned=np.concatenate([part.learned for part in parts]))


def changed_often(seed: int) -> tuple[RouterState, RouteEvents, np.random.Generator]:
    """Return a router whose routes changed four times, and all that it was told."""
    rng = np.random.default_rng(seed)
    worlds = [BEFORE, BROKEN, np.array([[0.0, 0.5], [0.5, 0.9]])[::-1], BEFORE, np.array([[0.9, 0.1], [0.1, 0.5]])]
    parts = [by(n + 1, events(rng, 150 if n else 1200, world)) for n, world in enumerate(worlds)]
    state = RouterState.initial(DIM)
    for n, part in enumerate(parts):
        state = RouterState.from_arrays(fit(state, part, config=CONFIG, version=n + 1).to_arrays())
    assert len(state.forgotten)
    return state, joined(*parts), rng


ORDERS = {
    "any": lambda told, rng: rng.permutation(len(told)),
    "oldest first": lambda told, rng: np.arange(len(told)),
    "newest first": lambda told, rng: np.arange(len(told))[::-1],
    "best first": lambda told, rng: np.argsort(-told.quality, kind="stable"),
    "by kind": lambda told, rng: np.argsort(told.query[:, 0], kind="stable"),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_after_everything_is_taken_back_in_pieces_it_is_as_if_nothing_had_been_said(order: str, seed: int) -> None:
    state, told, rng = changed_often(seed)
    rows, first = ORDERS[order](told, rng), RouterState.initial(DIM)
    standing = np.ones(len(told), bool)
    for part in np.array_split(rows, 12):
        state = withdraw(state, told[part])
        standing[part] = False
        if standing.any():
            count = np.bincount(told.route[standing], minlength=2)
            assert (state.totals[:, 0] <= count + 0.1).all()
            expected = state.predict(told.query[standing], None, np.arange(2))
            assert expected.min() > -1
            assert expected.max() < 1.5
            assert np.abs(expected - np.clip(expected, 0, 1)).mean() < 0.12
    assert not len(state.forgotten)
    assert state.route_count == 0
    assert (state.predict(KINDS, None, np.arange(2)) == first.predict(KINDS, None, np.arange(2))).all()


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_after_all_reasons_to_forget_are_taken_back_counts_once(seed: int) -> None:
    state, earlier, later = broken(seed)
    some = np.random.default_rng(seed).permutation(len(earlier))
    left = withdraw(withdraw(state, earlier[some[:-400]]), later)
    assert not len(left.forgotten)
    for route in range(2):
        stand = earlier[some[-400:]]
        stand = stand[np.flatnonzero(stand.route == route)]
        phi = state.basis(stand.query, None).astype(np.float64)
        assert np.abs(left.gram[route] - phi.T @ phi).max() < 0.05
        assert np.abs(left.moment[route] - stand.quality @ phi).max() < 0.05
        assert np.abs(left.totals[route, :2] - [len(stand), stand.quality.sum()]).max() < 0.05


def test_a_revision_that_is_revised_back_changes_nothing() -> None:
    state, told, rng = changed_often(7)
    rows = rng.permutation(len(told))[:300]
    was = told[np.sort(rows)]
    wrong = replace(was, quality=np.clip(was.quality, 0.4, 0.6))
    again = revise(revise(state, wrong, was.quality), was, wrong.quality)
    if len(again.forgotten) == len(state.forgotten):
        assert np.abs(again.moment - state.moment).max() < 0.01
        assert np.abs(again.square - state.square).max() < 0.01


def test_costs_and_latencies_of_what_is_taken_back_leave_nothing() -> None:
    rng = np.random.default_rng(3)
    parts = [by(1, events(rng, 1200, BEFORE)), by(2, events(rng, 150, BROKEN))]
    parts = [
        replace(part, cost=np.full(len(part), 2.0), paid=np.full(len(part), 3.0), latency=np.full(len(part), 5.0))
        for part in parts
    ]
    state = RouterState.initial(DIM)
    for version, part in enumerate(parts):
        state = fit(state, part, config=CONFIG, version=version + 1)
    assert len(state.forgotten)
    only = parts[0].route == 0
    left = withdraw(withdraw(state, parts[0][np.flatnonzero(only)]), parts[1][np.flatnonzero(parts[1].route == 0)])
    assert not left.totals[0].any()
    assert not left.paid[0].any()
    assert not left.forgotten.told[:, 0].any()
    kept = [row for row in left.statistics() if row.route == 1]
    assert abs(kept[0].cost - 3.0) < 0.05
    assert abs(kept[0].latency - 5.0) < 0.05


def test_a_state_stored_without_what_reductions_were_told_is_read() -> None:
    state, earlier, later = broken(13)
    arrays = state.to_arrays()
    told = arrays.pop("forgotten.told")
    again = RouterState.from_arrays(arrays)
    assert np.allclose(again.forgotten.told, told, atol=1e-3)
    assert withdraw(again, joined(earlier, later)).route_count == 0
