"""Invariants of a fit: each outcome folded once, bounded, deterministic, equal to the slow reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sona_pg.errors import ConfigError, DimensionMismatch, LearningError
from sona_pg.learning.routing import router_posterior
from sona_pg.learning.routing.router import RouterState
from sona_pg.learning.routing.router_basis import kernel, reduce_width
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.routing.router_fit import FIRST_BASIS, FIRST_BASIS_FREE, RouterConfig, fit, withdraw
from sona_pg.learning.routing.router_posterior import BIAS_MAIN, BIAS_ROUTE, Statistics

SMALL = RouterConfig(landmarks=64, width=32)


def events(n: int, dim: int = 8, routes: int = 2, seed: int = 0, features: int = 0) -> RouteEvents:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dim)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    route = rng.integers(0, routes, n).astype(np.int32)
    f = rng.standard_normal((n, features)).astype(np.float32) if features else None
    chance = 0.5 + 0.3 * np.tanh(3 * x[:, 0]) * np.where(route == 0, 1, -1)
    return RouteEvents(x, route, (rng.random(n) < chance).astype(np.float32), f)


def same(a: RouterState, b: RouterState) -> bool:
    return all(np.array_equal(x, b.to_arrays()[name]) for name, x in a.to_arrays().items())


def statistics(routes: int, p: int, n: int, seed: int) -> tuple[Statistics, list[tuple[int, np.ndarray, float]]]:
    rng = np.random.default_rng(seed)
    sums, rows = Statistics.empty(routes, p), []
    for _ in range(n):
        r, x, q = (
            int(rng.integers(0, routes - 1)),
            np.append(1.0, rng.standard_normal(p - 1)),
            float(rng.random()),
        )
        sums.gram[r] += np.outer(x, x)
        sums.moment[r] += q * x
        sums.square[r] += q * q
        sums.totals[r, :2] += 1.0, q
        rows.append((r, x, q))
    return sums, rows


def with_evidence(sums, main, route, noise):
    given = router_posterior.given_shared(sums, route, noise, with_evidence=True)
    return router_posterior.solve(sums, main, route, noise, given)


def test_the_arrowhead_equals_one_large_bayesian_regression() -> None:
    routes, p, main, route, noise = 4, 6, 0.3, 0.1, 0.2
    sums, rows = statistics(routes, p, 60, seed=1)  # the last route is never seen
    design = np.zeros((len(rows), p * (routes + 1)))
    for i, (r, x, _) in enumerate(rows):
        design[i, :p] = x
        design[i, p * (r + 1) : p * (r + 2)] = x
    target = np.array([q for _, _, q in rows]) - 0.5
    prior = np.concatenate(
        [[BIAS_MAIN], np.full(p - 1, main), *[np.append(BIAS_ROUTE, np.full(p - 1, route))] * routes]
    )
    w = np.linalg.solve(design.T @ design / noise + np.diag(1 / prior), design.T @ target / noise)
    covariance = noise * np.eye(len(rows)) + (design * prior) @ design.T
    fitted = with_evidence(sums, main, route, noise)
    for r in range(routes):
        expected = w[:p] + w[p * (r + 1) : p * (r + 2)]
        expected[0] += 0.5
        assert fitted.weights[r] == pytest.approx(expected, abs=1e-9)
    assert fitted.weights[routes, 1:] == pytest.approx(w[1:p], abs=1e-9)
    # The evidence omits terms independent of the prior variances.
    other = with_evidence(sums, 0.05, 0.4, noise)
    prior2 = np.concatenate([[BIAS_MAIN], np.full(p - 1, 0.05), *[np.append(BIAS_ROUTE, np.full(p - 1, 0.4))] * routes])
    covariance2 = noise * np.eye(len(rows)) + (design * prior2) @ design.T

    def log_normal(c: np.ndarray) -> float:
        return float(-0.5 * target @ np.linalg.solve(c, target) - 0.5 * np.linalg.slogdet(c)[1])

    assert fitted.evidence - other.evidence == pytest.approx(log_normal(covariance) - log_normal(covariance2), abs=1e-8)


def test_the_residual_is_the_mean_squared_error() -> None:
    sums, rows = statistics(3, 4, 80, seed=2)
    fitted = router_posterior.solve(sums, 0.1, 0.1, 0.1)
    errors = [(q - fitted.weights[r] @ x) ** 2 for r, x, q in rows]
    assert router_posterior.residual(sums, fitted.weights, 0.1) == pytest.approx(0.5 * (0.1 + np.mean(errors)))


def test_a_fit_is_deterministic() -> None:
    first, second = events(300, features=2), events(200, seed=1, features=2)
    one, other = (fit(fit(RouterState.initial(8), first, None, SMALL), second, first, SMALL) for _ in range(2))
    assert same(one, other)


def test_nothing_is_read_or_counted_twice() -> None:
    state = RouterState.initial(8)
    parts = [events(100, seed=s) for s in range(12)]
    seen = parts[0][:0]
    for part in parts:
        state = fit(state, part, seen[max(0, len(seen) - 300) :], SMALL)
        seen = seen.followed_by(part)
    assert state.folded == 1200
    assert state.totals[:, 0].sum() == pytest.approx(1200)
    assert state.totals[:, 1].sum() == pytest.approx(float(seen.quality.sum()))
    assert state.gram[:, 0, 0].sum() == pytest.approx(1200, rel=1e-2)  # carried over to new bases, by least squares


def test_while_the_replay_is_the_whole_history_the_sums_are_exact() -> None:
    first, second = events(100), events(150, seed=1)
    state = fit(fit(RouterState.initial(8), first, None, SMALL), second, first, SMALL)
    both = first.followed_by(second)
    phi = state.basis(both.query, None).astype(np.float64)
    for r in range(2):
        x = phi[both.route == r]
        assert state.gram[r] == pytest.approx(x.T @ x, rel=1e-4, abs=1e-3)
        assert state.moment[r] == pytest.approx(both.quality[both.route == r] @ x, rel=1e-4, abs=1e-3)


def test_a_new_basis_keeps_learned_weights_without_reading_history() -> None:
    def skill(state: RouterState) -> float:
        x = events(500, seed=99).query
        gain = np.diff(state.predict(x, None, np.array([0, 1])), axis=1)[:, 0]
        return float(np.corrcoef(gain, -x[:, 0])[0, 1])

    state = fit(RouterState.initial(8), events(2000), None, SMALL)
    moved = replace(state, based_at=10.0)
    finer = fit(moved, events(60, seed=3), events(300, seed=4), RouterConfig(landmarks=256, width=32))
    assert len(finer.basis.landmarks) > 64
    assert finer.folded == 2060
    assert skill(state) > 0.7
    assert skill(finer) > 0.7


def test_queries_far_from_all_landmarks_bring_a_new_basis() -> None:
    rng = np.random.default_rng(0)
    near = rng.standard_normal((400, 8)).astype(np.float32) * 0.05 + np.eye(8, dtype=np.float32)[0]
    far = rng.standard_normal((500, 8)).astype(np.float32) * 0.05 - np.eye(8, dtype=np.float32)[1]
    quality, route = np.ones(400, np.float32), np.zeros(400, np.int32)
    state = fit(RouterState.initial(8), RouteEvents(near, route, quality), None, SMALL)
    after = fit(state, RouteEvents(far, np.zeros(500, np.int32), np.ones(500, np.float32)), None, SMALL)
    assert after.based_at == 900
    explained = [float(np.mean(np.sum(s.basis(far, None)[:, 1:] ** 2, axis=1))) for s in (state, after)]
    assert explained[0] < 0.05
    assert explained[1] > 0.5


def test_routes_may_appear_at_any_time_and_shrink_the_width() -> None:
    tight = RouterConfig(landmarks=64, width=32, gram_bytes=40_000)
    state = fit(RouterState.initial(8), events(200), None, tight)
    assert state.basis.width == 32
    state = fit(state, events(200, routes=50, seed=1), None, tight)
    assert state.route_count == 50
    assert state.gram.nbytes <= 40_000
    assert np.isfinite(state.predict(events(3).query, None, np.arange(60))).all()


def test_a_route_number_beyond_all_memory_is_refused() -> None:
    one = RouteEvents(np.ones((1, 4), np.float32), np.array([2**30], np.int32), np.ones(1, np.float32))
    with pytest.raises(LearningError, match="number them densely"):
        fit(RouterState.initial(4), one)


def test_poison_is_set_aside_and_counted() -> None:
    good = events(100)
    bad = RouteEvents(good.query[:4].copy(), good.route[:4].copy(), np.array([1, np.nan, 2, -1], np.float32))
    bad.query[0, 0] = np.inf
    state = fit(RouterState.initial(8), good.followed_by(bad), None, SMALL)
    assert (state.folded, state.set_aside) == (100, 4)
    assert np.isfinite(state.weights).all()


def test_the_first_basis_comes_with_fewer_events_where_no_cost_is_known() -> None:
    untold, told = events(FIRST_BASIS_FREE), np.full(FIRST_BASIS_FREE, np.nan, np.float32)
    told[-1] = 0.0  # a free model is a known cost as well
    for priced in (replace(untold, cost=told), replace(untold, paid=told)):
        state = fit(RouterState.initial(8), priced, None, SMALL)
        assert not state.basis.width
        again = events(FIRST_BASIS - FIRST_BASIS_FREE - 1, seed=1)
        assert not fit(state, again, priced, SMALL).basis.width
        assert fit(state, events(FIRST_BASIS - FIRST_BASIS_FREE, seed=1), priced, SMALL).basis.width
    assert not fit(RouterState.initial(8), untold[slice(1, None)], None, SMALL).basis.width
    assert fit(RouterState.initial(8), untold, None, SMALL).basis.width


def test_an_early_basis_leaves_nothing_in_later_ones() -> None:
    first, second = events(40), events(40, seed=1)
    early = fit(fit(RouterState.initial(8), first, None, SMALL), second, first, SMALL)
    means = fit(RouterState.initial(8), first[slice(0, 30)], None, SMALL)
    assert not means.basis.width
    assert early.prior_route == fit(RouterState.initial(8), first.followed_by(second), None, SMALL).prior_route


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 63, 64, 65])
def test_any_number_of_events_is_learned_from(n: int) -> None:
    state = fit(RouterState.initial(8), events(n), None, SMALL)
    assert state.folded == n
    assert np.isfinite(state.predict(events(3).query, None, np.arange(2))).all()


def test_equal_and_zero_queries_are_learned_from() -> None:
    for value in (0.0, 1.0):
        x = np.full((200, 8), value, np.float32)
        quality = np.tile(np.array([1, 0], np.float32), 100)
        state = fit(
            RouterState.initial(8),
            RouteEvents(x, np.tile(np.array([0, 1], np.int32), 100), quality),
            None,
            SMALL,
        )
        assert state.predict(x[:1], None, np.arange(2))[0] == pytest.approx([1, 0], abs=0.1)


def test_huge_queries_count_as_their_direction() -> None:
    given = events(200)
    huge = RouteEvents(given.query * np.float32(1e30), given.route, given.quality)
    a, b = (fit(RouterState.initial(8), e, None, SMALL) for e in (given, huge))
    assert a.predict(given.query[:5], None, np.arange(2)) == pytest.approx(
        b.predict(huge.query[:5], None, np.arange(2)), abs=1e-3
    )


@pytest.mark.parametrize("dim", [1, 2, 1500])
def test_dimensions_from_one_to_thousands_work(dim: int) -> None:
    state = fit(RouterState.initial(dim), events(150, dim=dim), None, SMALL)
    assert state.basis.landmarks.shape[1] <= 1024
    assert np.isfinite(state.predict(events(3, dim=dim).query, None, np.arange(2))).all()


def test_hashed_wide_embeddings_keep_their_angles() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 4000)).astype(np.float32)
    x[1::2] = x[::2] + 0.5 * x[1::2]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    narrow = reduce_width(x)
    assert narrow.shape == (40, 1024)
    assert np.abs(narrow @ narrow.T - x @ x.T).max() < 0.2


def test_phi_reproduces_the_kernel_between_landmarks() -> None:
    state = fit(RouterState.initial(8), events(60 + 64), None, RouterConfig(landmarks=64, width=64))
    marks = state.basis.landmarks
    phi = state.basis(marks, None)[:, 1:]
    assert phi @ phi.T == pytest.approx(kernel(marks, marks, state.basis.length), abs=0.05)


def test_features_that_tell_the_outcome_are_used_and_unknown_ones_survived() -> None:
    rng = np.random.default_rng(0)
    n = 800
    plain = events(n)
    f = rng.standard_normal((n, 3)).astype(np.float32)
    quality = ((f[:, 0] > 0) == (plain.route == 0)).astype(np.float32)
    f[rng.random((n, 3)) < 0.05] = np.nan
    state = fit(RouterState.initial(8), RouteEvents(plain.query, plain.route, quality, f))
    test = np.array([[2, 0, 0], [-2, 0, 0]], np.float32)
    p = state.predict(plain.query[:2], test, np.arange(2))
    assert p[0, 0] - p[0, 1] > 0.3
    assert p[1, 1] - p[1, 0] > 0.3
    assert np.isfinite(state.predict(plain.query[:2], None, np.arange(2))).all()
    with pytest.raises(DimensionMismatch):
        state.predict(plain.query[:2], test[:, :2], np.arange(2))


def test_features_may_arrive_after_the_first_basis() -> None:
    state = fit(RouterState.initial(8), events(200), None, SMALL)
    state = fit(state, events(200, seed=1, features=2), events(200), SMALL)
    assert len(state.basis.feature_mean) == 2


def test_forgetting_weighs_old_evidence_down() -> None:
    fading = RouterConfig(landmarks=64, width=32, memory=100)
    state = fit(RouterState.initial(8), events(200), None, fading)
    state = fit(state, events(200, seed=1), None, fading)
    assert state.totals[:, 0].sum() == pytest.approx(200 + 200 * np.exp(-2))


def test_weights_count_as_repetitions() -> None:
    e = events(40)
    twice = RouteEvents(np.concatenate([e.query] * 2), np.concatenate([e.route] * 2), np.concatenate([e.quality] * 2))
    heavy = RouteEvents(e.query, e.route, e.quality, weight=np.full(40, 2, np.float32))
    a, b = (fit(RouterState.initial(8), x, None, SMALL) for x in (twice[:], heavy))
    assert a.totals == pytest.approx(b.totals)


def test_columns_of_unequal_length_and_other_dimensions_are_refused() -> None:
    with pytest.raises(LearningError, match="quality"):
        RouteEvents(np.ones((2, 3), np.float32), np.zeros(2, np.int32), np.ones(1, np.float32))
    with pytest.raises(DimensionMismatch):
        fit(RouterState.initial(5), events(3))
    with pytest.raises(ConfigError):
        RouterConfig(landmarks=10, width=20)


def repeated(n: int, distinct: int = 1, dim: int = 16) -> RouteEvents:
    """``n`` records of a few queries at quality 1, of one route."""
    x = np.random.default_rng(0).standard_normal((distinct, dim)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rows = np.tile(x, (-(-n // distinct), 1))[:n]
    return RouteEvents(rows, np.zeros(n, np.int32), np.ones(n, np.float32))


@pytest.mark.parametrize("sizes", [(2, 16_003, 20_000), (85_000,), (2, *(40_000,) * 6)])
@pytest.mark.parametrize("distinct", [1, 3])
def test_a_query_that_is_repeated_very_often_is_learned(sizes: tuple[int, ...], distinct: int) -> None:
    """Its Gram matrix is nearly singular: rounding must not make it indefinite."""
    state = RouterState.initial(16)
    for n in sizes:
        state = fit(state, repeated(n, distinct))
        assert np.isfinite(state.weights).all()
        assert (state.variance > 0).all()
    query = repeated(1).query
    assert float(state.basis(query, None)[0].astype(np.float64) @ state.weights[0]) > 0.95


def test_rounding_makes_no_gram_matrix_indefinite() -> None:
    """One query with any of many counts: of 764 such matrices in single precision three were."""
    for n in range(10_000, 200_000, 997):
        for phi in (0.7, 1.7, float(np.e), 3.3):
            gram = (n * np.outer([1.0, phi], [1.0, phi])).astype(np.float32).astype(np.float64)
            totals = np.array([[n, n, 0.0, 0.0, 0.0, 0.0]])
            sums = Statistics(gram[None], np.array([[n, n * phi]]), np.array([n]), totals, np.zeros((1, 2, 2, 2)))
            main, route = router_posterior.tune(sums, 0.05, 0.0175, 0.01, 2.0)
            assert (router_posterior.solve(sums, main, route, 0.01).variance > 0).all()


def test_nearly_all_of_a_repeated_query_can_be_withdrawn() -> None:
    state = fit(fit(RouterState.initial(16), repeated(64, 8)), repeated(36_000))
    left = withdraw(state, repeated(35_990))
    assert np.isfinite(left.weights).all()
    assert (left.variance > 0).all()
    assert np.linalg.eigvalsh(left.gram[0].astype(np.float64)).min() > -1e-3
    assert np.isfinite(fit(left, repeated(64, 8)).weights).all()
