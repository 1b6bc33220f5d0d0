"""Relocation of a state to another catalog with other slots."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN
from sona_pg.domain.state import LearnedState
from sona_pg.learning.ranking.ranker import RankerState

OF_SLOTS = {"graph": ("slots",), "sessions": ("used", "last_used")}  # arrays of slots, by part


def relocated(state: LearnedState, places: NDArray[np.int32]) -> LearnedState:
    """Return ``state`` with everything about each slot ``i`` moved to slot ``places[i]``, all distinct.

    Where no candidate moves the arrays are the same to the bit.
    """
    if np.array_equal(places, np.arange(len(places))):
        return state
    places, arrays = np.asarray(places, np.int32), dict(state.arrays)
    if "ranker" in arrays:
        arrays["ranker"] = _ranker(RankerState.from_arrays(arrays["ranker"]), places).to_arrays()
    for part, names in OF_SLOTS.items():
        if part in arrays:
            held = arrays[part]
            arrays[part] = {**held, **{name: _moved(np.asarray(held[name], np.int32), places) for name in names}}
    return dataclasses.replace(state, arrays=arrays)


def _moved(slots: NDArray[np.int32], places: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.where(slots == UNKNOWN, UNKNOWN, places[slots]).astype(np.int32)


def _ranker(ranker: RankerState, places: NDArray[np.int32]) -> RankerState:
    known = places[: len(ranker.positive)]
    count = int(known.max(initial=-1)) + 1
    positive, negative, overruled = np.zeros((3, count))
    positive[known], negative[known], overruled[known] = ranker.positive, ranker.negative, ranker.overruled
    rows = places[ranker.head_rows]
    order = np.argsort(rows, kind="stable")
    return dataclasses.replace(
        ranker,
        positive=positive,
        negative=negative,
        overruled=overruled,
        head_rows=rows[order],
        heads=ranker.heads[order],
        homes=places[ranker.homes],
    )
