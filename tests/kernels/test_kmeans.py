"""k-means against brute force in float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

from .conftest import LENGTHS, UNIT, Floats, Maker, gamma

METRICS = pytest.mark.parametrize("spherical", [True, False], ids=["spherical", "euclidean"])


def unit_rows(X: Floats) -> Floats:
    kernels.normalize_rows(X, X)
    return X


def squared_distances(X: Floats, C: Floats, spherical: bool) -> NDArray[np.float64]:
    """|x - c|^2, for spherical k-means with |c| taken as 1."""
    x, c = X.astype(np.float64), C.astype(np.float64)
    lengths = 1.0 if spherical else (c**2).sum(axis=1)
    distances: NDArray[np.float64] = (x**2).sum(axis=1)[:, None] - 2 * x @ c.T + lengths
    return distances


def blobs(n: int, d: int, k: int, seed: int = 3) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k, d))
    X = centres[rng.integers(0, k, n)] + 0.6 * rng.standard_normal((n, d))
    return unit_rows(X.astype(np.float32))


def seeds(X: Floats, k: int, seed: int = 0, trials: int = 3) -> Floats:
    uniforms = np.random.default_rng(seed).random((k, trials))
    return X[kernels.kmeans_plus_plus(X, None, k, uniforms)]


@METRICS
@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 1), (50, 3), (97, 33), (61, 40)])
def test_assignment_is_the_nearest_centroid(isa: str, floats: Maker, d: int, n: int, k: int, spherical: bool) -> None:
    X, C = floats(n, d), floats(k, d)
    if spherical:
        unit_rows(C)
    labels, distances = kernels.kmeans_assign(X, C, spherical=spherical)
    exact = squared_distances(X, C, spherical)
    # |x|^2, x.c and |c|^2 each carry gamma(d + 2) of the sum of the magnitudes of their terms.
    x2, c2 = (X.astype(np.float64) ** 2).sum(axis=1)[:, None], (C.astype(np.float64) ** 2).sum(axis=1)
    bound = gamma(d + 4) * (x2 + c2 + 2 * np.abs(X).astype(np.float64) @ np.abs(C).T)
    at = np.arange(n), labels
    assert np.all(exact[at] <= exact.min(axis=1, initial=np.inf) + 2 * bound.max(axis=1, initial=0))
    assert np.all(np.abs(distances - np.maximum(exact[at], 0)) <= bound[at])


def test_equal_centroids_yield_the_lowest_label(isa: str, floats: Maker) -> None:
    X, C = floats(30, 17), floats(40, 17)
    C[25:] = C[5]
    labels, _ = kernels.kmeans_assign(X, C, spherical=False)
    assert labels.max() < 25


def test_negative_scores_do_not_fall_into_the_padding(isa: str) -> None:
    X = np.ones((20, 16), np.float32)
    C = -np.arange(1, 6, dtype=np.float32)[:, None] * np.ones((5, 16), np.float32)
    labels, _ = kernels.kmeans_assign(X, C)
    assert set(labels) == {0}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", LENGTHS)
def test_update_sums_each_cluster(isa: str, floats: Maker, d: int, weighted: bool) -> None:
    X, k = floats(80, d), 7
    rng = np.random.default_rng(0)
    labels = rng.integers(0, k - 1, 80).astype(np.int32)  # the last cluster stays empty
    weights = rng.random(80).astype(np.float32) if weighted else None
    w = np.ones(80) if weights is None else weights.astype(np.float64)
    sums, counts = kernels.kmeans_update(X, labels, k, weights)
    onehot = np.eye(k)[labels] * w[:, None]
    np.testing.assert_allclose(counts, onehot.sum(axis=0), rtol=1e-14)
    np.testing.assert_allclose(sums, onehot.T @ X.astype(np.float64), rtol=0, atol=80 * 2**-52 * 80)


def plain_lloyd(
    X: Floats, C: Floats, weights: Floats | None, iterations: int, spherical: bool
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    x, c = X.astype(np.float64), C.astype(np.float64)
    w = np.ones(len(x)) if weights is None else weights.astype(np.float64)
    for _ in range(iterations):
        labels = squared_distances(x.astype(np.float32), c.astype(np.float32), spherical).argmin(axis=1)
        for j in range(len(c)):
            total = (w[:, None] * x)[labels == j].sum(axis=0)
            scale = np.linalg.norm(total) if spherical else w[labels == j].sum()
            if scale > 0:
                c[j] = total / scale
    return c, squared_distances(X, c.astype(np.float32), spherical).argmin(axis=1)


@METRICS
@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_with_bounds_takes_the_path_of_plain_lloyd(isa: str, spherical: bool, weighted: bool) -> None:
    X, k = blobs(1500, 48, 20), 24
    weights = np.random.default_rng(1).random(1500).astype(np.float32) if weighted else None
    C0 = seeds(X, k)
    for iterations in (0, 1, 5, 12):
        C, labels, inertia, n_iter = kernels.kmeans_lloyd(
            X, C0, weights, max_iter=iterations, tol=0.0, spherical=spherical
        )
        expected, expected_labels = plain_lloyd(X, C0, weights, n_iter, spherical)
        # Separated blobs leave no near-ties, so both must take the same path; the centroids are means of it.
        assert np.mean(labels != expected_labels) <= 1 / len(X)
        np.testing.assert_allclose(C, expected, atol=1e-3)
        own = squared_distances(X, C, spherical)[np.arange(len(X)), labels]
        assert inertia == pytest.approx(np.sum(own * (1 if weights is None else weights)), rel=1e-4)


@METRICS
def test_lloyd_never_raises_the_inertia_and_converges(isa: str, spherical: bool) -> None:
    X = blobs(800, 32, 10)
    C0 = seeds(X, 10)
    path = [kernels.kmeans_lloyd(X, C0, max_iter=i, tol=0.0, spherical=spherical)[2] for i in (0, 1, 2, 4, 8, 50)]
    assert all(after <= before * (1 + 64 * UNIT) for before, after in pairwise(path))
    assert kernels.kmeans_lloyd(X, C0, max_iter=1000, tol=0.0, spherical=spherical)[3] < 200


def test_the_number_of_threads_changes_nothing() -> None:
    X = blobs(40_000, 96, 80)  # enough work for the threads to start
    C0 = seeds(X[:2000], 80)
    one, four = (kernels.kmeans_lloyd(X, C0, max_iter=4, tol=0.0, threads=t) for t in (1, 4))
    np.testing.assert_array_equal(one[0], four[0])
    np.testing.assert_array_equal(one[1], four[1])
    assert one[2:] == four[2:]


def test_empty_clusters_are_filled(isa: str) -> None:
    X = blobs(200, 16, 5)
    C0 = np.repeat(X[:1], 12, axis=0)  # all the same: every row goes to the first
    _, labels, _, _ = kernels.kmeans_lloyd(X, C0, max_iter=30)
    assert set(labels) == set(range(12))


def test_more_centroids_than_distinct_rows(isa: str) -> None:
    X = np.repeat(blobs(3, 16, 3), 4, axis=0)
    chosen = kernels.kmeans_plus_plus(X, None, 8, np.random.default_rng(0).random(8))
    _, _, inertia, _ = kernels.kmeans_lloyd(X, X[chosen], max_iter=20)
    assert inertia <= 12 * 8 * UNIT


def test_spherical_centroids_have_unit_length(isa: str) -> None:
    X = blobs(300, 97, 4)
    C, *_ = kernels.kmeans_lloyd(X, seeds(X, 4))
    np.testing.assert_allclose(np.linalg.norm(C.astype(np.float64), axis=1), 1.0, atol=97 * UNIT)


@pytest.mark.parametrize("weighted", [False, True])
def test_seeding_follows_the_uniforms_given(isa: str, weighted: bool) -> None:
    X, k = blobs(150, 40, 6), 6
    rng = np.random.default_rng(5)
    weights = (rng.random(150) * (rng.random(150) < 0.7)).astype(np.float32) if weighted else None
    w = np.ones(150) if weights is None else weights.astype(np.float64)
    uniforms = rng.random(k)
    expected: list[int] = []
    nearest = np.ones(150)
    for u in uniforms:
        expected.append(int(np.searchsorted(np.cumsum(w * nearest), u * np.sum(w * nearest), side="right")))
        distances = np.min(((X.astype(np.float64)[:, None] - X[expected]) ** 2).sum(axis=2), axis=1)
        nearest = distances
    chosen = kernels.kmeans_plus_plus(X, weights, k, uniforms)
    np.testing.assert_array_equal(chosen, expected)
    assert np.all(w[chosen] > 0)


def test_more_trials_lower_the_potential(isa: str) -> None:
    X = blobs(600, 32, 20)
    rng = np.random.default_rng(2)

    def potential(trials: int) -> float:
        total = 0.0
        for _ in range(10):
            C = X[kernels.kmeans_plus_plus(X, None, 20, rng.random((20, trials)))]
            total += float(kernels.kmeans_assign(X, C)[1].sum())
        return total

    assert potential(4) < potential(1)


@METRICS
def test_fit_is_as_good_as_lloyd_on_all_rows(isa: str, spherical: bool) -> None:
    X, k = blobs(9000, 24, 20), 20  # large enough that the first rounds see a sample only
    runs = [kernels.kmeans_fit(X, k, seed, spherical=spherical) for seed in range(4)]
    C, labels, inertia, _ = min(runs, key=lambda run: run[2])
    full = min(kernels.kmeans_lloyd(X, seeds(X, k, s), spherical=spherical)[2] for s in range(4))
    assert inertia <= 1.005 * full
    np.testing.assert_array_equal(labels, kernels.kmeans_assign(X, C, spherical=spherical)[0])


def test_fit_is_a_function_of_its_seed(isa: str) -> None:
    X = blobs(3000, 24, 10)
    weights = np.random.default_rng(0).random(3000).astype(np.float32)
    runs = [kernels.kmeans_fit(X, 10, seed, weights, threads=t) for seed, t in ((1, 1), (1, 3), (2, 1))]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][2:] == runs[1][2:]
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_fit_of_as_many_clusters_as_rows(isa: str) -> None:
    X = blobs(12, 16, 12)
    assert kernels.kmeans_fit(X, 12, seed=0)[2] <= 12 * 16 * UNIT
    with pytest.raises(InvalidValue, match="X has 12 rows, expected at least k = 13"):
        kernels.kmeans_fit(X, 13, seed=0)


def test_rows_without_weight_do_not_pull(isa: str) -> None:
    X = np.concatenate([blobs(200, 16, 2), -blobs(200, 16, 2)])
    weights = np.repeat(np.array([1, 0], np.float32), 200)
    C = kernels.kmeans_fit(X, 1, 0, weights)[0]
    np.testing.assert_allclose(C, kernels.kmeans_fit(X[:200], 1, 0)[0], atol=1e-6)


def test_wrong_arguments_are_named() -> None:
    X, C = np.zeros((5, 8), np.float32), np.zeros((2, 8), np.float32)
    with pytest.raises(DimensionMismatch, match="C has 7 dimensions, expected 8"):
        kernels.kmeans_assign(X, C[:, :7].copy())
    with pytest.raises(InvalidValue, match="labels run from 0 to 2, expected 0 to 1"):
        kernels.kmeans_update(X, np.array([0, 1, 2, 0, 0], np.int32), 2)
    with pytest.raises(InvalidValue, match="X has 5 rows, expected at least k = 6"):
        kernels.kmeans_plus_plus(X, None, 6, np.zeros(6))
    with pytest.raises(InvalidValue, match=r"outside of \[0, 1\)"):
        kernels.kmeans_plus_plus(X, None, 2, np.ones(2))
    with pytest.raises(InvalidValue, match="weights has an element that is negative"):
        kernels.kmeans_lloyd(X, C, -np.ones(5, np.float32))
    X[3, 3] = np.nan
    with pytest.raises(InvalidValue, match="X has an element that is NaN"):
        kernels.kmeans_lloyd(X, C)
