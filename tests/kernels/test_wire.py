"""Conversions to and from Postgres' binary formats: bit-equal to NumPy under every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import InvalidValue

from .conftest import LENGTHS, Floats, Maker, unaligned


def every_half() -> Floats:
    """All finite half-precision values as float32."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    return halves[np.isfinite(halves)].astype(np.float32)


def test_every_half_survives_the_round_trip(isa: str) -> None:
    x = every_half()
    data = kernels.f32_to_f16_be(x)
    assert data == x.astype(">f2").tobytes()
    assert kernels.f16_be_to_f32(data).tobytes() == x.tobytes()


def test_rounding_is_to_nearest_even(isa: str) -> None:
    x = np.sort(every_half())
    middle = ((x[:-1].astype(np.float64) + x[1:]) / 2).astype(np.float32)  # exact ties
    points = np.concatenate([middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, -np.float32(9e9))])
    points = np.concatenate([points, np.array([1e-45, -1e-45, 2**-25, 2**-25 * 1.0001, 65519.99], np.float32)])
    assert kernels.f32_to_f16_be(points) == points.astype(">f2").tobytes()


@pytest.mark.parametrize("n", LENGTHS)
def test_lengths_and_alignment(isa: str, floats: Maker, n: int) -> None:
    x = floats(n)
    assert kernels.f32_to_f16_be(x) == x.astype(">f2").tobytes()
    assert kernels.f32_to_be(x) == x.astype(">f4").tobytes()
    for offset in (0, 1, 3):
        half = unaligned(x.astype(">f2").view(np.uint8), offset)
        single = unaligned(x.astype(">f4").view(np.uint8), offset)
        np.testing.assert_array_equal(kernels.f16_be_to_f32(half), x.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(kernels.be_to_f32(single), x)


@pytest.mark.parametrize("poison", [65520.0, -65520.0, 1e38, np.inf, -np.inf, np.nan])
def test_values_beyond_half_precision_are_counted(isa: str, floats: Maker, poison: float) -> None:
    for at in (0, 7, 8, 17, 18):
        x = floats(19)
        x[[at, 3]] = poison
        with pytest.raises(InvalidValue, match="2 of 19 elements of x"):
            kernels.f32_to_f16_be(x)


def test_infinities_come_back_from_the_wire(isa: str) -> None:
    x = np.tile(np.array([np.inf, -np.inf, np.nan, 1.0], np.float32), 5)
    np.testing.assert_array_equal(kernels.f16_be_to_f32(x.astype(">f2").tobytes()), x)


def test_crc32c_meets_the_published_vectors(isa: str) -> None:
    # RFC 3720, appendix B.4.
    assert kernels.crc32c(b"123456789") == 0xE3069283
    assert kernels.crc32c(bytes(32)) == 0x8A9136AA
    assert kernels.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert kernels.crc32c(bytes(range(32))) == 0x46DD794E
    assert kernels.crc32c(b"") == 0


def test_crc32c_goes_on_from_a_seed(isa: str) -> None:
    data = np.random.default_rng(0).integers(0, 256, 100_001, dtype=np.uint8)
    for cut in (0, 1, 7, 8, 9, 4096):
        assert kernels.crc32c(data[cut:], kernels.crc32c(data[:cut])) == kernels.crc32c(data)


def test_odd_lengths_are_refused() -> None:
    with pytest.raises(InvalidValue, match="3 bytes, expected a multiple of 2"):
        kernels.f16_be_to_f32(b"abc")
