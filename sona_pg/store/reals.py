"""Binary ``real[]`` parameters: smaller and faster than text for large arrays such as centroids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

REAL, REALS = 700, 1021  # OIDs of real and real[]


@dataclass(frozen=True, slots=True, eq=False)
class Reals:
    """A parameter of type ``real[]``: ``values``, flattened in C order."""

    values: NDArray[np.float32]


class RealsDumper(Dumper):
    """Format of ``array_recv``: int32 axes, null flag, type, length, lower bound; then length and value per cell."""

    format = Format.BINARY
    oid = REALS

    def dump(self, obj: Reals) -> bytes:
        """Return the parameter in binary format."""
        values = np.ascontiguousarray(obj.values, np.float32).ravel()
        cells = np.empty((len(values), 2), ">i4")  # int32 length of a cell, then the cell
        cells[:, 0] = 4
        cells[:, 1] = values.view(np.int32)
        return np.array([1, 0, REAL, len(values), 1], ">i4").tobytes() + cells.tobytes()


psycopg.adapters.register_dumper(Reals, RealsDumper)
