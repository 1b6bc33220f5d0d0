"""Binary COPY: query results into NumPy arrays, without a Python object per row; and rows into tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, Executable, Uuid, cast, false, func, literal

from sona_pg import kernels
from sona_pg.store.connect import copy_query, driver_connection

Spec = Sequence[tuple[str, str] | tuple[str, str, int]]


def copy_arrays(
    connection: Connection, query: Executable | sql.Composed, spec: Spec
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
    """Return the columns of ``query`` by name, and their null masks; ``spec`` gives the columns' types."""
    decoder = kernels.CopyDecoder(spec)
    with driver_connection(connection).cursor().copy(copy_query(connection, query)) as copy:
        for chunk in copy:
            decoder.feed(chunk)
    values = decoder.finish()
    for column in spec:
        if len(column) == 3:  # a vector of one number is decoded as the number
            values[column[0]] = values[column[0]].reshape(-1, column[2])
    return values, decoder.null_masks


@contextmanager
def copying_in(
    raw: psycopg.Connection[Any], table: str, columns: Sequence[str], *, binary: bool = True
) -> Iterator[psycopg.Copy]:
    """Yield a COPY into a table of schema ``sona``, in the transaction that is open.

    COPY refuses a table whose row-level security applies to this role: the rows then go through a temporary table. They
    are returned because Citus would otherwise pass them on by COPY.
    """
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    how = sql.SQL("(FORMAT BINARY)" if binary else "")
    target = sql.Identifier("sona", table)
    held = raw.execute("SELECT row_security_active(%s)", [f"sona.{table}"]).fetchone() == (True,)
    into = sql.Identifier("pg_temp", f"copied_{table}") if held else target
    if held:
        beside = sql.Identifier(f"copied_{table}")
        raw.execute(sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DROP").format(beside, target))
    with raw.cursor() as cursor, cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN {}").format(into, listed, how)) as copy:
        yield copy
    if held:
        raw.execute(sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2} RETURNING 1").format(target, listed, into))
        raw.execute(sql.SQL("DELETE FROM {}").format(into))


def among(column: ColumnElement[Any], ids: NDArray[np.uint8]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``ids`` (n, 16), as a single literal.

    A join rather than `= ANY`: pruning partitions for each id costs more than the query. The bounds prune them once.
    """
    distinct = np.unique(sortable(ids))
    if not len(distinct):
        return false()
    rows = distinct.view(np.uint8).reshape(-1, 16)
    wanted = func.unnest(cast(literal(as_uuids(rows)), ARRAY(Uuid))).column_valued("wanted")
    first, last = (UUID(bytes=row.tobytes()) for row in rows[[0, -1]])
    return (column == wanted) & column.between(first, last)


def is_number_of(column: ColumnElement[Any], numbers: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``numbers``, as a single literal."""
    return column == _bigints(numbers).any_()


def _bigints(numbers: Sequence[int]) -> ColumnElement[Any]:
    return cast(literal("{" + ",".join(map(str, numbers)) + "}"), ARRAY(BigInteger))


def as_uuids(ids: NDArray[np.uint8]) -> str:
    """Return ``ids`` (n, 16) as the text of a ``uuid[]``."""
    digits = ids.tobytes().hex()
    return "{" + ",".join(digits[start : start + 32] for start in range(0, len(digits), 32)) + "}"


def keys_of(ids: NDArray[np.uint8]) -> list[bytes]:
    """Return each of ``ids`` (n, 16) as bytes, for use as dictionary keys."""
    whole = np.ascontiguousarray(ids).tobytes()
    return [whole[start : start + 16] for start in range(0, len(whole), 16)]


def as_ids(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return the ids (n, 16) of keys made by ``keys_of``."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)


def sortable(ids: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return ``ids`` (n, 16) as (n,) byte strings, which sort like the ids."""
    return np.ascontiguousarray(ids).view("S16").reshape(-1)
