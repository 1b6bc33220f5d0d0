"""Relocation of a ranker to another catalog with other slots."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import LearnedState
from sona_pg.learning.ranking.ranker import RankerState


def relocated(state: LearnedState, places: NDArray[np.int32]) -> LearnedState:
    """Return ``state`` with the statistics of each slot ``i`` moved to slot ``places[i]``, all distinct.

    Where no candidate moves the arrays are the same to the bit.
    """
    if "ranker" not in state.arrays or np.array_equal(places, np.arange(len(places))):
        return state
    ranker = RankerState.from_arrays(state.arrays["ranker"])
    places = np.asarray(places, np.int32)
    known = places[: len(ranker.positive)]
    count = int(known.max(initial=-1)) + 1
    positive, negative, overruled = np.zeros((3, count))
    positive[known], negative[known], overruled[known] = ranker.positive, ranker.negative, ranker.overruled
    rows = places[ranker.head_rows]
    order = np.argsort(rows, kind="stable")
    moved = dataclasses.replace(
        ranker,
        positive=positive,
        negative=negative,
        overruled=overruled,
        head_rows=rows[order],
        heads=ranker.heads[order],
        homes=places[ranker.homes],
    )
    return dataclasses.replace(state, arrays={**state.arrays, "ranker": moved.to_arrays()})
