"""Growth of learned adapters to a larger rank or more layers. No output changes; nothing is cut.

New rows of ``A`` are random and those of ``B`` zero, as in an adapter that starts; the optima of earlier tasks grow
alike, so that their protection continues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.state import FisherSnapshot, LearnedState, LoraWeights


def grown_state(state: LearnedState, config: SonaConfig) -> LearnedState:
    """Return ``state`` with adapters of the ranks and layers that ``config`` asks for; itself where it has them."""
    seed, dim = config.loops.seed, state.micro.dim
    micro = grown(state.micro, config.micro.rank, seed)
    base = [grown(layer, config.base.rank, seed + 1 + place) for place, layer in enumerate(state.base)]
    missing = range(len(base), config.base.layers)
    base += [LoraWeights.initial(config.base.rank, dim, seed + 1 + place) for place in missing]
    if micro is state.micro and len(base) == len(state.base) and base[0] is state.base[0]:
        return state
    arrays = dict(state.arrays)
    average = arrays.get("ewc", {}).get("average")  # of the diagonal Fisher information
    if average is not None:
        of_base = _grown_parameters(np.asarray(average, np.float32), state.base[0], base[0].rank)
        arrays["ewc"] = {**arrays["ewc"], "average": of_base}
    return dataclasses.replace(state, micro=micro, base=tuple(base), arrays=arrays)


def grown_snapshots(
    snapshots: Sequence[FisherSnapshot], before: LoraWeights, after: LoraWeights
) -> Sequence[FisherSnapshot]:
    """Return the Fisher snapshots of an adapter ``before``, resized to the one that it has grown to."""
    if after.rank == before.rank:
        return snapshots
    parameters = 2 * before.rank * before.dim
    return [
        dataclasses.replace(
            snapshot,
            optimum=_grown_parameters(snapshot.optimum, before, after.rank),
            fisher=_grown_parameters(snapshot.fisher, before, after.rank)
            if snapshot.kind == "diagonal"
            else snapshot.fisher,
        )
        if len(snapshot.optimum) == parameters
        else snapshot
        for snapshot in snapshots
    ]


def grown(weights: LoraWeights, rank: int, seed: int) -> LoraWeights:
    """Return an adapter of ``rank`` whose output is that of ``weights``; itself if it has the rank already."""
    if rank <= weights.rank:
        return weights
    fresh = LoraWeights.initial(rank, weights.dim, seed)
    more = np.zeros((rank - weights.rank, weights.dim), np.float32)
    a = np.concatenate([weights.a, fresh.a[weights.rank :]])
    return LoraWeights(a, np.concatenate([weights.b, more]), weights.scale)


def _grown_parameters(values: NDArray[np.float32], before: LoraWeights, rank: int) -> NDArray[np.float32]:
    """Return a vector over both factors, A first, with zeros for new rows; unchanged if it has another length."""
    if len(values) != 2 * before.rank * before.dim:
        return values
    both = np.zeros((2, rank, before.dim), np.float32)
    both[:, : before.rank] = values.reshape(2, before.rank, before.dim)
    return both.ravel()
