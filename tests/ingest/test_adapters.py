"""Applying adapters: x + scale B^T A x, for any layout of x, while other threads swap the adapter."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sona_pg.recorder import Adapter, HotPath

DIM = 16
rng = np.random.default_rng(1)
A, B = (rng.standard_normal((2, DIM)).astype(np.float32) for _ in range(2))
X = rng.standard_normal((50, DIM)).astype(np.float32)
SCALE = 0.5
EXPECTED = X + SCALE * (X.astype(np.float64) @ A.T) @ B


def test_without_an_adapter_the_result_is_a_copy(hot: HotPath) -> None:
    result = hot.apply_micro_lora(X[0])
    assert result.tolist() == X[0].tolist()
    assert not np.shares_memory(result, X)


def test_one_vector_and_a_batch_follow_the_formula(hot: HotPath) -> None:
    hot.set_adapters(Adapter(A, B, SCALE))
    np.testing.assert_allclose(hot.apply_micro_lora(X[3]), EXPECTED[3], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(hot.apply_micro_lora(X), EXPECTED, rtol=1e-5, atol=1e-5)
    assert hot.apply_micro_lora(X[:0]).shape == (0, DIM)


def test_a_large_batch_without_the_gil_gives_the_same(hot: HotPath) -> None:
    hot.set_adapters(Adapter(A, B, SCALE))
    many = np.tile(X, (100, 1))
    assert hot.apply_micro_lora(many).tobytes() == np.tile(hot.apply_micro_lora(X), (100, 1)).tobytes()


@pytest.mark.parametrize("kind", [np.float64, np.float16, list])
def test_other_types_are_converted(hot: HotPath, kind: type) -> None:
    hot.set_adapters(Adapter(A, B, SCALE))
    x = X[0].tolist() if kind is list else X[0].astype(kind)
    result = hot.apply_micro_lora(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, EXPECTED[0], rtol=1e-2, atol=1e-2)


def test_out_is_filled_and_returned_and_may_be_x_itself(hot: HotPath) -> None:
    hot.set_adapters(Adapter(A, B, SCALE))
    out = np.empty(DIM, np.float32)
    assert hot.apply_micro_lora(X[0], out=out) is out
    np.testing.assert_allclose(out, EXPECTED[0], rtol=1e-5, atol=1e-5)
    same = X.copy()
    hot.apply_micro_lora(same, out=same)
    np.testing.assert_allclose(same, EXPECTED, rtol=1e-5, atol=1e-5)


def test_out_that_overlaps_x_by_a_shift_is_right_as_well(hot: HotPath) -> None:
    hot.set_adapters(Adapter(A, B, SCALE))
    room = np.zeros((51, DIM), np.float32)
    room[:50] = X
    hot.apply_micro_lora(room[:50], out=room[1:])
    np.testing.assert_allclose(room[1:], EXPECTED, rtol=1e-5, atol=1e-5)


def test_layers_have_adapters_of_their_own(hot: HotPath) -> None:
    hot.set_adapters(None, [Adapter(A, B, SCALE), None])
    np.testing.assert_allclose(hot.apply_base_lora(0, X[0]), EXPECTED[0], rtol=1e-5, atol=1e-5)
    assert hot.apply_base_lora(1, X[0]).tolist() == X[0].tolist()


def test_an_adapter_keeps_a_read_only_copy(hot: HotPath) -> None:
    mine = A.copy()
    adapter = Adapter(mine, B, SCALE)
    mine[:] = 0
    assert adapter.A.tolist() == A.tolist()
    assert not adapter.A.flags.writeable
    assert (adapter.rank, adapter.dim, adapter.scale) == (2, DIM, SCALE)


def test_a_swap_while_others_apply_never_mixes_two_adapters(hot: HotPath) -> None:
    plus, minus = Adapter(A, B, 1.0), Adapter(A, B, -1.0)
    hot.set_adapters(plus)
    both = {hot.apply_micro_lora(X[0]).tobytes()}
    hot.set_adapters(minus)
    both.add(hot.apply_micro_lora(X[0]).tobytes())
    seen: set[bytes] = set()
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            hot.set_adapters(Adapter(A, B, 1.0))
            hot.set_adapters(Adapter(A, B, -1.0))

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(20_000):
        seen.add(hot.apply_micro_lora(X[0]).tobytes())
    ended.set()
    thread.join()
    assert seen <= both
