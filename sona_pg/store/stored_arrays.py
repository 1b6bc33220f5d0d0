"""Decoding and validation of a version's stored arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import FisherSnapshot, LoraWeights
from sona_pg.errors import DamagedVersion


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
