"""Reading, decoding and validation of a version's stored arrays."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import Connection

from sona_pg.domain.state import Arrays, FisherSnapshot, LoraWeights
from sona_pg.errors import DamagedVersion
from sona_pg.store.connect import copy_query, driver_connection
from sona_pg.store.copying import copying_in

# By COPY, in pieces: as parameters the megabytes of an array were copied four times.
WRITTEN = ("space_id", "version", "part", "name", "dtype", "shape", "data")
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
INT4 = 23  # OID
PIECE = 1 << 20  # bytes
READ = sql.SQL("""
SELECT part, name, dtype, shape, data FROM sona.state_arrays
WHERE space_id = {space} AND version = {version} {of_part} ORDER BY part, name
""")
TYPES = ("text", "text", "text", "int4[]", "bytea")


class StoredArray(NamedTuple):
    """A row of ``sona.state_arrays``."""

    part: str
    name: str
    dtype: str
    shape: Sequence[int]
    data: bytes


def read_stored(connection: Connection, space_id: int, version: int, part: str | None = None) -> Iterator[StoredArray]:
    """Yield the arrays of a version, of one part if it is named.

    By COPY, a row at a time: as a result the graph of 100,000 nodes (95 MB) took 190 MB of hexadecimal digits as well.
    """
    of_part = sql.SQL("") if part is None else sql.SQL("AND part = {}").format(part)
    query = READ.format(space=space_id, version=version, of_part=of_part)
    with driver_connection(connection).cursor().copy(copy_query(connection, query)) as copy:
        copy.set_types(TYPES)
        for row in copy.rows():
            yield StoredArray(*row)


def write_stored(connection: Connection, space_id: int, version: int, arrays: Mapping[str, Arrays]) -> None:
    """Store the arrays of a version."""
    with copying_in(driver_connection(connection), "state_arrays", WRITTEN) as copy:
        copy.write(HEADER)
        for part, named in arrays.items():
            for name, values in named.items():
                little = values.astype(values.dtype.newbyteorder("<"), copy=False)
                data = np.ascontiguousarray(little).reshape(-1).view(np.uint8).data
                copy.write(_head_of_row(space_id, version, part, name, little, len(data)))
                for start in range(0, len(data), PIECE):
                    copy.write(data[start : start + PIECE])
        copy.write(TRAILER)


def _head_of_row(space_id: int, version: int, part: str, name: str, values: NDArray[Any], size: int) -> bytes:
    """Return a row up to its last value: count of fields, then length and value of each, in network order."""
    texts = (text.encode() for text in (part, name, values.dtype.str))
    shape = struct.pack(">iii", min(values.ndim, 1), 0, INT4)  # axes, flags, type; then length, lower bound, cells
    if values.ndim:
        cells = (cell for axis in values.shape for cell in (4, axis))
        shape += struct.pack(f">{2 + 2 * values.ndim}i", values.ndim, 1, *cells)
    fields = (struct.pack(">i", space_id), struct.pack(">q", version), *texts, shape)
    packed = b"".join(struct.pack(">i", len(field)) + field for field in fields)
    return struct.pack(">h", len(fields) + 1) + packed + struct.pack(">i", size)


class Holder(NamedTuple):
    """The version that holds the arrays, as errors name it."""

    space: str
    version: int

    def damaged(self, what: str, why: str) -> DamagedVersion:
        """Return the error for an unreadable part of the version, with the remedy."""
        return DamagedVersion(
            f"version {self.version} of space {self.space!r}, {what}: {why}. Something other than sona-pg has changed "
            "it: make the version anew from the ledger (sona-pg rebuild --publish, or rebuild(publish=True)), roll "
            "back to another version, or load a saved one"
        )

    def array(self, what: str, data: bytes, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
        """Return the array named ``what``, read-only.

        Raises:
            DamagedVersion: ``data`` is not an array of that type and shape.
        """
        try:
            kind = np.dtype(dtype)
        except (TypeError, ValueError) as exc:
            raise self.damaged(what, f"its type {dtype!r} is unknown") from exc
        expected = kind.itemsize * prod(shape)
        if kind.hasobject or min(shape, default=0) < 0 or len(data) != expected:
            raise self.damaged(
                what, f"{len(data)} bytes are stored, expected {expected} for type {dtype!r} and shape {tuple(shape)}"
            )
        return np.frombuffer(data, kind).reshape(shape)

    def adapter(self, row: Any) -> LoraWeights:
        """Return an adapter of the version; ``row`` is of ``sona.adapters``."""
        part, shape = f"part '{row.kind} adapter {row.layer}'", (row.rank, row.dim)
        a, b = (self.array(f"{part}, array {name!r}", getattr(row, name), "<f4", shape) for name in ("a", "b"))
        return LoraWeights(a.copy(), b.copy(), row.scale)

    def fisher(self, row: Any) -> FisherSnapshot:
        """Return a task's Fisher information; ``row`` is of ``sona.fisher_snapshots`` or ``sona.version_tasks``."""
        part = f"part 'task {row.task}, layer {row.layer}'"
        fisher, optimum = (
            self._vector(f"{part}, array {name!r}", getattr(row, name)) for name in ("fisher", "optimum")
        )
        return FisherSnapshot(row.task, row.layer, fisher, optimum, row.kind)

    def _vector(self, what: str, data: bytes) -> NDArray[np.float32]:
        """Return a float32 vector of any length."""
        return self.array(what, data, "<f4", (-(-len(data) // 4),)).copy()
