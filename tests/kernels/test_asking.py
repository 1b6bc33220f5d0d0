"""Queries answered in one compiled call, against float64 and the readable versions in learning/."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

from .conftest import LENGTHS, Maker, gamma


@pytest.mark.parametrize("n", LENGTHS)
def test_the_exponential_is_within_four_units_in_the_last_place(isa: str, floats: Maker, n: int) -> None:
    x = -np.abs(floats(n)) * 20
    exact = np.exp(x.astype(np.float64))
    kernels.exp_negative(x)
    assert np.all(np.abs(x - exact) <= 8 * 2.0**-24 * exact + 2e-38)


def test_the_exponential_of_zero_is_one_and_of_very_little_is_nothing(isa: str) -> None:
    x = np.array([0.0, -1e-30, -87.0, -1e4, -3e38, -np.inf], np.float32)
    kernels.exp_negative(x)
    assert x[:2].tolist() == [1.0, 1.0]
    assert np.all((x[2:] >= 0) & (x[2:] < 2e-38))


@pytest.mark.parametrize("d", [1, 7, 16, 97, 256])
@pytest.mark.parametrize("m", [1, 5, 40])
def test_the_nearest_rows_come_with_their_cosines(isa: str, floats: Maker, m: int, d: int) -> None:
    C, x = floats(m, d), 3 * floats(d)
    kernels.normalize_rows(C, C)
    names = tuple(f"row {row}" for row in range(m))
    found = kernels.CentroidBlock(C).nearest(x, 4, names)
    assert found is not None
    exact = C.astype(np.float64) @ x / np.linalg.norm(x.astype(np.float64))
    best = np.argsort(-exact, kind="stable")[:4]
    assert [exact[names.index(name)] for name in found[0]] == pytest.approx(exact[best], abs=gamma(d + 8))
    assert found[1] == pytest.approx(exact[best], abs=gamma(d + 8))


def test_of_equal_rows_the_first_comes_first_whichever_way_they_are_read(isa: str) -> None:
    x = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    block = kernels.CentroidBlock(np.tile(x / np.linalg.norm(x), (1000, 1)).astype(np.float32))
    for _ in range(4):
        found = block.nearest(x, 3, tuple(range(1000)))
        assert found is not None
        assert found[0] == (0, 1, 2)
        assert block.topk(x, 3)[0].tolist() == [0, 1, 2]


def test_only_the_requested_rows_are_searched(isa: str, floats: Maker) -> None:
    C, x, rows = floats(300, 32), floats(32), np.array([3, 5, 200, 299])
    found = kernels.CentroidBlock(C).nearest(x, 9, tuple(range(300)), rows)
    assert found is not None
    assert list(found[0]) == sorted(rows.tolist(), key=lambda row: -float(C[row] @ x))
    assert kernels.CentroidBlock(C).nearest(x, 9, tuple(range(300)), rows[:0]) == ((), ())
    with pytest.raises(InvalidValue):
        kernels.CentroidBlock(C).nearest(x, 1, tuple(range(300)), np.array([300]))
    with pytest.raises(DimensionMismatch):
        kernels.CentroidBlock(C).nearest(x, 1, (1, 2))


@pytest.mark.parametrize(
    "x",
    [
        [1.0] * 8,
        np.ones(8),
        np.ones(9, np.float32),
        np.ones((1, 8), np.float32),
        np.ones(16, np.float32)[::2],
        np.ones(8, ">f4"),
        np.zeros(8, np.float32),
        np.full(8, np.nan, np.float32),
        np.array([np.inf] + [0.0] * 7, np.float32),
        np.full(8, 1e25, np.float32),
        None,
    ],
)
def test_queries_that_need_conversion_are_returned_to_the_caller(isa: str, x: object) -> None:
    C = np.eye(8, dtype=np.float32)
    assert not kernels.is_direction(x, 8)
    assert kernels.CentroidBlock(C).nearest(x, 1, tuple(range(8))) is None
    assert kernels.CandidateBlock(C, np.zeros(8, np.float32)).best(x, 1, tuple(range(8))) is None


@pytest.mark.parametrize("d", [1, 15, 97, 256])
@pytest.mark.parametrize("m", [1, 30, 400])
def test_candidates_are_ranked_by_scores_affine_in_the_query(isa: str, floats: Maker, m: int, d: int) -> None:
    weights, offset, x = floats(m, d), floats(m), 5 * floats(d)
    exact = weights.astype(np.float64) @ x / np.linalg.norm(x.astype(np.float64)) + offset
    best = kernels.CandidateBlock(weights, offset).best(x, 100, tuple(range(m)), 2.5)
    assert best is not None
    order, scores, among = best
    assert among == pytest.approx(np.exp(2.5 * (exact - exact.max())).sum(), rel=1e-4)
    assert scores.dtype == np.float32
    assert len(order) == min(m, 100)
    assert len(set(order)) == len(order)
    assert np.all(np.diff(scores) <= 0)
    bound = float(gamma(d + 8) * np.linalg.norm(weights, axis=1).max() + 1e-6)
    assert np.abs(scores - exact[list(order)]).max() <= bound
    assert scores == pytest.approx(np.sort(exact)[::-1][:100], abs=bound)


def test_a_price_makes_the_remembered_calls_meet_the_budget() -> None:
    rng = np.random.default_rng(3)
    for width in (2, 3, 7):
        window = kernels.PriceWindow(100)
        values, costs = rng.random((140, width)), rng.random((140, width))
        for slot in range(140):
            assert window.put(slot, values[slot].tolist(), costs[slot].tolist()) == np.ptp(costs[slot])
        window.reprice(139, 60)
        for wanted in (0.3, 0.4, 0.5):
            price = window.price(wanted)
            net = values[80:] - price * costs[80:]
            paid = costs[80:][np.arange(60), net.argmax(axis=1)].mean()
            assert paid == pytest.approx(wanted, abs=2.5 / 60)
        last, cheapest = values[40:], costs[40:].min(axis=1)
        assert len(last) == 100
        assert window.least_cost(1000) == pytest.approx(cheapest.sum())


def test_a_window_takes_calls_of_any_width_and_nothing_that_is_not_finite() -> None:
    window = kernels.PriceWindow(16)
    assert window.price(0.0) == 0.0
    assert window.put(0, [1.0], [2.0]) == 0.0
    assert window.put(1, [1.0, 2.0, 3.0], [1.0, 4.0, 2.0]) == 3.0
    assert window.width == 3
    for values, costs in (([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [np.inf])):
        assert window.put(2, values, costs) == -1.0
    assert window.least_cost(2) == 3.0


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_text_is_described_as_counted_by_hand(text: str) -> None:
    length = max(len(text), 1)
    digits = sum(letter.isdigit() for letter in text)
    symbols = sum(not letter.isalnum() and not letter.isspace() for letter in text)
    expected = np.array([np.log(length), digits / length, symbols / length], np.float32)
    np.testing.assert_allclose(kernels.text_features(text), expected, rtol=1e-6)


def test_prices_are_read_from_plain_numbers_alone() -> None:
    assert kernels.prices_of(("a", "b"), {"b": 2, "a": 0.5, "c": None}) == (0.5, 2.0)
    for costs in (
        {"a": 1.0},
        {"a": 1, "b": -1},
        {"a": 1, "b": np.nan},
        {"a": 1, "b": "x"},
        {"a": 1, "b": True},
        [1, 2],
    ):
        assert kernels.prices_of(("a", "b"), costs) is None  # type: ignore[arg-type]
