"""Candidates into Postgres: what can be chosen, by id, and which of it was shown together."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import ArrayLike, NDArray

from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.ingest import statements
from sona_pg.ingest.commit import HEADER, TRAILER, Origin, copy_stream
from sona_pg.kernels import keep_directions

AT_ONCE = 2000  # rows a transaction


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What can be chosen, by id."""

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]  # (n, dim) float32

    @property
    def bytes(self) -> int:
        """About how much memory they take while they wait."""
        return self.embeddings.nbytes + _bytes_of(self.ids)


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates that were shown together."""

    set_id: int
    ids: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """About how much memory it takes while it waits."""
        return _bytes_of(self.ids)


def _bytes_of(ids: tuple[str, ...]) -> int:
    return 256 + sum(64 + len(name) for name in ids)


def checked(ids: Sequence[str], embeddings: ArrayLike, dim: int) -> list[Candidates]:
    """Return candidates with a copy of their embeddings (n, dim), in parts that one transaction takes.

    Raises:
        InvalidValue: an id is no text, or an embedding is not finite or beyond what half precision holds.
        DimensionMismatch: the embeddings are not as long as the space's.
    """
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise InvalidValue(f"embeddings have shape {matrix.shape}, expected ({len(ids)}, {dim})")
    if matrix.shape[1] != dim:
        raise DimensionMismatch(dim, matrix.shape[1], "candidate embedding")
    if not (np.abs(matrix) <= 65504).all():
        raise InvalidValue("a candidate's embedding has a value that is not finite, or beyond ±65504")
    check_ids(ids)
    kept = np.array(matrix, order="C")
    keep_directions(kept)  # in half precision
    return [Candidates(tuple(ids[at : at + AT_ONCE]), kept[at : at + AT_ONCE]) for at in range(0, len(ids), AT_ONCE)]


def check_ids(ids: Sequence[str]) -> None:
    """Raise ``InvalidValue`` for an id that cannot be stored."""
    for name in ids:
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidValue(f"a candidate's id is {name!r}, expected text without a NUL character")


def in_parts(rows: Sequence[Candidates | CandidateSet]) -> list[list[Candidates | CandidateSet]]:
    """Return ``rows`` split into transactions of about ``AT_ONCE`` rows."""
    parts: list[list[Candidates | CandidateSet]] = []
    size = AT_ONCE
    for row in rows:
        weight = len(row.ids) if isinstance(row, Candidates) else 1
        if size + weight > AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += weight
    return parts


def write(
    raw: psycopg.Connection[Any], origin: Origin, number: int, rows: Sequence[Candidates | CandidateSet], now: datetime
) -> None:
    """Add candidates, or change their embedding, and add sets that are not there yet."""
    raw.execute(statements.take_name(number))
    values = {"space": origin.space_id, "now": now}
    stream = b"".join(_candidate_rows(rows))
    if stream:
        raw.execute(statements.STAGE_CANDIDATES)
        copy_stream(raw, statements.COPY_CANDIDATES, HEADER + stream + TRAILER)
        raw.execute(statements.UNSTAGE_CANDIDATES, values)
    for row in sorted((row for row in rows if isinstance(row, CandidateSet)), key=lambda row: row.set_id):
        raw.execute(statements.ADD_CANDIDATE_SET, {**values, "set_id": row.set_id, "ids": list(row.ids)})


def _candidate_rows(rows: Sequence[Candidates | CandidateSet]) -> Iterator[bytes]:
    for row in rows:
        if isinstance(row, Candidates):
            dim = row.embeddings.shape[1]
            halves = row.embeddings.astype(">f2")
            for name, half in zip(row.ids, halves, strict=True):
                text = name.encode()
                yield struct.pack(">hi", 2, len(text)) + text
                yield struct.pack(">ihh", 4 + 2 * dim, dim, 0) + half.tobytes()
