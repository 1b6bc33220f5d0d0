"""Fixtures of the kernel tests: every instruction set of this machine, awkward lengths, unaligned arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg import kernels

LENGTHS = [0, 1, 7, 8, 15, 16, 17, 97, 256, 384, 1536]
UNIT = 2.0**-24  # the rounding unit of float32: |fl(a op b) - (a op b)| <= UNIT |a op b|

Floats = NDArray[np.float32]
Maker = Callable[..., Floats]


@pytest.fixture(params=kernels.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test under one instruction set after the other."""
    before = kernels.isa()
    kernels.use_isa(request.param)
    yield request.param
    kernels.use_isa(before)


def unaligned(array: NDArray[Any], offset: int) -> NDArray[Any]:
    """A writable copy whose data begin `offset` bytes past a 64-byte boundary."""
    memory = np.zeros(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert view.ctypes.data % 64 == offset or array.nbytes == 0
    return view


@pytest.fixture(params=[0, 1, 4, 28], ids=lambda offset: f"off{offset}")
def floats(request: pytest.FixtureRequest) -> Maker:
    """Makes normal float32 arrays whose memory lies that many bytes off a cache line."""
    rng = np.random.default_rng(7)

    def make(*shape: int) -> Floats:
        return unaligned(rng.standard_normal(shape).astype(np.float32), request.param)

    return make


def gamma(n: float) -> float:
    """Higham's constant: the relative error that n roundings can add up to."""
    return n * UNIT / (1 - n * UNIT)
