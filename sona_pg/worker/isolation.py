"""Isolation of poisoned trajectories: the few of a slice without which the rest can be learned."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import LearningError
from sona_pg.learning.step import Step

log = logging.getLogger(__name__)

MOST_TRIALS = 400  # of learning, in one search: finds 16 poisoned trajectories among 20,000

Rows = NDArray[np.intp]


def poisoned_rows(count: int, learn: Callable[[Rows], object]) -> dict[int, str]:
    """Return the rows (of ``count``) with which ``learn`` raises, and the error of each; empty if that does not help.

    Halves the rows that fail until one is left: a row is poisoned if learning from it alone fails.
    """
    found: dict[int, str] = {}
    pending: list[Rows] = [np.arange(count)]
    trials = 0
    while pending:
        rows = pending.pop()
        trials += 1
        if trials > MOST_TRIALS:
            return {}
        error = _error(learn, rows)
        if error is None:
            continue
        if len(rows) <= 1:
            found.update(dict.fromkeys(rows.tolist(), error))
        else:
            pending += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    rest = np.setdiff1d(np.arange(count), list(found))
    return found if found and _error(learn, rest) is None else {}


def require_finite(step: Step) -> None:
    """Raise LearningError if what a step has learned is not finite, so that it could not be published."""
    state = step.knowledge.state
    arrays = [state.micro.a, state.micro.b, *(array for layer in state.base for array in (layer.a, layer.b))]
    arrays += [pattern.centroid for pattern in step.knowledge.patterns]
    if not all(np.isfinite(array).all() for array in arrays):
        raise LearningError("what is learned from it is not finite")


def _error(learn: Callable[[Rows], object], rows: Rows) -> str | None:
    try:
        learn(rows)
    except Exception as exc:  # any error of the mathematics may be the poison's
        log.debug("learning from %d trajectories fails", len(rows), exc_info=exc)
        return f"{type(exc).__name__}: {exc}"
    return None
