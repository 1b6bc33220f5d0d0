"""Numbers as one binary parameter of a statement: an array of a hundred centroids costs less than their text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

REAL, REALS = 700, 1021  # the types' numbers in every Postgres: real, and real[]


@dataclass(frozen=True, slots=True, eq=False)
class Reals:
    """A parameter of type ``real[]``: ``values``, of any shape, in C order, as one axis."""

    values: NDArray[np.float32]


class RealsDumper(Dumper):
    """Writes ``Reals`` as ``array_recv`` reads them: int32 axes, nulls, type, length, lower bound; then the cells."""

    format = Format.BINARY
    oid = REALS

    def dump(self, obj: Reals) -> bytes:
        """Return the bytes of the parameter."""
        values = np.ascontiguousarray(obj.values, np.float32).ravel()
        cells = np.empty((len(values), 2), ">i4")  # int32 length of a cell, then the cell
        cells[:, 0] = 4
        cells[:, 1] = values.view(np.int32)
        return np.array([1, 0, REAL, len(values), 1], ">i4").tobytes() + cells.tobytes()


psycopg.adapters.register_dumper(Reals, RealsDumper)
