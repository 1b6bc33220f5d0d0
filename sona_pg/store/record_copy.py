"""Rows of several queries by one COPY, which is one statement with one plan, one snapshot and one round trip.

COPY sends only rows of equal columns, so each row is sent as its query's number, its columns in the binary format of a
composite value, and its bulk.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.adapt import Transformer
from sqlalchemy import Connection

from sona_pg.store.connect import copy_query, driver_connection

TYPES = ("int2", "bytea", "bytea")
HEAD, FIELD = struct.Struct(">i"), struct.Struct(">Ii")  # of a composite value: fields; type and length of each


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """One of the queries."""

    name: str
    columns: Sequence[str]  # each ends with the name of its field
    rest: str  # of the query, from FROM on
    bulk: str = ""  # a bytea of any size, the last field
    make: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        columns = (*self.columns, *filter(None, [self.bulk]))
        names = " ".join(column.split()[-1].split(".")[-1] for column in columns)
        object.__setattr__(self, "make", namedtuple("Row", names)._make)  # type: ignore[attr-defined]


class RecordCopy:
    """Several queries, prepared to be sent as one."""

    def __init__(self, parts: Sequence[RecordQuery], ahead: str = "") -> None:
        """Prepare; ``ahead`` is the WITH of all queries."""
        self._parts = parts
        self._query = sql.SQL(ahead + " UNION ALL ".join(_select(place, part) for place, part in enumerate(parts)))

    def read(self, connection: Connection, values: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the rows of each query as named tuples, in no order; ``values`` are those of its placeholders."""
        raw = driver_connection(connection)
        found: dict[str, list[Any]] = {part.name: [] for part in self._parts}
        decoders = [_Decoder(raw) for _ in self._parts]
        with raw.cursor().copy(copy_query(connection, self._query.format(**values))) as copy:
            copy.set_types(TYPES)
            for place, record, bulk in copy.rows():
                part, fields = self._parts[place], decoders[place].fields(record)
                found[part.name].append(part.make((*fields, bulk) if part.bulk else fields))
        return found


class _Decoder:
    """Decodes composite values of equal columns."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._transformer = Transformer(raw)
        self._types: list[int] | None = None  # OIDs

    def fields(self, record: bytes) -> tuple[Any, ...]:
        types, values = _split(record)
        if types != self._types:
            self._transformer.set_loader_types(types, pq.Format.BINARY)
            self._types = types
        return self._transformer.load_sequence(values)


def _split(record: bytes) -> tuple[list[int], list[bytes | None]]:
    """Return the types of a composite value's fields, and their values."""
    types, values = [], []
    unpack, at = FIELD.unpack_from, HEAD.size
    for _ in range(HEAD.unpack_from(record)[0]):
        kind, length = unpack(record, at)
        at += FIELD.size
        types.append(kind)
        values.append(None if length < 0 else record[at : at + length])
        if length > 0:
            at += length
    return types, values


def _select(place: int, part: RecordQuery) -> str:
    bare = ", ".join(column.split(" AS ")[0] for column in part.columns)
    return f"(SELECT {place}::int2, record_send(ROW({bare})), {part.bulk or 'NULL::bytea'} {part.rest})"
