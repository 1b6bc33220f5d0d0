"""LoRA forward and backward against float64, within the bound of float32 rounding."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

from .conftest import LENGTHS, Floats, Maker, gamma

SCALE = 0.75
RANKS = [1, 2, 3, 4, 7, 8, 16]


def reference(x: Floats, A: Floats, B: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The exact forward pass and a bound on the rounding error of any order of summation.

    A hidden value h = s A.x has d products and sums and one scaling: error <= gamma(d + 2) s |A|.|x|. Each
    enters the output times B, and the output adds rank + 1 terms with rank products.
    """
    x64, A64, B64 = (array.astype(np.float64) for array in (x, A, B))
    rank, d = A.shape
    exact = x64 + SCALE * (x64 @ A64.T) @ B64
    magnitude = np.abs(x64) + SCALE * (np.abs(x64) @ np.abs(A64).T) @ np.abs(B64)
    return exact, gamma(d + 2 * rank + 4) * magnitude


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("rank", RANKS)
def test_forward_is_within_the_rounding_bound(isa: str, floats: Maker, d: int, rank: int) -> None:
    A, B = floats(rank, d), floats(rank, d)
    for x in (floats(d), floats(3, d)):
        out = floats(*x.shape)
        exact, bound = reference(x, A, B)
        assert kernels.lora_forward(x, A, B, SCALE, out=out) is out
        assert np.all(np.abs(out - exact) <= bound)


def test_a_batch_equals_its_rows_and_may_be_done_in_place(isa: str, floats: Maker) -> None:
    x, A, B = floats(5, 97), floats(6, 97), floats(6, 97)
    rows = np.array([kernels.lora_forward(row.copy(), A, B, SCALE) for row in x])
    np.testing.assert_array_equal(kernels.lora_forward(x, A, B, SCALE), rows)
    kernels.lora_forward(x, A, B, SCALE, out=x)
    np.testing.assert_array_equal(x, rows)


def test_zero_b_returns_the_input(isa: str, floats: Maker) -> None:
    x, A = floats(256), floats(2, 256)
    np.testing.assert_array_equal(kernels.lora_forward(x, A, np.zeros_like(A), 1.0), x)


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_backward_adds_the_gradient(isa: str, floats: Maker, d: int, weighted: bool) -> None:
    n, rank = 3, 5
    x, delta, A, B, dA, dB = (floats(n, d), floats(n, d), *(floats(rank, d) for _ in range(4)))
    weights = floats(n) if weighted else None
    w = np.ones(n) if weights is None else weights.astype(np.float64)
    x64, delta64, A64, B64 = (array.astype(np.float64) for array in (x, delta, A, B))
    hidden, back = x64 @ A64.T, delta64 @ B64.T
    exact = [dA + SCALE * (w[:, None] * back).T @ x64, dB + SCALE * (w[:, None] * hidden).T @ delta64]
    # Each sample adds a product of a rounded dot product (d roundings), scale, weight and x: n samples.
    magnitudes = [
        np.abs(start) + SCALE * (np.abs(w)[:, None] * (np.abs(left) @ np.abs(factor).T)).T @ np.abs(right)
        for start, left, factor, right in ((dA, delta64, B64, x64), (dB, x64, A64, delta64))
    ]
    kernels.lora_backward(x, delta, A, B, SCALE, dA, dB, weights)
    for got, want, magnitude in zip((dA, dB), exact, magnitudes, strict=True):
        assert np.all(np.abs(got - want) <= gamma(d + n + 6) * magnitude)


def test_backward_of_one_row_is_the_derivative_of_forward(isa: str, floats: Maker) -> None:
    x, delta, A, B = floats(16), floats(16), floats(2, 16), floats(2, 16)
    dA, dB = np.zeros_like(A), np.zeros_like(B)
    kernels.lora_backward(x, delta, A, B, SCALE, dA, dB)
    step = 0.25  # the output is linear in A and in B alone, so a large step is exact
    for matrix, gradient in ((A, dA), (B, dB)):
        moved = matrix.copy()
        moved[1, 3] += step
        args = (moved, B) if matrix is A else (A, moved)
        change = delta @ (kernels.lora_forward(x, *args, SCALE) - kernels.lora_forward(x, A, B, SCALE))
        assert change / step == pytest.approx(gradient[1, 3], abs=1e-3)


def test_wrong_arguments_are_named() -> None:
    x, A = np.zeros(8, np.float32), np.zeros((2, 8), np.float32)
    with pytest.raises(DimensionMismatch, match="A has 8 dimensions, expected 7"):
        kernels.lora_forward(x[:7].copy(), A, A, 1.0)
    with pytest.raises(InvalidValue, match="x is a contiguous array of float64, expected C-contiguous float32"):
        kernels.lora_forward(x.astype(np.float64), A, A, 1.0)  # type: ignore[arg-type, unused-ignore]
    with pytest.raises(InvalidValue, match="A is a strided array"):
        kernels.lora_forward(x, np.asfortranarray(A), A, 1.0)
    with pytest.raises(InvalidValue, match="x is a list, expected a NumPy array"):
        kernels.lora_forward([0.0], A, A, 1.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="A has 17 rows, expected a rank of 1 to 16"):
        kernels.lora_forward(x, np.zeros((17, 8), np.float32), A, 1.0)
    with pytest.raises(InvalidValue, match="expected the same rank"):
        kernels.lora_forward(x, A, A[:1].copy(), 1.0)
    frozen = np.zeros(8, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(InvalidValue, match="out is read-only"):
        kernels.lora_forward(x, A, A, 1.0, out=frozen)
    with pytest.raises(InvalidValue, match="x is a contiguous array of >f4, expected C-contiguous"):
        kernels.lora_forward(x.astype(">f4"), A, A, 1.0)
    with pytest.raises(InvalidValue, match=r"out has shape \(3, 8\), expected \(2, 8\)"):
        kernels.lora_forward(np.zeros((2, 8), np.float32), A, A, 1.0, out=np.zeros((3, 8), np.float32))
