"""Edges of the memory graph as rows for binary COPY: a graph written whole takes half of the time of an INSERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from sona_pg.store.copying import copying_in

COLUMNS = ("space_id", "source_id", "target_id", "kind", "weight", "reinforced_at", "created_version")
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
EPOCH = 10_957.0  # days from 1970 to 2000, where Postgres begins to count microseconds
MICROSECONDS = 86_400e6  # of a day
ROWS = 20_000  # encoded at once: 2 MB


def copy_edges(
    driver: psycopg.Connection[Any],
    space: int,
    version: int,
    ends: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    kinds: NDArray[np.uint8],
    weights: NDArray[np.float32],
    reinforced: NDArray[np.float64],
    names: Mapping[int, str],
) -> None:
    """Insert edges; none of them may be in the table.

    Args:
        driver: in a transaction.
        space: of all edges.
        version: that brings them.
        ends: ids (m, 16) of sources and of targets.
        kinds: (m,) EdgeKind.
        weights: (m,)
        reinforced: (m,) days since 1970.
        names: of the kinds in SQL.
    """
    with copying_in(driver, "memory_edges", COLUMNS) as copy:
        copy.write(HEADER)
        for kind in np.unique(kinds).tolist():
            rows = np.flatnonzero(kinds == kind)
            for start in range(0, len(rows), ROWS):
                part = rows[start : start + ROWS]
                columns = (ends[0][part], ends[1][part], weights[part], reinforced[part])
                copy.write(_encoded(space, version, names[kind].encode(), *columns))
        copy.write(TRAILER)


def _encoded(
    space: int,
    version: int,
    kind: bytes,
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    weights: NDArray[np.float32],
    reinforced: NDArray[np.float64],
) -> bytes:
    """Return rows of one kind: a count of fields, then length and value of each, all in network order."""
    fields = [
        ("space", ">i4"),
        ("source", "V16"),
        ("target", "V16"),
        ("kind", f"S{len(kind)}"),
        ("weight", ">f8"),
        ("reinforced", ">i8"),
        ("version", ">i8"),
    ]
    lengths = [(f"length of {name}", ">i4") for name, _ in fields]
    layout = np.dtype([("fields", ">i2"), *(entry for pair in zip(lengths, fields, strict=True) for entry in pair)])
    rows = np.zeros(len(source), layout)
    rows["fields"] = len(fields)
    for name, _ in fields:
        rows[f"length of {name}"] = layout[name].itemsize
    rows["space"], rows["version"], rows["kind"], rows["weight"] = space, version, kind, weights
    rows["source"], rows["target"] = (np.ascontiguousarray(ids).view("V16")[:, 0] for ids in (source, target))
    rows["reinforced"] = np.round((reinforced - EPOCH) * MICROSECONDS)
    return rows.tobytes()
