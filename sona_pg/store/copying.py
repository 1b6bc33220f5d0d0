"""Reading by binary COPY into arrays: for learning, rows do not pass through Python one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, Executable, Uuid, cast, literal

from sona_pg import kernels
from sona_pg.store.connect import copy_query, driver_connection

Spec = Sequence[tuple[str, str] | tuple[str, str, int]]


def copy_arrays(
    connection: Connection, query: Executable, spec: Spec
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
    """Return the columns of ``query`` by name, and for each where it is NULL; ``spec`` names their types."""
    decoder = kernels.CopyDecoder(spec)
    with driver_connection(connection).cursor().copy(copy_query(connection, query)) as copy:
        for chunk in copy:
            decoder.feed(chunk)
    values = decoder.finish()
    for column in spec:
        if len(column) == 3:  # a vector of one number is decoded as the number
            values[column[0]] = values[column[0]].reshape(-1, column[2])
    return values, decoder.null_masks


def is_one_of(column: ColumnElement[Any], ids: NDArray[np.uint8]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``ids`` (n, 16); one literal, however many they are."""
    return column == cast(literal(as_uuids(ids)), ARRAY(Uuid)).any_()


def is_number_of(column: ColumnElement[Any], numbers: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is one of ``numbers``; one literal, however many they are."""
    return column == _bigints(numbers).any_()


def is_no_number_of(column: ColumnElement[Any], numbers: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is none of ``numbers``."""
    return column != _bigints(numbers).all_()


def _bigints(numbers: Sequence[int]) -> ColumnElement[Any]:
    return cast(literal("{" + ",".join(map(str, numbers)) + "}"), ARRAY(BigInteger))


def as_uuids(ids: NDArray[np.uint8]) -> str:
    """Return ``ids`` (n, 16) as the text of a ``uuid[]``."""
    digits = ids.tobytes().hex()
    return "{" + ",".join(digits[start : start + 32] for start in range(0, len(digits), 32)) + "}"


def keys_of(ids: NDArray[np.uint8]) -> list[bytes]:
    """Return each of ``ids`` (n, 16) as bytes, to look things up by."""
    whole = np.ascontiguousarray(ids).tobytes()
    return [whole[start : start + 16] for start in range(0, len(whole), 16)]
