"""Ranking events as columns: queries, shown candidates, and feedback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sona_pg.errors import LearningError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

NONE = -1
"""Row of a missing candidate: nothing shown, no correction, an unknown candidate, padding."""


@dataclass(frozen=True, slots=True)
class RankEvents:
    """Ranker events: queries, shown candidates and feedback; columns of one length, in ledger order.

    Rows index the candidates of the space. An event with neither `correct` nor `quality` only informs about the
    distribution of queries. A negative `weight` takes an event folded earlier out of the statistics.
    """

    query: FloatArray  # (n, dim) float32, unit rows
    shown: IntArray  # (n,) int32, row of the candidate that was shown, or NONE
    quality: FloatArray  # (n,) float32 in [0, 1], NaN without a rating
    correct: IntArray  # (n,) int32, row of the right candidate, or NONE
    weight: FloatArray  # (n,) float32
    candidates: IntArray | None = None  # (n, k) int32 padded with NONE; None: all candidates

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        if self.query.ndim != 2:
            raise LearningError(f"queries must be a matrix (n, dim), not of shape {self.query.shape}")
        for name in ("shown", "quality", "correct", "weight"):
            shape = getattr(self, name).shape
            if shape != (len(self.query),):
                raise LearningError(f"column {name} has shape {shape}, expected ({len(self.query)},)")
        if self.candidates is not None and (self.candidates.ndim != 2 or len(self.candidates) != len(self.query)):
            raise LearningError(f"candidates have shape {self.candidates.shape}, expected ({len(self.query)}, k)")

    def __len__(self) -> int:
        """How many events."""
        return len(self.query)

    @property
    def dim(self) -> int:
        """Entries of a query."""
        return int(self.query.shape[1])

    @classmethod
    def empty(cls, dim: int) -> RankEvents:
        """No events, of queries with `dim` entries."""
        none = np.zeros(0, np.int32)
        blank = np.zeros(0, np.float32)
        return cls(np.zeros((0, dim), np.float32), none, blank, none, blank)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> RankEvents:
        """The events at `index`, a mask or positions."""
        return RankEvents(
            self.query[index],
            self.shown[index],
            self.quality[index],
            self.correct[index],
            self.weight[index],
            None if self.candidates is None else self.candidates[index],
        )

    @property
    def judged(self) -> IntArray:
        """(n,) the row the feedback is about: the correct one, or the one shown and rated, or NONE."""
        rated = np.where(np.isnan(self.quality), np.int32(NONE), self.shown)
        return np.where(self.correct != NONE, self.correct, rated).astype(np.int32)

    @property
    def verdict(self) -> FloatArray:
        """(n,) how right the judged row was; 0 where nothing was judged."""
        rated = np.nan_to_num(self.quality, nan=0.0)
        return np.where(self.correct != NONE, np.float32(1.0), rated).astype(np.float32)

    def offered(self, rows: IntArray) -> npt.NDArray[np.bool_]:
        """(n, len(rows)) bool: which of the ascending `rows` an event could have shown; the judged one always."""
        if self.candidates is None:
            return np.ones((len(self), len(rows)), np.bool_)
        place = np.searchsorted(rows, self.candidates)
        place[place == len(rows)] = 0
        here = rows[place] == self.candidates
        offered = np.zeros((len(self), len(rows)), np.bool_)
        event, column = np.nonzero(here)
        offered[event, place[event, column]] = True
        offered[(self.candidates == NONE).all(axis=1)] = True
        known = np.flatnonzero(np.isin(self.judged, rows))
        offered[known, np.searchsorted(rows, self.judged)[known]] = True
        offered[~offered.any(axis=1)] = True
        return offered

    def joined(self, other: RankEvents) -> RankEvents:
        """These events, then the others."""
        if not len(other):
            return self
        if not len(self):
            return other
        return RankEvents(
            np.concatenate([self.query, other.query]),
            np.concatenate([self.shown, other.shown]),
            np.concatenate([self.quality, other.quality]),
            np.concatenate([self.correct, other.correct]),
            np.concatenate([self.weight, other.weight]),
            _joined_candidates(self, other),
        )

    def usable(self, known: int) -> npt.NDArray[np.bool_]:
        """(n,) bool: finite, and naming only rows below `known`; `fit` sets the others aside."""
        quality = np.where(np.isnan(self.quality), 0.0, self.quality)
        fine = np.isfinite(self.query).all(axis=1) & np.isfinite(self.weight)
        fine &= (quality >= 0.0) & (quality <= 1.0)
        for rows in (self.shown, self.correct):
            fine &= (rows >= NONE) & (rows < known)
        if self.candidates is not None:
            fine &= ((self.candidates >= NONE) & (self.candidates < known)).all(axis=1)
        return np.asarray(fine, np.bool_)


_SMALL = 1e-12


def _joined_candidates(first: RankEvents, second: RankEvents) -> IntArray | None:
    """Both candidate tables, padded to one width; a row of padding only stands for all candidates."""
    if first.candidates is None and second.candidates is None:
        return None
    tables = [
        np.zeros((len(events), 0), np.int32) if events.candidates is None else events.candidates
        for events in (first, second)
    ]
    width = max(table.shape[1] for table in tables)
    padded = [np.pad(t, ((0, 0), (0, width - t.shape[1])), constant_values=NONE) for t in tables]
    return np.concatenate(padded)


def unit_rows(rows: FloatArray) -> FloatArray:
    """Rows scaled to length 1, without overflow; rows of zeros stay."""
    with np.errstate(over="ignore"):
        square = np.einsum("ij,ij->i", rows, rows)[:, None]
    if ((square > _SMALL) & (square < 1.0 / _SMALL)).all():
        return np.asarray(rows / np.sqrt(square), np.float32)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    safe = rows / np.where(largest > 0.0, largest, np.float32(1.0))
    length = np.linalg.norm(safe, axis=1, keepdims=True)
    return np.asarray(safe / np.where(length > 0.0, length, np.float32(1.0)), np.float32)
