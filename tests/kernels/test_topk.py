"""Top-k: exactly NumPy's answer, ties included, from the plain scan and from the prepared block."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

from .conftest import LENGTHS, Floats, Maker, gamma


def best(scores: Floats, k: int) -> np.ndarray:
    """Indices of the k largest, descending, ties by lower index."""
    return np.lexsort((np.arange(len(scores)), -scores))[:k]


@pytest.mark.parametrize("d", LENGTHS)
def test_dot_rows_is_within_the_rounding_bound(isa: str, floats: Maker, d: int) -> None:
    q, C = floats(d), floats(7, d)
    exact = C.astype(np.float64) @ q
    out = floats(7)
    assert kernels.dot_rows(q, C, out=out) is out
    assert np.all(np.abs(out - exact) <= gamma(d) * (np.abs(C).astype(np.float64) @ np.abs(q)))


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize(("m", "k"), [(0, 5), (1, 1), (3, 5), (65, 5), (200, 0), (200, 64), (200, 200)])
def test_topk_is_the_sorted_head_of_the_scores(isa: str, floats: Maker, d: int, m: int, k: int) -> None:
    q, C = floats(d), floats(m, d)
    scores = kernels.dot_rows(q, C)
    expected = best(scores, k)
    for indices, values in (kernels.topk(q, C, k), kernels.CentroidBlock(C).topk(q, k)):
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_array_equal(values, scores[expected])
        assert [indices.dtype, values.dtype] == [np.dtype(np.int64), np.dtype(np.float32)]


@pytest.mark.parametrize("seed", range(8))
def test_the_block_is_exact_where_scores_are_crowded(isa: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(64)
    spread = 10.0 ** -rng.integers(1, 6)  # down to differences far below the resolution of one byte
    C = (centre + spread * rng.standard_normal((3000, 64))).astype(np.float32)
    C[rng.integers(0, 3000, 300)] *= rng.choice([1e-3, 1.0, 30.0], (300, 1)).astype(np.float32)
    q = (centre + spread * rng.standard_normal(64)).astype(np.float32)
    plain, block = kernels.topk(q, C, 20), kernels.CentroidBlock(C).topk(q, 20)
    np.testing.assert_array_equal(plain[0], best(kernels.dot_rows(q, C), 20))
    np.testing.assert_array_equal(block[0], plain[0])
    np.testing.assert_array_equal(block[1], plain[1])


def test_ties_go_to_the_lower_index(isa: str) -> None:
    rng = np.random.default_rng(1)
    levels = rng.integers(-2, 3, 1000).astype(np.float32)  # many rows of equal score
    C = np.repeat(levels[:, None], 8, axis=1)
    q = np.ones(8, np.float32)
    for k in (1, 5, 300, 1000):
        for indices, _ in (kernels.topk(q, C, k), kernels.CentroidBlock(C).topk(q, k)):
            np.testing.assert_array_equal(indices, best(levels, k))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(isa: str, floats: Maker, poison: float) -> None:
    q, C = floats(17), floats(100, 17)
    block = kernels.CentroidBlock(C)
    bad_q = q.copy()
    bad_q[16] = poison
    C[97, 3] = poison
    for search in (
        lambda: kernels.topk(q, C, 5),
        lambda: kernels.topk(bad_q, block.rows, 5),
        lambda: block.topk(bad_q, 5),
        lambda: kernels.CentroidBlock(C),
    ):
        with pytest.raises(InvalidValue, match="NaN or infinite"):
            search()


def test_a_block_keeps_its_own_rows(floats: Maker) -> None:
    q, C = floats(16), floats(10, 16)
    block = kernels.CentroidBlock(C)
    before = block.topk(q, 3)
    C[:] = 0
    np.testing.assert_array_equal(block.topk(q, 3)[1], before[1])
    assert len(block) == 10
    with pytest.raises(ValueError, match="read-only"):
        block.rows[0, 0] = 1


def test_wrong_arguments_are_named() -> None:
    C = np.zeros((4, 8), np.float32)
    q = np.zeros(9, np.float32)
    with pytest.raises(DimensionMismatch, match="q has 9 dimensions, expected 8"):
        kernels.topk(q, C, 1)
    with pytest.raises(DimensionMismatch, match="q has 9 dimensions, expected 8"):
        kernels.CentroidBlock(C).topk(q, 1)
    with pytest.raises(InvalidValue, match="k is -1"):
        kernels.topk(C[0], C, -1)
