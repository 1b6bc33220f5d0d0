"""Unit rows of a catalog: the same numbers, kept or converted when asked for."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.domain import catalog
from sona_pg.domain.catalog import Catalog


@pytest.fixture(params=[0, 1 << 23], ids=["converted", "kept"])
def candidates(request, monkeypatch) -> Catalog:
    monkeypatch.setattr(catalog, "MOST_KEPT", request.param)
    rows = 3.0 * np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    rows[7] = 0.0
    return Catalog.of([f"c{row}" for row in range(20)], rows)


@pytest.mark.parametrize(
    "rows", [slice(2, 9), np.array([3, 7, 1]), np.arange(6).reshape(2, 3), np.zeros(0, np.int32), slice(None)]
)
def test_rows_have_length_one_and_those_of_zeros_stay(candidates, rows):
    halves = candidates.halves.astype(np.float32)
    lengths = np.linalg.norm(halves, axis=1, keepdims=True)
    expected = np.divide(halves, lengths, out=np.zeros_like(halves), where=lengths > 0)[rows]
    found = candidates.embeddings[rows]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_kept_and_converted_rows_are_equal_to_the_bit(monkeypatch):
    rows = np.random.default_rng(1).standard_normal((9, 5)).astype(np.float16)
    kept = catalog.UnitRows(rows)[:]
    monkeypatch.setattr(catalog, "MOST_KEPT", 0)
    np.testing.assert_array_equal(catalog.UnitRows(rows)[:], kept)


def test_the_mean_is_that_of_the_rows(candidates):
    np.testing.assert_allclose(candidates.mean, candidates.embeddings[:].mean(axis=0), atol=1e-6)


def test_a_catalog_that_grows_keeps_its_rows(candidates):
    other = Catalog.of(["c3", "new"], np.ones((2, 6), np.float32))
    longer = candidates.followed_by(other)
    np.testing.assert_array_equal(longer.embeddings[:20], candidates.embeddings[:])
    np.testing.assert_allclose(longer.embeddings[20:], np.full((1, 6), 6**-0.5), rtol=1e-6)
