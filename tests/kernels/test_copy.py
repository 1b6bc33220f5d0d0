"""Binary COPY, decoded from rows built by hand."""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">II", 0, 0)
TRAILER = struct.pack(">h", -1)
COLUMNS: list[Any] = [
    ("id", "uuid"),
    ("flag", "bool"),
    ("small", "int2"),
    ("count", "int4"),
    ("big", "int8"),
    ("quality", "float4"),
    ("cost", "float8"),
    ("at", "timestamptz"),
    ("centroid", "vector", 3),
    ("embedding", "halfvec", 9),
    ("route", "text"),
    ("context", "jsonb"),
    ("blob", "bytea"),
]
IDS = [uuid.UUID(int=i * 0x0123456789ABCDEF0123456789ABCDEF % 2**128) for i in range(1, 4)]


def row(fields: Iterable[bytes | None]) -> bytes:
    fields = list(fields)
    parts = [struct.pack(">h", len(fields))]
    for field in fields:
        parts.append(struct.pack(">i", -1) if field is None else struct.pack(">i", len(field)) + field)
    return b"".join(parts)


def vector(values: Any, kind: str = ">f4") -> bytes:
    return struct.pack(">hh", len(values), 0) + np.asarray(values).astype(kind).tobytes()


def full_row(i: int) -> list[bytes | None]:
    return [
        IDS[i].bytes,
        bytes([i % 2]),
        struct.pack(">h", -5 - i),
        struct.pack(">i", -70000 - i),
        struct.pack(">q", -(2**40) - i),
        struct.pack(">f", 0.1 * i),
        struct.pack(">d", 0.1 * i),
        struct.pack(">q", i * 1_000_000),
        vector([i, 1.5, -2.25]),
        vector(np.arange(9) / 4 + i, ">f2"),
        f"route-{i} ä".encode(),
        b"\x01" + f'{{"i": {i}}}'.encode(),
        bytes(range(i)),
    ]


STREAM = HEADER + row(full_row(0)) + row([None] * len(COLUMNS)) + row(full_row(2)) + TRAILER


def check(decoder: kernels.CopyDecoder) -> None:
    got, masks = decoder.finish(), decoder.null_masks
    assert decoder.rows == 3
    assert list(got) == [column[0] for column in COLUMNS]
    for mask in masks.values():
        np.testing.assert_array_equal(mask, [False, True, False])
    assert [bytes(x) for x in got["id"]] == [IDS[0].bytes, bytes(16), IDS[2].bytes]
    np.testing.assert_array_equal(got["flag"], [False, False, False])
    np.testing.assert_array_equal(got["small"], np.array([-5, 0, -7], np.int16))
    np.testing.assert_array_equal(got["count"], np.array([-70000, 0, -70002], np.int32))
    np.testing.assert_array_equal(got["big"], np.array([-(2**40), 0, -(2**40) - 2], np.int64))
    np.testing.assert_array_equal(got["quality"], np.array([0, 0, 0.1 * 2], np.float32))
    np.testing.assert_array_equal(got["cost"], [0, 0, 0.1 * 2])
    assert got["at"][2] == np.datetime64("2000-01-01T00:00:02")
    np.testing.assert_array_equal(got["centroid"], np.array([[0, 1.5, -2.25], [0] * 3, [2, 1.5, -2.25]], np.float32))
    np.testing.assert_array_equal(
        got["embedding"][[0, 2]], np.array([np.arange(9) / 4, np.arange(9) / 4 + 2], np.float32)
    )
    assert not got["embedding"][1].any()
    assert list(got["route"]) == ["route-0 ä", None, "route-2 ä"]
    assert list(got["context"]) == ['{"i": 0}', None, '{"i": 2}']
    assert list(got["blob"]) == [b"", None, b"\x00\x01"]


def test_the_stream_may_be_cut_at_any_byte(isa: str) -> None:
    for cut in range(len(STREAM) + 1):
        decoder = kernels.CopyDecoder(COLUMNS, capacity=1)
        decoder.feed(STREAM[:cut])
        decoder.feed(memoryview(STREAM)[cut:])
        check(decoder)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_chunks_of_any_size(isa: str, size: int) -> None:
    decoder = kernels.CopyDecoder(COLUMNS, capacity=2)
    for at in range(0, len(STREAM), size):
        decoder.feed(STREAM[at : at + size])
    check(decoder)


def test_a_stream_that_ends_early_is_refused() -> None:
    for cut in range(len(STREAM)):
        decoder = kernels.CopyDecoder(COLUMNS)
        decoder.feed(STREAM[:cut])
        with pytest.raises(InvalidValue, match="without its trailer"):
            decoder.finish()


def test_many_rows_grow_the_columns(isa: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 97)).astype(np.float16)
    texts = [("x" * int(n)).encode() for n in rng.integers(0, 300, 5000)]
    stream = b"".join([HEADER, *(row([vector(x, ">f2"), t]) for x, t in zip(X, texts, strict=True)), TRAILER])
    decoder = kernels.CopyDecoder([("embedding", "halfvec", 97), ("text", "text")], capacity=3)
    for at in range(0, len(stream), 50_000):
        decoder.feed(stream[at : at + 50_000])
    got = decoder.finish()
    np.testing.assert_array_equal(got["embedding"], X.astype(np.float32))
    assert list(got["text"]) == [t.decode() for t in texts]


def test_a_header_extension_is_skipped() -> None:
    decoder = kernels.CopyDecoder([("n", "int2")])
    decoder.feed(HEADER[:15] + struct.pack(">I", 5) + b"extra" + row([b"\0\7"]) + TRAILER)
    np.testing.assert_array_equal(decoder.finish()["n"], [7])


@pytest.mark.parametrize(
    ("columns", "stream", "error", "message"),
    [
        ([("n", "int4")], b"1\t2\n", InvalidValue, "does not begin with the signature of binary COPY"),
        ([("n", "int4")], HEADER[:11] + struct.pack(">II", 1 << 16, 0), InvalidValue, "flags 0x10000"),
        ([("n", "int4")], HEADER + row([bytes(4)] * 2), InvalidValue, "row 0: 2 fields, expected 1"),
        ([("n", "int4")], HEADER + row([bytes(4)]) + row([bytes(8)]), InvalidValue,
         r"row 1, column 'n' \(int4\): a length of 8 bytes, expected 4"),
        ([("n", "int4")], HEADER + struct.pack(">hi", 1, -2), InvalidValue, "a length of -2 bytes"),
        ([("n", "int4")], HEADER + TRAILER + b"x", InvalidValue, "1 bytes after the end"),
        ([("e", "halfvec", 3)], HEADER + row([vector([1, 2], ">f2")]), DimensionMismatch,
         r"row 0, column 'e' \(halfvec\) has 2 dimensions, expected 3"),
        ([("e", "vector", 2)], HEADER + row([vector([1, 2], ">f2")]), InvalidValue,
         "a length of 8 bytes, expected 12"),
        ([("e", "vector", 2)], HEADER + row([b"\0"]), InvalidValue, "a length of 1 bytes, expected 12"),
        ([("e", "vector", 2)], HEADER + row([b"\xff\xff\0\0"]), DimensionMismatch, "has -1 dimensions"),
    ],
)  # fmt: skip
def test_malformed_input_names_column_and_row(
    columns: list[Any], stream: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kernels.CopyDecoder(columns).feed(stream)


@pytest.mark.parametrize("columns", [[("a", "money")], [("a", "vector")], [("a", "int4", 3)], [("a", "vector", 0)]])
def test_malformed_columns_are_refused(columns: list[Any]) -> None:
    with pytest.raises(InvalidValue, match="column"):
        kernels.CopyDecoder(columns)


def test_a_second_thread_is_refused_or_waits_its_turn() -> None:
    stream = HEADER + row([vector(np.zeros(256), ">f2")]) * 20_000
    decoder = kernels.CopyDecoder([("e", "halfvec", 256)], capacity=20_000)
    refused: list[str] = []

    def feed(data: bytes) -> None:
        try:
            decoder.feed(data)
        except InvalidValue as error:
            refused.append(str(error))

    threads = [threading.Thread(target=feed, args=(stream,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Fed one after the other, the second header is nonsense; fed at once, the second is told so.
    assert decoder.rows == 20_000
    assert len(refused) == 1
